"""Many processes that share one key, simulated: clocks that differ, delays, lost hints, deaths; time jumps.

Each process does what `paced_line` does with the same pure functions: it looks when it hears or
when its turn is due, reads, decides, writes by compare-and-set, and decides anew when it lost.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from consort_shared.rates import Rate, Want, free, limited, turn

LOOK_AGAIN = 5.0


@dataclass
class Provider:
    """A token bucket of a minute's requests; None for one that takes everything."""

    per_minute: int | None
    level: float = 0.0
    at: float = 0.0
    served: list[tuple[float, str]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.level = float(self.per_minute or 0)

    def ask(self, run: str, now: float) -> float | None:
        """Seconds to retry after, if it refuses."""
        if self.per_minute is not None:
            self.level = min(self.per_minute, self.level + (now - self.at) * self.per_minute / 60)
            self.at = now
            if self.level < 1:
                self.refused.append(now)
                return (1 - self.level) * 60 / self.per_minute
            self.level -= 1
        self.served.append((now, run))
        return None


@dataclass
class Process:
    name: str
    skew: float
    wants: list[Want] = field(default_factory=list)
    under_way: int = 0
    busy: bool = False
    alive: bool = True
    looks_at: float = 0.0
    served: dict[int, int] = field(default_factory=dict)
    notes: list[Callable[[Rate], Rate]] = field(default_factory=list)


@dataclass
class Simulation:
    random: random.Random
    rate: Rate
    provider: Provider
    delay: float = 0.005
    lost_hints: float = 0.0
    lasts: float = 1.0
    """how long a call takes"""
    now: float = 1_000_000.0
    revision: int = 0
    writes: int = 0
    most_under_way: int = 0
    processes: list[Process] = field(default_factory=list)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _n: int = 0

    def process(self, skew: float = 0.0) -> Process:
        process = Process(f"p{len(self.processes)}", skew)
        self.processes.append(process)
        return process

    def calls(self, process: Process, run: str, tokens: int = 0, again: int = 10**9) -> None:
        """A caller in a process: calls, and as soon as it is answered calls again."""
        if process.alive and again:
            process.wants.append(Want(run, tokens, self.now + process.skew))
            self._again[id(process), run] = again - 1
            self.look(process)

    def __post_init__(self) -> None:
        self._again: dict[tuple[int, str], int] = {}

    def at(self, time: float, what: Callable[[], None]) -> None:
        self._n += 1
        heapq.heappush(self._events, (time, self._n, what))

    def later(self, what: Callable[[], None]) -> None:
        self.at(self.now + self.random.uniform(0.2, 1.8) * self.delay, what)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = end

    # --- a process

    def look(self, process: Process) -> None:
        if process.alive and not process.busy:
            process.busy = True
            self.later(lambda: self._read(process))

    def _read(self, process: Process) -> None:
        rate, revision = self.rate, self.revision
        self.later(lambda: self._decide(process, rate, revision))

    def _decide(self, process: Process, rate: Rate, revision: int) -> None:
        if not process.alive:
            return
        notes, wants = list(process.notes), list(process.wants)
        changed = rate
        for note in notes:
            changed = note(changed)
        now = self.now + process.skew
        if not notes and free(rate, now):
            process.busy = False
            for want in wants:
                process.wants.remove(want)
                process.under_way += 1
                self._go(process, want)
            return
        changed, outcome = turn(
            changed, process.name, wants, now, under_way=process.under_way, served=process.served
        )
        if changed is rate:
            self._wait(process, outcome.until - now)
            return

        def written() -> None:
            if self.revision != revision:
                self.at(self.now + self.random.uniform(0, 0.02), lambda: self._read(process))
                return
            self.rate, self.revision, self.writes = changed, self.revision + 1, self.writes + 1
            for other in self.processes:
                if other is not process and self.random.random() >= self.lost_hints:
                    self.later(lambda other=other: self.look(other))  # type: ignore[misc]
            self.later(lambda: told())

        def told() -> None:
            if process.alive:
                process.notes = process.notes[len(notes) :]
                for n in outcome.granted:
                    process.wants.remove(wants[n])
                    process.under_way += 1
                    self._go(process, wants[n])
                self._wait(process, outcome.until - now)

        self.later(written)

    def _wait(self, process: Process, seconds: float) -> None:
        process.busy = False
        if process.wants or process.notes or seconds < 1000:
            looks_at = self.now + max(min(seconds, LOOK_AGAIN), 0.001)
            process.looks_at = looks_at

            def due() -> None:
                if process.looks_at == looks_at:
                    self.look(process)

            self.at(looks_at, due)

    def _go(self, process: Process, want: Want) -> None:
        began = self.now + process.skew
        process.served[int(began)] = process.served.get(int(began), 0) + 1
        self.most_under_way = max(
            self.most_under_way, sum(one.under_way for one in self.processes if one.alive)
        )

        def arrives() -> None:
            retry = self.provider.ask(want.run, self.now)
            if retry is None:
                self.at(self.now + self.random.uniform(0.5, 1.5) * self.lasts, lambda: ends(None))
            else:
                process.served[int(began)] -= 1
                self.later(lambda: ends(retry))

        def ends(retry: float | None) -> None:
            process.under_way -= 1
            now = self.now + process.skew
            if retry is not None and process.alive:
                served = dict(process.served)
                process.notes.append(
                    lambda rate: limited(rate, process.name, began, retry, None, served, now)
                )
                process.wants.append(want)
            elif process.alive:
                self.calls(process, want.run, want.tokens, self._again[id(process), want.run])
            self.look(process)

        self.later(arrives)


def in_windows(times: list[float], seconds: float = 60.0) -> int:
    """The most that there were in any window."""
    most, first = 0, 0
    for last, time in enumerate(times):
        while time - times[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def per_run(provider: Provider, runs: list[str], since: float) -> Iterator[int]:
    for run in runs:
        yield sum(one == run and at >= since for at, one in provider.served)
