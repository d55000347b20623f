"""Whose turn it is on a tool host: fair between runs, within what each tool allows.

Pure: the time is an argument. Runs take turns, so one that asks for a thousand calls does not keep
another waiting for its single one; of one run, calls of one tool go in the order they came.
Knows nothing of what a call is.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
WINDOW = 60.0
"""Seconds of the minute in `per_minute`."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What a tool allows; None for no limit. `concurrent` and `per_minute` count for one process of a host,
    `per_run` for all of them together."""

    concurrent: int | None = None
    per_minute: int | None = None
    per_run: int | None = None


NO_QUOTA = Quota()


class Turns(Generic[T]):
    """What waits, and what is under way. `slots` is how many may be under way at once."""

    def __init__(self, slots: int, quotas: Mapping[str, Quota]) -> None:
        self._slots = slots
        self._quotas = quotas
        self._waiting: OrderedDict[str, deque[tuple[str, T]]] = OrderedDict()
        self._busy: dict[str, int] = {}
        self._begun: dict[str, deque[float]] = {}

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def busy(self) -> int:
        return sum(self._busy.values())

    def add(self, run: str, tool: str, item: T) -> None:
        """Put something at the end of its run's queue."""
        self._waiting.setdefault(run, deque()).append((tool, item))

    def take(self, now: float) -> T | None:
        """What may begin now, counted as begun; its run goes behind the others."""
        if self.busy >= self._slots:
            return None
        for run, queue in self._waiting.items():
            found = next((at for at, (tool, _) in enumerate(queue) if self._free_at(tool, now) <= now), None)
            if found is None:
                continue
            tool, item = queue[found]
            del queue[found]
            self._waiting.move_to_end(run)
            if not queue:
                del self._waiting[run]
            self._begin(tool, now)
            return item
        return None

    def ended(self, tool: str) -> None:
        """Something that was taken is over."""
        self._busy[tool] -= 1

    def next_at(self, now: float) -> float | None:
        """When it is worth to `take` again though nothing ends: a minute's allowance opens. None for never."""
        tools = {tool for queue in self._waiting.values() for tool, _ in queue}
        opens = [at for tool in tools if now < (at := self._free_at(tool, now)) < float("inf")]
        return min(opens, default=None)

    def drain(self) -> list[T]:
        """All that waits, taken out."""
        left = [item for queue in self._waiting.values() for _, item in queue]
        self._waiting.clear()
        return left

    def _begin(self, tool: str, now: float) -> None:
        self._busy[tool] = self._busy.get(tool, 0) + 1
        if self._quotas.get(tool, NO_QUOTA).per_minute is not None:
            self._begun.setdefault(tool, deque()).append(now)

    def _free_at(self, tool: str, now: float) -> float:
        """When a call of a tool may begin: now, later, or (inf) only when another ends."""
        quota = self._quotas.get(tool, NO_QUOTA)
        if quota.concurrent is not None and self._busy.get(tool, 0) >= quota.concurrent:
            return float("inf")
        if quota.per_minute is None:
            return now
        begun = self._begun.setdefault(tool, deque())
        while begun and begun[0] <= now - WINDOW:
            begun.popleft()
        return now if len(begun) < quota.per_minute else begun[0] + WINDOW
