"""An orchestrator process: what it opens, in which order, and how it stops.

Opening: the bus, the registry, the answers to agents, the inbox last. Closing in
reverse: take no more, let others have this one's share at once, finish what is on
the desk, then let go of the bus. A process that is killed instead loses nothing;
another, or the next, goes on.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from consort_bus import subjects
from consort_bus.artefacts import Artefacts
from consort_bus.buckets import Bucket
from consort_bus.clock import ServerClock
from consort_bus.connection import Bus
from consort_bus.envelope import OrchestratorSeal
from consort_bus.errors import AccessDenied, BusError
from consort_bus.publish import Publisher
from consort_bus.pull import Delivery, Pull
from consort_bus.subjects import InboxSubject
from consort_bus.topology import PRIORITY_GROUP, SHARD_PIN_TIMEOUT
from consort_bus.wire import Wire
from consort_orchestrator.shell import backlog, chronicle
from consort_orchestrator.shell.admission import Admission
from consort_orchestrator.shell.asking import Asking
from consort_orchestrator.shell.backlog import Backlog
from consort_orchestrator.shell.dead import DeadLetters
from consort_orchestrator.shell.desk import Desk
from consort_orchestrator.shell.effects import Effects
from consort_orchestrator.shell.history import History
from consort_orchestrator.shell.inbox import Incoming
from consort_orchestrator.shell.janitor import Janitor
from consort_orchestrator.shell.joining import Joining
from consort_orchestrator.shell.judge import Judge
from consort_orchestrator.shell.pauses import Pauses
from consort_orchestrator.shell.presence import Presences, writer_name
from consort_orchestrator.shell.profiles import Profiles
from consort_orchestrator.shell.redriving import Redriving
from consort_orchestrator.shell.registry import Registry
from consort_orchestrator.tracing.exporting import Spans
from consort_shared.plan.expressions import condition
from consort_shared.telemetry import metrics
from consort_shared.telemetry.health import NOT_CONNECTED, STOPPING
from consort_shared.telemetry.looking import Reading
from consort_shared.telemetry.metrics import Whole
from consort_shared.telemetry.tracing import Tracing

SWEEP = 1.0
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

    def __init__(self, bus: Bus, wire: Wire, tracing: Tracing | None = None) -> None:
        if bus.mac_key is None:
            raise AccessDenied(str(bus.identity), "publish to", "log", ("orchestrator",))
        instance = secrets.token_hex(3)
        self.writer = writer_name(bus.identity.name, instance)
        self._wire = wire
        self._clock = ServerClock(wire)
        seal, publisher = OrchestratorSeal(bus.mac_key), Publisher(wire)
        artefacts = Artefacts(wire, bus.identity)
        control = Bucket(wire, publisher, subjects.CONTROL)
        pauses, dead = Pauses(wire, control), DeadLetters(wire, publisher)
        self._profiles = Profiles(bus, wire)
        now = self._clock.now
        presences = Bucket(wire, publisher, subjects.AGENTS)
        self.registry = Registry(bus, presences, seal, pauses, self._profiles)
        history = History(wire, artefacts, seal)
        self._spans = Spans.of(tracing, self.writer, wire, artefacts)
        effects = Effects(
            bus,
            publisher,
            Bucket(wire, publisher, subjects.CONTEXT),
            artefacts,
            seal,
            self._spans.sampled,
            self.registry.reads,
        )
        self._joining = Joining(
            bus.identity.name,
            bus,
            wire,
            publisher,
            seal,
            self.registry,
            pauses,
            self._profiles,
            history,
            now,
        )
        self._admission = Admission(wire)
        self._asking = Asking(bus, publisher, control, artefacts, seal, history, self._admission, now)
        redriving = Redriving(dead, seal, artefacts)
        self._judge = Judge(
            self.writer,
            history,
            effects,
            self.registry,
            artefacts,
            seal,
            dead,
            redriving,
            self._admission,
            now,
            self._spans.follow,
            self._spans.sampled,
        )
        self._desk = Desk(self._judge, dead, now)
        self._presences = Presences(
            bus.identity.name,
            instance,
            control,
            seal,
            self._clock,
            importlib.metadata.version("consort-agents"),
            lambda: self._judge.decisions,
            self._spans.gone,
        )
        self._janitor = Janitor(bus, wire, publisher, history, self.registry, self._clock)
        self._bus = bus
        self._backlog = Backlog(bus, wire, self._presences, self._clock)
        self._stage = "it is starting"

    @property
    def health(self) -> Health:
        return Health(self.writer, self._judge.decisions, self._desk.cached)

    @property
    def unready(self) -> str:
        """Why it does not judge what comes, in one sentence; empty while it does."""
        if not self._bus.connected:
            return NOT_CONNECTED
        return self._stage or self._presences.unsettled

    def observe(self) -> None:
        """Keep the figures that are looked up when somebody takes them. Once in a process, in its loop."""
        chronicle.begin()
        metrics.observe_process(
            "orchestrator", self._bus.identity.name, lambda: self.unready, lambda: self._bus.reconnects
        )
        metrics.observe_whole(Reading(self._backlog.look, Whole(), every=backlog.EVERY))

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Work until told to stop, then finish what is in hand."""
        pulls = [self._pull(shard) for shard in range(subjects.SHARDS)]
        await self._measure()
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(self.registry.run()),
                group.create_task(self._profiles.run()),
                group.create_task(self._joining.run()),
                group.create_task(self._asking.run()),
                group.create_task(self._admission.run()),
                group.create_task(self._presences.run(pulls)),
                group.create_task(self._janitor.run(pulls[0])),
                group.create_task(self._sweep()),
                group.create_task(self._spans.run(self._presences.accounted_for)),
            ]
            await self.registry.refresh()
            await (
                self._profiles.refresh()
            )  # before the first task is granted, so that none has an outdated one
            condition("true").evaluate({})  # the first expression loads the language: not while runs wait
            pulling = [group.create_task(pull.run()) for pull in pulls]
            self._stage = ""
            log.info("orchestrator %s is ready", self.writer)
            ready()
            await stop.wait()
            self._stage = STOPPING
            await self._presences.leave()
            for pull, task in zip(pulls, pulling, strict=True):
                pull.yield_pin()
                task.cancel()
            await self._desk.drained()
            for task in background:
                task.cancel()
        log.info("orchestrator %s has stopped", self.writer)

    async def _measure(self) -> None:
        try:
            await self._clock.measure()
        except BusError as exc:
            log.info("the time of the bus cannot be asked for now: %s", exc)

    def _pull(self, shard: int) -> Pull:
        return Pull(
            self._wire,
            subjects.INBOX,
            subjects.shard_consumer_name(shard),
            self._arrived,
            batch=BATCH,
            group=PRIORITY_GROUP,
            pin_renewal=SHARD_PIN_TIMEOUT.total_seconds() / 3,
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
            self._desk.keep()
