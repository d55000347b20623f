"""The tree of errors.

ConsortError
├── InvalidInput          what a person or a program handed in cannot be used
│   ├── PlanError         a plan, with every fault and its place
│   ├── ProfileError      a profile, likewise
│   └── DecodeError       bytes that no version of ours can read
│       └── TooNew        of a later version                  (consort_shared.upcast)
├── BusError              what the bus could not do           (consort_bus.errors)
└── RunFailed, RunCancelled, UnknownRun   what became of a run
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ConsortError(Exception):
    """Anything Consort reports on purpose; its text is meant for the user."""

    exit_code = 1


class InvalidInput(ConsortError):
    """What was handed in cannot be used; nothing was done with it."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a plan or a profile. `where` is a path such as `steps.draft.needs`; `line` counts from 1."""

    where: str
    what: str
    line: int | None = None

    def __str__(self) -> str:
        line = "" if self.line is None else f"line {self.line}"
        place = ", ".join(part for part in (line, self.where) if part)
        return f"{place}: {self.what}" if place else self.what


class PlanError(InvalidInput):
    """A plan that cannot be run, with every fault found in it."""

    def __init__(self, faults: Sequence[Fault], source: str = "plan") -> None:
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{source}: {len(faults)} fault{'s' if len(faults) != 1 else ''}\n{lines}")
        self.faults = tuple(faults)
        self.source = source


class ProfileError(InvalidInput):
    """A profile that no agent can have, with every fault found in it."""

    def __init__(self, faults: Sequence[Fault], source: str = "profile") -> None:
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{source}: {len(faults)} fault{'s' if len(faults) != 1 else ''}\n{lines}")
        self.faults = tuple(faults)
        self.source = source


class DecodeError(InvalidInput):
    """Bytes that no version of ours can read; they go to the dead letters whole."""

    def __init__(self, raw: bytes, why: str) -> None:
        super().__init__(f"{len(raw)} unreadable bytes: {why}")
        self.raw = raw
        self.why = why


class UnknownRun(ConsortError):
    """No entry of such a run is in the log."""

    exit_code = 2


class RunFailed(ConsortError):
    """The run ended without its result."""

    verb = "failed"

    def __init__(self, run: str, reason: str) -> None:
        super().__init__(f"run {run} {self.verb}: {reason}")
        self.run = run
        self.reason = reason


class RunCancelled(RunFailed):
    """The run was cancelled before it ended."""

    verb = "was cancelled"
