"""Whether a conversation with tools goes in circles. Pure: a state and a turn give a state and a verdict.

Three ways of it are known: the same call again and again (`loop-same`), two calls in turn
(`loop-pingpong`), and turns in which nothing succeeds (`loop-stuck`). The model is told
once; if it goes on, the loop ends. A call whose answers differ may be polling, so it is
given twice as many times. Knows nothing of models or tools beyond names and digests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

CircleKind: TypeAlias = Literal["loop-same", "loop-pingpong", "loop-stuck"]


@dataclass(frozen=True, slots=True)
class Made:
    """A tool call that was made, as far as the guard looks at it."""

    tool: str
    arguments: str
    """digest of the arguments"""
    answer: str
    """digest of the answer"""
    failed: bool = False

    @property
    def call(self) -> tuple[str, str]:
        return self.tool, self.arguments


@dataclass(frozen=True, slots=True)
class Bounds:
    """How often is too often."""

    same: int = 3
    """calls that are the same, with the same answer"""
    pairs: int = 3
    """times that two calls alternate"""
    stuck: int = 3
    """turns in a row in which every call failed"""


@dataclass(frozen=True, slots=True)
class Fine:
    """Nothing to say."""


@dataclass(frozen=True, slots=True)
class Warn:
    """The model is to be told."""

    kind: CircleKind
    text: str


@dataclass(frozen=True, slots=True)
class End:
    """It was told and goes on."""

    kind: CircleKind
    text: str


Verdict: TypeAlias = Fine | Warn | End


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen so far."""

    made: tuple[Made, ...] = ()
    turns: tuple[tuple[tuple[str, str], ...], ...] = ()
    """the calls of each turn"""
    failing: int = 0
    """turns in a row in which every call failed"""
    told: frozenset[tuple[CircleKind, str]] = frozenset()


def watch(seen: Watched, turn: Sequence[Made], bounds: Bounds | None = None) -> tuple[Watched, Verdict]:
    """Take in the calls of one turn, and judge."""
    bounds = bounds or Bounds()
    if not turn:
        return seen, Fine()
    failing = seen.failing + 1 if all(made.failed for made in turn) else 0
    calls = tuple(sorted(made.call for made in turn))
    now = Watched((*seen.made, *turn), (*seen.turns, calls), failing, seen.told)
    circles = list(_circles(now, turn, bounds))
    for kind, about, text in circles:
        if (kind, about) in seen.told:
            return now, End(kind, text)
    for kind, about, text in circles:
        return replace(now, told=seen.told | {(kind, about)}), Warn(kind, text)
    return now, Fine()


def _circles(now: Watched, turn: Sequence[Made], bounds: Bounds) -> Iterable[tuple[CircleKind, str, str]]:
    """What goes in circles: its kind, which one of it, and the sentence for it."""
    for made in dict.fromkeys(turn):
        same = sum(made == other for other in now.made)
        alike = sum(made.call == other.call for other in now.made)
        if same >= bounds.same or alike >= 2 * bounds.same:
            gave = "and always got the same answer" if same == alike else "and it does not get further"
            yield (
                "loop-same",
                f"{made.tool} {made.arguments}",
                f"{made.tool} was called {alike} times with the same arguments, {gave}",
            )
    if _alternates(now.turns, bounds.pairs):
        first, second = sorted(now.turns[-2:])
        names = " and ".join("+".join(tool for tool, _ in calls) for calls in (first, second))
        told = f"{names} were called in turn {bounds.pairs} times, always with the same arguments"
        yield "loop-pingpong", f"{first} {second}", told
    if now.failing >= bounds.stuck:
        yield "loop-stuck", "", f"every tool call of the last {now.failing} turns failed"


def _alternates(turns: Sequence[tuple[tuple[str, str], ...]], pairs: int) -> bool:
    """Whether the last turns make the same two different calls in turn."""
    last = turns[-2 * pairs :]
    return (
        len(last) == 2 * pairs
        and last[0] != last[1]
        and all(calls == last[at % 2] for at, calls in enumerate(last))
    )
