"""What is known when an examination is judged: everything gathered, and nothing else.

Checks are functions of these facts, so each can be tried without a bus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from consort_bus.attendance import Letters, Waiter
from consort_bus.health import BusHealth, ConsumerHealth
from consort_orchestrator.doctor.commands import Commands
from consort_orchestrator.doctor.folding import Reason
from consort_shared.card import Presence
from consort_shared.control import OrchestratorPresence, PauseMark
from consort_shared.rates import Rate


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose credentials are in use, and when they end."""

    role: str
    name: str
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk that a folder's bus writes to, in bytes."""

    path: str
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A step under way: `phase` is that of the state machine, `until` when it is due, seconds since 1970."""

    path: str
    phase: str
    agent: str = ""
    skill: str = ""
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Doubt:
    """An effect of which nobody knows whether it happened."""

    path: str
    key: str


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that has not ended, as its log folds; with `broken` it cannot be folded from entry `broken_at` on."""

    run: str
    last: float
    """when its newest entry was stored, seconds since 1970"""
    first: float = 0.0
    """when the oldest that is there was stored"""
    tasks: tuple[OpenTask, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    paused_by: str = ""
    ending: str = ""
    """`cancelled` or `failed` while it is being brought to that end"""
    broken: Reason | None = None
    broken_at: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs that have not ended. `open` of them there are, `looked_at` were read, `too_long` were left out."""

    total: int = 0
    open: int = 0
    looked_at: int = 0
    too_long: tuple[str, ...] = ()
    found: tuple[OpenRun, ...] = ()
    fullest: int = 0
    """of all runs: the most messages that stand under one subject"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """An agent's tasks that nobody has fetched: its consumer, and since when the oldest of them waits."""

    agent: str
    consumer: ConsumerHealth
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything an examination has gathered; None for what could not be had."""

    at: Commands
    now: float
    """seconds since 1970, by the clock of the bus"""
    identity: Identity
    bus: BusHealth
    agents: tuple[Presence, ...] | None = None
    orchestrators: tuple[OrchestratorPresence, ...] | None = None
    pauses: Mapping[str, PauseMark] = field(default_factory=dict)
    waiting: tuple[Waiter, ...] = ()
    letters: Letters | None = None
    runs: Runs | None = None
    backlogs: tuple[Backlog, ...] = ()
    rates: Mapping[str, Rate] | None = None
    """shared limits, by key"""
    context_read: bool = False
    """whether the shared context could be read"""
    offered: Mapping[str, str] = field(default_factory=dict)
    """by skill that is missed: the installed agent that offers it"""
    disk: Disk | None = None
    silent: tuple[str, ...] = ()
    """nodes of a folder's bus that do not run or do not answer"""

    @property
    def skills(self) -> set[str]:
        """The skills on offer by processes that are there."""
        return {skill.name for one in self.agents or () for skill in one.card.skills}

    @property
    def names(self) -> set[str]:
        """The agents of which a process is there."""
        return {one.card.name for one in self.agents or ()}

    def served(self) -> tuple[int, int]:
        """The parts of the inbox: how many some orchestrator asks for, of how many."""
        parts = [one for one in self.bus.consumers if one.stream == "INBOX" and one.name.startswith("shard_")]
        return sum(one.pulls > 0 for one in parts), len(parts)
