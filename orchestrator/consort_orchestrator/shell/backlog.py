"""The whole system in a few figures: what waits for which agent and for how long, and how many runs are open.

Asked of the bus by one of the orchestrators, the one whose share the first part of the
inbox is, and only while somebody takes its figures. Counting the runs means listing the
log's subjects, so it is done less often, and where there are too many of them not at all.
"""

from __future__ import annotations

import time

from consort_bus import jetstream, subjects
from consort_bus.clock import ServerClock
from consort_bus.connection import Bus
from consort_bus.health import ask, consumers_of, oldest_pending
from consort_bus.recorded import open_runs
from consort_bus.wire import Wire
from consort_orchestrator.shell.presence import Presences
from consort_shared.telemetry.metrics import Queue, Whole

EVERY = 2.0
"""Seconds for which what was found is good."""
COUNT_EVERY, COUNT_SHARE = 30.0, 0.01
"""Seconds between two counts of the runs at least, and the part of the time that counting may take."""
MOST_SUBJECTS = 100_000
"""Subjects of the log up to which the runs are counted: an answer of the bus is read in one piece."""


class Backlog:
    """Looks at what waits."""

    def __init__(self, bus: Bus, wire: Wire, presences: Presences, clock: ServerClock) -> None:
        self._bus = bus
        self._wire = wire
        self._presences = presences
        self._clock = clock
        self._open_runs: int | None = None
        self._count_at = 0.0

    async def look(self) -> Whole:
        """What there is now; nothing where another orchestrator tells. Raises BusError."""
        if not self._presences.first:
            self._count_at = 0.0
            return Whole()
        queues = []
        for consumer in await consumers_of(self._bus, subjects.LOG):
            agent = subjects.agent_of_consumer(consumer.name)
            if agent is None:
                continue
            oldest = await oldest_pending(self._wire, consumer) if consumer.pending else None
            age = max(self._clock.now() - oldest.timestamp(), 0.0) if oldest is not None else 0.0
            queues.append(Queue(agent, consumer.pending, consumer.in_hand, age))
        await self._count()
        return Whole(tuple(queues), self._open_runs)

    async def _count(self) -> None:
        began = time.monotonic()
        if began < self._count_at:
            return
        log = await ask(self._bus, jetstream.stream_info(subjects.LOG))
        few = log.get("state", {}).get("num_subjects", 0) <= MOST_SUBJECTS
        self._open_runs = await open_runs(self._bus) if few else None
        now = time.monotonic()
        self._count_at = now + max(COUNT_EVERY, (now - began) / COUNT_SHARE)
