"""What operators and orchestrators put down for all orchestrators: who is at work, and what is paused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from consort_shared.ids import Token


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PauseMark(_Part):
    """An agent, or everything, is paused: no task is given out or delivered until the mark is removed."""

    by: str
    at: float = Field(description="seconds since 1970")
    why: str = ""


class OrchestratorPresence(_Part):
    """A sign of life of one orchestrator; it expires unless renewed."""

    name: Token
    instance: Token
    host: str = ""
    pid: int = 0
    started: float = Field(default=0.0, description="seconds since 1970")
    version: str = ""
    shards: int = Field(default=0, description="parts of the inbox that the bus gives it at the moment")
    skew: float = Field(default=0.0, description="seconds by which its own clock is ahead of the bus's")
    decisions: int = 0


class SettledMark(_Part):
    """What became of a dead letter."""

    how: str = Field(
        description="`redriven`, `dropped`, or `refused`: its sender had the reason for an answer"
    )
    by: str
    at: float = Field(description="seconds since 1970")
