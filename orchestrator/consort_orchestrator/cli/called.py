"""The calls of a run, as its journals and its log tell: of which step, what became of each.

Decides nothing that is printed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from consort_shared.entries import Fact, Granted
from consort_shared.journal import Answered, Began, Resumed
from consort_shared.journal_fold import Memory, Past, Slot, Void, fold

State: TypeAlias = Literal["answered", "replayed", "raised", "open"]
"""`replayed`: answered, and since then another process has gone on with the task. `open`: begun, and nothing
is known of its end: it is being made, or in doubt."""


@dataclass(frozen=True, slots=True)
class Called:
    """One call."""

    past: Past
    state: State
    tokens: int | None
    """that a model used for it, in and out, where that can be read"""

    @property
    def seconds(self) -> float | None:
        return None if self.past.answered is None else self.past.answered.seconds


@dataclass(frozen=True, slots=True)
class TaskCalls:
    """The calls of one task. `step` and `attempt` are empty where the log does not know the task."""

    agent: str
    task: str
    step: str
    attempt: int
    memory: Memory
    calls: tuple[Called, ...]

    @property
    def processes(self) -> int:
        return 1 + len(self.memory.resumed)


def called(
    journals: Mapping[tuple[str, str], list[Slot]], facts: Iterable[Fact], task: str | None = None
) -> list[TaskCalls]:
    """The calls by task, in the order in which the tasks were granted."""
    granted = {fact.task: fact for fact in facts if isinstance(fact, Granted)}
    order = {name: at for at, name in enumerate(granted)}
    found = []
    for (agent, name), slots in sorted(journals.items(), key=lambda item: order.get(item[0][1], len(order))):
        if task not in (None, name):
            continue
        grant = granted.get(name)
        if grant is not None and grant.agent != agent:
            grant = None
        memory = fold(slots)
        later = _replayed(slots)
        calls = tuple(
            Called(past, _state(past, later), _tokens(past.answered)) for past in memory.calls.values()
        )
        found.append(
            TaskCalls(agent, name, grant.path if grant else "", grant.attempt if grant else 0, memory, calls)
        )
    return found


def _state(past: Past, replayed: set[int]) -> State:
    if past.answered is not None:
        return "replayed" if past.n in replayed else "answered"
    return "raised" if past.raised else "open"


def _replayed(slots: list[Slot]) -> set[int]:
    """The calls that had their answer when another process took over."""
    had: set[int] = set()
    answered: set[int] = set()
    for slot in slots:
        if isinstance(slot, Void | Began):
            continue
        if isinstance(slot, Answered):
            answered.add(slot.n)
        elif isinstance(slot, Resumed):
            had |= answered
    return had


def _tokens(answered: Answered | None) -> int | None:
    if answered is None:
        return None
    try:
        usage = json.loads(answered.text or answered.shown)["usage"]
        return int(usage["input_tokens"]) + int(usage["output_tokens"])
    except (ValueError, TypeError, KeyError):
        return None
