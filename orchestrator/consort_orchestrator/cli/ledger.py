"""A run's effects, as its entries tell: what was done outside, by whom, and what nobody knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from consort_shared.entries import Doubted, EffectBegun, EffectSettled, Fact
from consort_shared.messages import Output

State = Literal["begun", "in doubt", "done", "undone"]


@dataclass(frozen=True, slots=True)
class Line:
    """One effect. `by` is the task or the person that said what became of it; `tries` counts how often it began."""

    path: str
    key: str
    state: State
    agent: str
    instance: str
    task: str
    tries: int = 1
    by: str = ""
    output: Output | None = None
    id: str = ""
    """of the last try"""
    at: float = 0.0
    """seconds since 1970, of the last word on it"""


def effects_of(facts: Iterable[tuple[float, Fact]]) -> list[Line]:
    """The ledger that facts with their times add up to, in the order in which the effects began."""
    lines: dict[tuple[str, str], Line] = {}
    for at, fact in facts:
        if not isinstance(fact, (EffectBegun, EffectSettled, Doubted)):
            continue
        where = (fact.path, fact.key)
        before = lines.get(where)
        match fact:
            case EffectBegun():
                tries = before.tries + 1 if before is not None else 1
                lines[where] = Line(
                    fact.path,
                    fact.key,
                    "begun",
                    fact.agent,
                    fact.instance,
                    fact.task,
                    tries,
                    id=fact.id,
                    at=at,
                )
            case EffectSettled():
                line = before or Line(fact.path, fact.key, "begun", "", "", "")
                lines[where] = replace(line, state=fact.verdict, by=fact.by, output=fact.output, at=at)
            case Doubted():
                line = before or Line(fact.path, fact.key, "begun", fact.agent, "", fact.task)
                lines[where] = replace(line, state="in doubt", at=at)
    return list(lines.values())
