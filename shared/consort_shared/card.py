"""Who an agent is and what it offers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from consort_shared.ids import SkillName, Token
from consort_shared.values import Json


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SkillCard(_Part):
    """One skill: its name and the JSON Schemas of what it takes and gives."""

    name: SkillName
    description: str = ""
    input_schema: dict[str, Json] | None = None
    output_schema: dict[str, Json] | None = None


class AgentCard(_Part):
    """What an agent says of itself. Every process under one agent's name shows the same card."""

    name: Token
    version: str = "0"
    description: str = ""
    skills: tuple[SkillCard, ...] = Field(min_length=1)
    slots: int = Field(default=1, ge=1, le=10_000, description="tasks one process works on at a time")
    lease: float = Field(
        default=10.0, ge=1, le=3600, description="seconds after which a silent process's task goes to another"
    )


class Announce(_Part):
    """An agent's process asks to take part."""

    card: AgentCard
    instance: Token


class Welcome(_Part):
    """The orchestrator's answer: the consumer to pull from, or why not."""

    accepted: bool
    consumer: str = ""
    why: str = ""


class Presence(_Part):
    """A sign of life of one process; it expires unless renewed."""

    instance: Token
    card: AgentCard
    host: str = ""
    pid: int = 0
    started: float = Field(default=0.0, description="seconds since 1970")
    busy: int = 0
