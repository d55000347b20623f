"""Who an agent is and what it offers."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from consort_shared.ids import RunId, SkillName, Token
from consort_shared.values import Json

Encoding: TypeAlias = Literal["msgpack", "json"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SkillCard(_Part):
    """One skill: its name and the JSON Schemas of what it takes and gives."""

    name: SkillName
    description: str = ""
    input_schema: dict[str, Json] | None = None
    output_schema: dict[str, Json] | None = None


class ProfileCard(_Part):
    """Who an agent is by the profile that it brings itself; a later version on the bus takes precedence."""

    role: str = ""
    goal: str = ""
    version: str = Field(default="", description="`file:` and the beginning of the profile's digest")


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
    poison_after: int = Field(
        default=5, ge=1, le=1000, description="deliveries of one task after which it is not begun again"
    )
    encoding: Encoding = Field(
        default="msgpack", description="of the tasks, orders and answers that its processes read"
    )
    profile: ProfileCard | None = None


class Announce(_Part):
    """An agent's process asks to take part."""

    card: AgentCard
    instance: Token


class Welcome(_Part):
    """The orchestrator's answer: the consumer to pull from, or why not."""

    accepted: bool
    consumer: str = ""
    why: str = ""
    now: float = Field(default=0.0, description="seconds since 1970 by the clock that deadlines are set by")


class AskWanted(_Part):
    """An agent's process asks whether a task that waited long, or came again, is still wanted."""

    run: RunId
    task: Token


class Wanted(_Part):
    """The orchestrator's answer: `no` when the attempt is over, `later` while the run is paused."""

    wanted: Literal["yes", "no", "later"]


class Presence(_Part):
    """A sign of life of one process; it expires unless renewed."""

    instance: Token
    card: AgentCard
    host: str = ""
    pid: int = 0
    started: float = Field(default=0.0, description="seconds since 1970")
    busy: int = 0
