"""Subjects of what is said and written about runs: the log, the inbox, timers, dead letters, orders, requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from consort_bus.subjects.names import NOBODY, SHARDS, InboxKind, SenderKind
from consort_bus.subjects.parts import LONG_NUMBER, STREAM, number_of, run_part, shaped, split, token_part


@dataclass(frozen=True, slots=True)
class EntrySubject:
    """An entry of a run; `agent` is the addressee of the one task it grants, or None."""

    run: str
    agent: str | None
    kind: str

    def __post_init__(self) -> None:
        run_part(self.run)
        token_part(self.kind)
        if self.agent is not None:
            token_part(self.agent)

    def __str__(self) -> str:
        return f"log.{self.run}.entry.{self.agent or NOBODY}.{self.kind}"

    @classmethod
    def parse(cls, subject: str) -> EntrySubject | None:
        tokens = split(subject, "log", 4)
        if tokens is None or tokens[1] != "entry":
            return None
        try:
            return cls(tokens[0], None if tokens[2] == NOBODY else tokens[2], tokens[3])
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class CopySubject:
    """The delivery to one agent of an entry that grants several tasks."""

    run: str
    agent: str
    task: str

    def __post_init__(self) -> None:
        run_part(self.run)
        token_part(self.agent)
        token_part(self.task)

    def __str__(self) -> str:
        return f"log.{self.run}.copy.{self.agent}.{self.task}"

    @classmethod
    def parse(cls, subject: str) -> CopySubject | None:
        tokens = split(subject, "log", 4)
        if tokens is None or tokens[1] != "copy":
            return None
        try:
            return cls(tokens[0], tokens[2], tokens[3])
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class IncomingSubject:
    """Where an agent, a client or a person tells a run something; the server checks `who`."""

    kind: SenderKind
    who: str
    run: str

    def __post_init__(self) -> None:
        if self.kind not in get_args(SenderKind):
            raise ValueError(f"{self.kind!r} sends nothing to the inbox")
        token_part(self.who)
        run_part(self.run)

    def __str__(self) -> str:
        return f"in.{self.kind}.{self.who}.{self.run}"

    @classmethod
    def parse(cls, subject: str) -> IncomingSubject | None:
        tokens = split(subject, "in", 3)
        try:
            return cls(tokens[0], tokens[1], tokens[2]) if tokens else None  # type: ignore[arg-type] # checked
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class InboxSubject:
    """How the inbox stores a message; `who` is None for a timer. Only the server writes these."""

    shard: int
    kind: InboxKind
    who: str | None
    run: str

    def __post_init__(self) -> None:
        if not 0 <= self.shard < SHARDS:
            raise ValueError(f"{self.shard} is no shard")
        if self.kind not in get_args(InboxKind) or (self.kind == "timer") != (self.who is None):
            raise ValueError(f"{self.kind!r} of {self.who!r} cannot be in the inbox")
        if self.who is not None:
            token_part(self.who)
        run_part(self.run)

    def __str__(self) -> str:
        return f"inbox.{self.shard}.{self.kind}.{self.who or NOBODY}.{self.run}"

    @classmethod
    def parse(cls, subject: str) -> InboxSubject | None:
        tokens = split(subject, "inbox", 4)
        if tokens is None:
            return None
        shard, kind, who, run = tokens
        try:
            return cls(number_of(shard), kind, None if who == NOBODY else who, run)  # type: ignore[arg-type] # checked
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class TimerSubject:
    """A run's one timer: where it is set, or where the server writes it when it is due."""

    phase: Literal["set", "fire"]
    run: str

    def __post_init__(self) -> None:
        if self.phase not in ("set", "fire"):
            raise ValueError(f"a timer is set or fires, not {self.phase!r}")
        run_part(self.run)

    def __str__(self) -> str:
        return f"timer.{self.phase}.{self.run}"

    @classmethod
    def parse(cls, subject: str) -> TimerSubject | None:
        tokens = split(subject, "timer", 2)
        try:
            return cls(tokens[0], tokens[1]) if tokens else None  # type: ignore[arg-type] # checked
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class DeadSubject:
    """A message of `stream` that was set aside; `run` is None when not even that could be read."""

    stream: str
    run: str | None

    def __post_init__(self) -> None:
        shaped(self.stream, STREAM, "stream")
        if self.run is not None:
            run_part(self.run)

    def __str__(self) -> str:
        return f"dead.{self.stream}.{self.run or NOBODY}"

    @classmethod
    def parse(cls, subject: str) -> DeadSubject | None:
        tokens = split(subject, "dead", 2)
        try:
            return cls(tokens[0], None if tokens[1] == NOBODY else tokens[1]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class SettledSubject:
    """What became of a dead letter; `letter` is its sequence in the stream."""

    letter: int

    def __post_init__(self) -> None:
        shaped(str(self.letter), LONG_NUMBER, "sequence")

    def __str__(self) -> str:
        return f"dead.settled.{self.letter}"

    @classmethod
    def parse(cls, subject: str) -> SettledSubject | None:
        tokens = split(subject, "dead", 2)
        try:
            return cls(int(tokens[1])) if tokens and tokens[0] == "settled" else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class LiveSubject:
    """What a task says while it goes on; not stored."""

    run: str
    agent: str
    task: str

    def __post_init__(self) -> None:
        run_part(self.run)
        token_part(self.agent)
        token_part(self.task)

    def __str__(self) -> str:
        return f"live.{self.run}.{self.agent}.{self.task}"

    @classmethod
    def parse(cls, subject: str) -> LiveSubject | None:
        tokens = split(subject, "live", 3)
        try:
            return cls(tokens[0], tokens[1], tokens[2]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ControlSubject:
    """Orders to an agent: cancel, pause, drain."""

    agent: str

    def __post_init__(self) -> None:
        token_part(self.agent)

    def __str__(self) -> str:
        return f"ctl.{self.agent}"

    @classmethod
    def parse(cls, subject: str) -> ControlSubject | None:
        tokens = split(subject, "ctl", 1)
        try:
            return cls(tokens[0]) if tokens else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ApiSubject:
    """A request to whichever orchestrator is free; the server checks `who`."""

    verb: str
    who: str

    def __post_init__(self) -> None:
        token_part(self.verb)
        token_part(self.who)

    def __str__(self) -> str:
        return f"api.{self.verb}.{self.who}"

    @classmethod
    def parse(cls, subject: str) -> ApiSubject | None:
        tokens = split(subject, "api", 2)
        try:
            return cls(tokens[0], tokens[1]) if tokens else None
        except ValueError:
            return None
