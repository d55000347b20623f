"""An orchestrator process: what it opens, in which order, and how it stops.

Opening: the bus, the registry, the answers to agents, the inbox last. Closing in
reverse: take no more, finish what is on the desk, then let go of the bus. A
process that is killed instead loses nothing; another, or the next, goes on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from consort_bus import subjects
from consort_bus.artefacts import Artefacts
from consort_bus.buckets import Bucket
from consort_bus.connection import Bus
from consort_bus.envelope import OrchestratorSeal
from consort_bus.errors import AccessDenied
from consort_bus.publish import Publisher
from consort_bus.pull import Delivery, Pull
from consort_bus.subjects import InboxSubject
from consort_bus.topology import PRIORITY_GROUP
from consort_bus.wire import Wire
from consort_orchestrator.shell.dead import DeadLetters
from consort_orchestrator.shell.desk import Desk
from consort_orchestrator.shell.effects import Effects
from consort_orchestrator.shell.history import History
from consort_orchestrator.shell.inbox import Incoming
from consort_orchestrator.shell.joining import Joining
from consort_orchestrator.shell.registry import Registry
from consort_shared.plan.expressions import condition

SWEEP = 5.0
BATCH = 64
"""Messages that one shard's consumer may send ahead."""

log = logging.getLogger("consort.orchestrator")
_parsed = lru_cache(maxsize=4096)(InboxSubject.parse)  # what an agent says to a run comes under one subject


@dataclass(frozen=True, slots=True)
class Health:
    """What an orchestrator is doing."""

    writer: str
    decisions: int
    cached: int


class Orchestrator:
    """Decides who does what and when; does none of the work itself."""

    def __init__(self, bus: Bus, wire: Wire) -> None:
        if bus.mac_key is None:
            raise AccessDenied(str(bus.identity), "publish to", "log", ("orchestrator",))
        self.writer = f"{bus.identity.name}-{secrets.token_hex(3)}"
        self._bus = bus
        self._wire = wire
        seal = OrchestratorSeal(bus.mac_key)
        publisher = Publisher(wire)
        artefacts = Artefacts(wire, bus.identity)
        self._dead = DeadLetters(publisher)
        self.registry = Registry(bus, Bucket(wire, publisher, subjects.AGENTS), seal)
        self._joining = Joining(bus, wire, publisher, seal, self.registry)
        history = History(wire, artefacts, seal)
        effects = Effects(bus, publisher, Bucket(wire, publisher, subjects.CONTEXT), artefacts, seal)
        self._desk = Desk(self.writer, history, effects, self.registry, artefacts, seal, self._dead)

    @property
    def health(self) -> Health:
        return Health(self.writer, self._desk.decisions, self._desk.cached)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Work until told to stop, then finish what is in hand."""
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(self.registry.run()),
                group.create_task(self._joining.run()),
                group.create_task(self._sweep()),
            ]
            await self.registry.refresh()
            condition("true").evaluate({})  # the first expression loads the language: not while runs wait
            pulls = [group.create_task(self._pull(shard).run()) for shard in range(subjects.SHARDS)]
            log.info("orchestrator %s is ready", self.writer)
            ready()
            await stop.wait()
            for pull in pulls:
                pull.cancel()
            await self._desk.drained()
            for task in background:
                task.cancel()
        log.info("orchestrator %s has stopped", self.writer)

    def _pull(self, shard: int) -> Pull:
        return Pull(
            self._wire,
            subjects.INBOX,
            subjects.shard_consumer_name(shard),
            self._arrived,
            batch=BATCH,
            group=PRIORITY_GROUP,
        )

    def _arrived(self, delivery: Delivery) -> None:
        subject = _parsed(delivery.subject)
        if subject is None:
            self._desk.take_unaddressed(delivery)
            return
        self._desk.take(Incoming(subject, delivery))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self._desk.sweep()
