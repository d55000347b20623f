"""What a task may still use: turns, calls, tokens, money and time, over all that it asks.

A call is reserved before it is made, with the most it could use, and settled with what it
did use: a limit is refused beforehand, not found exceeded afterwards. Calls that are
replayed from the journal count as they did when they were made, so a task whose process
died has no more to spend than one whose process lived. Decides nothing about what is
asked; the time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from consort_agents.thinking.errors import LimitReached
from consort_shared.profile import ThinkingLimits
from consort_shared.usage import NANO, Usage


@dataclass(frozen=True, slots=True)
class Expected:
    """The most that a call could use; `cost` in nano-dollars, None where nobody knows the price."""

    tokens: int
    cost: int | None = None


@dataclass(slots=True)
class Reserved:
    """A call that may be made."""

    expected: Expected
    used: Usage | None = None

    def settle(self, used: Usage) -> None:
        """What it did use. A call that is never settled used nothing."""
        self.used = used


@dataclass(slots=True)
class Allowance:
    """What is left of some limits. `began` is when the time began to count, in seconds."""

    limits: ThinkingLimits
    began: float
    of: str = "the task"
    turns: int = 0
    calls: int = 0
    tool_calls: int = 0
    tokens: int = 0
    cost: int = 0
    unpriced: int = 0
    _open: list[Expected] = field(default_factory=list)

    def check_call(self, expected: Expected, now: float) -> None:
        """Raises LimitReached for a call that could exceed a limit, beside those that are under way."""
        limits = self.limits
        self.check_time(now)
        if limits.calls is not None and self.calls + len(self._open) >= limits.calls:
            raise self._reached("calls", f"{limits.calls} calls of models")
        tokens = self.tokens + sum(other.tokens for other in self._open)
        if limits.tokens is not None and tokens + expected.tokens > limits.tokens:
            told = f"{limits.tokens} tokens: {tokens} are used, and the next call could use {expected.tokens}"
            raise self._reached("tokens", told)
        self._check_money(expected.cost or 0)

    def check_time(self, now: float) -> None:
        if self.limits.seconds is not None and now - self.began >= self.limits.seconds:
            raise self._reached("seconds", f"{self.limits.seconds:g} seconds")

    def left(self, now: float) -> float | None:
        """Seconds that are left, None for no limit."""
        return None if self.limits.seconds is None else self.began + self.limits.seconds - now

    def turn(self) -> None:
        """One more answer of the model in a loop. Raises LimitReached."""
        if self.turns >= self.limits.turns:
            raise self._reached("turns", f"{self.limits.turns} turns")
        self.turns += 1

    def tool_call(self, cost: int = 0) -> None:
        """One more tool call, which costs so many nano-dollars. Raises LimitReached."""
        if self.limits.tool_calls is not None and self.tool_calls >= self.limits.tool_calls:
            raise self._reached("tool-calls", f"{self.limits.tool_calls} tool calls")
        if cost:
            self._check_money(cost)
        self.tool_calls += 1
        self.cost += cost

    def begin(self, expected: Expected) -> None:
        self._open.append(expected)

    def end(self, reserved: Reserved) -> None:
        self._open.remove(reserved.expected)
        if reserved.used is not None:
            self.count(reserved.used)

    def count(self, used: Usage) -> None:
        """What was used, whatever the limits say."""
        self.calls += used.calls
        self.tool_calls += used.tool_calls
        self.tokens += used.input_tokens + used.output_tokens
        self.cost += used.cost
        self.unpriced += used.unpriced

    def _check_money(self, next_one: int) -> None:
        most = self.limits.dollars
        spent = self.cost + sum(other.cost or 0 for other in self._open)
        if most is not None and spent + next_one > most * NANO:
            told = f"${spent / NANO:.6f} are spent, the next call could cost ${next_one / NANO:.6f}"
            raise self._reached("dollars", f"${most:g}: {told}")

    def _reached(self, what: str, told: str) -> LimitReached:
        return LimitReached(what, f"{self.of} has reached its limit of {told}")


@contextmanager
def reserved(allowances: Sequence[Allowance], expected: Expected, now: float) -> Iterator[Reserved]:
    """Reserve a call with every allowance that it is under. Raises LimitReached."""
    for allowance in allowances:
        allowance.check_call(expected, now)
    call = Reserved(expected)
    for allowance in allowances:
        allowance.begin(expected)
    try:
        yield call
    finally:
        for allowance in allowances:
            allowance.end(call)
