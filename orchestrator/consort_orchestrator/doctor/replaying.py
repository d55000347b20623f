"""Folding a recorded history step by step, and comparing where it leads with what was recorded.

Pure, but for what a caller does with each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from consort_orchestrator.core import Run, portrait
from consort_orchestrator.doctor.folding import REASONS, CannotFold, Reason, folding
from consort_orchestrator.doctor.histories import History, differences
from consort_shared.entries import Fact
from consort_shared.values import Json

BAD_FILE: frozenset[Reason] = frozenset({"too-new", "unreadable", "missing", "chain"})
"""Reasons that lie in the file; the other is that this version's state machine does otherwise."""


WIDE = frozenset({"submitted", "opened", "ending", "reopened", "finished"})
"""Facts that change more steps than the one they name."""


@dataclass(frozen=True, slots=True)
class Step:
    """One entry and what it changed: by path, the phase before, empty for a step that came into being, and after."""

    n: int
    line: int
    at: float
    facts: tuple[str, ...]
    moved: tuple[tuple[str, str, str], ...]
    state: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a history cannot be folded; `in_file` if that is the file's fault and not this version's."""

    line: int
    reason: Reason
    what: str
    in_file: bool


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of a history: each step, and what is wrong with it."""

    run: str
    consort: str
    entries: int
    steps: tuple[Step, ...]
    portrait: dict[str, Json]
    compared: bool
    """whether there was a portrait to compare with, and the history was folded to its end"""
    differences: tuple[str, ...] = ()
    fault: Fault | None = None

    @property
    def well(self) -> bool:
        return self.fault is None and not self.differences


def replay(history: History, to: int | None = None) -> Replay:
    """Fold a history with the code at hand, up to entry `to` if it is given."""
    run = Run(history.run)
    steps: list[Step] = []
    fault: Fault | None = None
    entries = history.entries if to is None else history.entries[:to]
    try:
        for step in _steps(run, history, len(entries)):
            steps.append(step)
    except CannotFold as exc:
        what = f"{REASONS[exc.reason]}: {exc.why}"
        fault = Fault(exc.at + 2, exc.reason, what, exc.reason in BAD_FILE)
    found = portrait(run)
    compared = fault is None and history.portrait is not None and len(entries) == len(history.entries)
    differing = differences(history.portrait, found) if compared else []
    return Replay(
        history.run,
        history.consort,
        len(history.entries),
        tuple(steps),
        found,
        compared,
        tuple(differing),
        fault,
    )


def _steps(run: Run, history: History, count: int) -> Iterator[Step]:
    before: dict[str, str] = {}
    for folded in folding(run, history.entries[:count]):
        moved = []
        for path in _touched(run, folded.entry.facts):
            phase, was = run.nodes[path].phase.value, before.get(path, "")
            if phase != was:
                moved.append((path, was, phase))
                before[path] = phase
        facts = tuple(fact.fact for fact in folded.entry.facts)
        state = run.finished.state if run.finished is not None else "open"
        yield Step(folded.entry.n, folded.at + 2, folded.entry.at, facts, tuple(moved), state)


def _touched(run: Run, facts: Sequence[Fact]) -> list[str]:
    """The paths that facts may have changed. Looking at all each time would take a long run for ever."""
    if any(fact.fact in WIDE for fact in facts):
        return [path for path in run.nodes if path]
    paths = dict.fromkeys(str(getattr(fact, "path", "")) for fact in facts)
    return [path for path in paths if path and path in run.nodes]
