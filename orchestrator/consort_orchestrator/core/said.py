"""What a run may be told: a message, who sent it, and whether it was set aside before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from consort_shared.messages import (
    Cancel,
    Effect,
    Heed,
    Pause,
    Progress,
    Put,
    Report,
    Resolve,
    Resume,
    Retry,
    Submit,
    Wake,
)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A submission that is no plan: it ends the run it names before it began."""

    why: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """A message on the run's log that no orchestrator wrote; it was set aside."""

    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class Forged:
    """A message in the inbox that does not prove its sender; `seq` says where it stood."""

    seq: int
    why: str


Steering: TypeAlias = Cancel | Pause | Resume | Retry | Resolve
"""What the owner of a run, or a person, may want of it."""
Message: TypeAlias = (
    Submit | Steering | Report | Progress | Put | Effect | Heed | Wake | Unreadable | Foreign | Forged
)


@dataclass(frozen=True, slots=True)
class Said:
    """A message and who sent it, as `agent.writer` or `client.me`; `timer` for a wake-up."""

    sender: str
    message: Message
    letter: int = 0
    """the dead letter that it is judged again from, 0 for none"""
    by: str = ""
    """the person who wants that"""
    edited: bool = False
    at: float = 0.0
    """when the bus stored it, in seconds since 1970; 0 when that does not matter"""
    caller: str = ""
    """the span that a client said it under, if there was one"""
