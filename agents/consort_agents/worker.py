"""The process of an agent: takes tasks, works on them, reports.

It asks for as many tasks as it has free slots, keeps the lease of each task in
hand alive however long the work takes, reports, and acknowledges last: a process
that dies leaves its tasks to be delivered again. Told to stop, it takes no more,
finishes what it has, and hands back what is not done within the grace time.

How often a task was delivered tells whether it kills its processes, so one is given
back only where that cannot be helped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Any

from consort_agents import telling
from consort_agents.admission import Admission, growing
from consort_agents.attendance import Attendance
from consort_agents.draining import LAST_TRIES, cancelled, finished
from consort_agents.errors import AgentError, AttemptOver, JournalLost
from consort_agents.heeding import OVERDUE_AFTER, Heeding, InHand
from consort_agents.hosting.remote import Calls
from consort_agents.hosting.shared import SharedTools
from consort_agents.journal import rehearsal
from consort_agents.journal.opening import Journals
from consort_agents.kit import Agent
from consort_agents.models.finding import close_providers
from consort_agents.paced import BusPacing, pacing_of
from consort_agents.profiles import Profiles
from consort_agents.speaking import Speaker
from consort_agents.tasks import NotATask, Task, read_task
from consort_agents.thinking.equipment import Equipment
from consort_agents.working import Working
from consort_bus import subjects
from consort_bus.artefacts import Artefacts
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE, AgentSeal
from consort_bus.errors import AccessDenied, BusError
from consort_bus.listen import Heard, listening
from consort_bus.publish import Publisher
from consort_bus.pull import Delivery, Pull
from consort_bus.sealing import Box
from consort_bus.subjects import ControlSubject
from consort_bus.toolbox import Toolbox
from consort_bus.wire import Wire
from consort_shared.codec import decode
from consort_shared.errors import DecodeError
from consort_shared.messages import order_message
from consort_shared.telemetry import metrics
from consort_shared.telemetry.tracing import Tracing
from consort_shared.upcast import TooNew

SHORTEST_PULL, LONGEST_PULL = 2.0, 30.0
"""Seconds that a request for tasks is open."""

log = logging.getLogger("consort.agent")


class Worker:
    """Runs one agent over one connection.

    `name` is the agent's, as `finding` takes it: isolated skills are imported by it in their child processes.
    """

    def __init__(
        self,
        agent: Agent,
        bus: Bus,
        wire: Wire,
        *,
        slots: int | None = None,
        name: str | None = None,
        tracing: Tracing | None = None,
        instance: str | None = None,
    ) -> None:
        if bus.mac_key is None:
            raise AccessDenied(str(bus.identity), "subscribe to", "tasks", ("agent",))
        self.agent = agent
        self.card = agent.card if slots is None else agent.card.model_copy(update={"slots": slots})
        if bus.identity.name != self.card.name:
            raise AgentError(f"the credentials are for {bus.identity}, the agent is named {self.card.name!r}")
        if name is None and any(skill.isolated for skill in agent.skills.values()):
            raise AgentError(f"agent {self.card.name!r} has isolated skills: it is started by its name")
        self._bus = bus
        self._wire = wire
        self._seal = AgentSeal(bus.mac_key)
        self._artefacts = Artefacts(wire, bus.identity)
        publisher = Publisher(wire)
        self._attendance = Attendance(self.card, wire, publisher, self._seal, instance)
        self._speaker = Speaker(bus, publisher, self._artefacts, self._seal, self._attendance.instance)
        self._calls = Calls(bus, wire, self._attendance.now)
        self._in_hand: dict[tuple[str, str], InHand] = {}
        self._heeding = Heeding(self._in_hand, self._speaker, self._attendance, self._spawn)
        shared = SharedTools(Toolbox(wire, publisher), self._calls)
        self._equipment = Equipment(agent, now=self._attendance.now, shared=shared)
        journals = Journals(
            wire,
            self._seal,
            self._artefacts,
            Box(bus.mac_key),
            self._attendance.instance,
            self.card.lease,
            agent.divergence,
            rehearsal.asked_for(self.card.name),
        )
        self._working = Working(
            self.card,
            name or "",
            self._speaker,
            self._artefacts,
            self._attendance,
            tracing,
            Profiles(wire, self.card.name, agent.own_profile),
            self._equipment,
            journals,
        )
        self._admission = Admission(
            self.card, self.agent.skills, self._heeding, self._attendance, self._working.report
        )
        self._opening: set[asyncio.Task[None]] = set()
        self._asides: set[asyncio.Task[None]] = set()
        self._pull: Pull | None = None
        self._pacing: BusPacing | None = None
        self._gone = asyncio.Event()
        self._freed = 0
        self.done = 0
        self.left = 0
        """what did not end with the process's work: functions in threads, and skills that do not let themselves
        be cancelled"""

    @property
    def unready(self) -> str:
        """Why it takes no tasks, in one sentence; empty while it does."""
        return self._attendance.unready(self._bus.connected, self._pull)

    def observe(self) -> None:
        """Keep the figures that are looked up when somebody takes them. Once in a process."""
        telling.observe(self.card, self._bus, lambda: self.unready, lambda: len(self._in_hand))
        metrics.observe_breakers(lambda: {} if self._pacing is None else self._pacing.breakers())

    async def run(
        self,
        stop: asyncio.Event,
        *,
        grace: timedelta = timedelta(seconds=30),
        hurry: asyncio.Event | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Work until told to stop; with `hurry` what is in hand is handed back at once.

        Raises AgentError when the orchestrator refuses the card.
        """
        consumer = await self._attendance.announce(stop)
        if consumer is None:
            return
        try:
            await self._attendance.show(0)
        except BusError as exc:
            log.info("agent %s: sign of life not sent: %s", self.card.name, exc)
        try:
            async with self._thinking(), asyncio.TaskGroup() as group:
                await self._serve(group, consumer, stop, grace, hurry or asyncio.Event(), ready)
        finally:
            self._working.close()

    @asynccontextmanager
    async def _thinking(self) -> AsyncIterator[None]:
        """What calls of models need for as long as the process works: their turn among all processes, connections."""
        now, instance = self._attendance.now, self._attendance.instance
        async with pacing_of(self._bus, self._wire, Publisher(self._wire), now, claimant=instance) as pacing:
            self._equipment.pacing = self._pacing = pacing
            try:
                yield
            finally:
                await close_providers()

    async def _serve(
        self,
        group: asyncio.TaskGroup,
        consumer: str,
        stop: asyncio.Event,
        grace: timedelta,
        hurry: asyncio.Event,
        ready: Callable[[], None],
    ) -> None:
        # What a frozen process asked for must run out before the lease of its tasks: they would come to it again.
        expires = min(max(self.card.lease / 2, SHORTEST_PULL), LONGEST_PULL)
        self._pull = Pull(
            self._wire,
            subjects.LOG,
            consumer,
            self._arrived,
            slots=self.card.slots,
            expires=expires,
            heartbeat=expires * 0.4,
            on_missing=self._gone.set,
        )
        showing = group.create_task(self._attendance.keep_showing(lambda: len(self._in_hand)))
        tending = [self._keep_leases(), self._heeding.watch(), self._rejoin(stop)]
        background = [group.create_task(work) for work in tending]
        hearing = self._calls.hearing() if self.agent.shared_tools else nullcontext()
        async with listening(self._bus, str(ControlSubject(self.card.name)), self._ordered), hearing:
            background.append(group.create_task(self._pull.run()))
            log.info(
                "agent %s (%s) is ready, %d slots", self.card.name, self._attendance.instance, self.card.slots
            )
            ready()
            await stop.wait()
            self._pull.pause()
            showing.cancel()
            await self._attendance.leave()
            await self._drain(grace, hurry)
        for task in background:
            task.cancel()

    async def _rejoin(self, stop: asyncio.Event) -> None:
        """A consumer that was deleted is made anew by an orchestrator when the agent announces itself again."""
        while True:
            await self._gone.wait()
            self._gone.clear()
            if await self._attendance.announce(stop) is not None:
                log.info("agent %s is admitted again", self.card.name)

    # --- tasks

    def _arrived(self, delivery: Delivery) -> None:
        work = asyncio.get_running_loop().create_task(self._take(delivery))
        self._opening.add(work)
        work.add_done_callback(self._opening.discard)

    async def _take(self, delivery: Delivery) -> None:
        """Open a delivered task and work on it to its end."""
        held: InHand | None = None
        try:
            task = await read_task(
                delivery.subject, delivery.data, delivery.headers, self.card.name, self._seal, self._artefacts
            )
            telling.delivered(delivery)
            if self._known(task, delivery):
                return
            current = asyncio.current_task()
            assert current is not None
            held = InHand(task, delivery, current, task.granted.deadline + OVERDUE_AFTER)
            self._in_hand[task.key] = held
            telling.about(task)
            if await self._admission.may_begin(held):
                await self._work(held)
        except TooNew as exc:
            self._admission.too_new(delivery, exc)
        except (NotATask, DecodeError) as exc:
            log.warning("agent %s: a message is set aside: %s", self.card.name, exc)
            delivery.term(str(exc))
        except JournalLost as exc:
            # The newest delivery is another process's: an acknowledgement from here would end its task.
            log.info("agent %s: a task is let go of: %s", self.card.name, exc)
        except AttemptOver as exc:
            log.info("agent %s: an attempt ends without a report: %s", self.card.name, type(exc).__name__)
            _newest(held, delivery).ack()
        except BusError as exc:
            log.warning("agent %s: a task goes back: %s", self.card.name, exc)
            _newest(held, delivery).nak(growing(delivery))
        except asyncio.CancelledError:
            if held is None or not held.off:
                _newest(held, delivery).nak()
        except Exception:
            log.exception("agent %s: a task goes back", self.card.name)
            _newest(held, delivery).nak(growing(delivery))
        finally:
            if held is not None:
                telling.left(held)
                del self._in_hand[held.task.key]
            self._free()

    def _known(self, task: Task, delivery: Delivery) -> bool:
        """Whether a task was delivered again while in hand: the newest delivery holds the lease."""
        held = self._in_hand.get(task.key)
        if held is None:
            return self._heeding.parked(task, delivery)
        held.delivery = delivery
        if held.off:
            delivery.ack()
        return True

    def _free(self) -> None:
        """One task less in hand. More are asked for once as many could be had as have been asked for already."""
        self._freed += 1
        if self._pull is not None and self._freed >= self.card.slots - self._pull.held:
            self._pull.release(self._freed)
            self._freed = 0

    async def _work(self, held: InHand) -> None:
        skill = self.agent.skills.get(held.task.granted.skill)
        if skill is None:
            await self._admission.without_skill(held)
            return
        await self._working.work(held, skill)
        self.done += not held.off

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self.card.lease / 3)
            for held in self._in_hand.values():
                if not held.off:
                    held.delivery.in_progress()
            for parked in self._heeding.orders.parked.values():
                parked.delivery.in_progress()

    async def _ordered(self, heard: Heard) -> None:
        if not self._seal.genuine_task(heard.subject, heard.data, heard.headers):
            log.warning("agent %s: an order that no orchestrator gave: ignored", self.card.name)
            return
        try:
            order = decode(order_message, heard.data, heard.headers.get(CONTENT_TYPE))
        except DecodeError as exc:
            log.warning("agent %s: an order that this version does not know: %s", self.card.name, exc)
            return
        self._heeding.ordered(order)

    # --- ending

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Something beside the tasks, which ends with the process's work at the latest."""
        aside = asyncio.get_running_loop().create_task(work)
        self._asides.add(aside)
        aside.add_done_callback(self._asides.discard)

    async def _drain(self, grace: timedelta, hurry: asyncio.Event) -> None:
        """Finish what is in hand; what is not done in time goes back to be done elsewhere."""
        for parked in self._heeding.orders.parked.values():
            parked.delivery.nak()
        self._heeding.orders.parked.clear()
        await finished(self._opening, self._in_hand, grace, hurry)
        threads = [held.work for held in self._in_hand.values() if held.in_thread]
        works = list(self._opening)
        if works:
            log.info("agent %s hands back what is not done: %d tasks", self.card.name, len(works))
        stubborn = await cancelled(works)
        for held in self._in_hand.values():
            if not held.off:
                held.delivery.nak()
        if self._asides:
            await asyncio.wait(set(self._asides), timeout=LAST_TRIES)
        await cancelled(self._asides)
        self.left = len(stubborn.union(threads))


def _newest(held: InHand | None, delivery: Delivery) -> Delivery:
    return delivery if held is None else held.delivery
