"""The process of an agent: takes tasks, works on them, reports.

It asks for as many tasks as it has free slots, keeps the lease of each task in
hand alive however long the work takes, reports, and acknowledges last: a process
that dies leaves its tasks to be delivered again. Told to stop, it takes no more,
finishes what it has, and hands back what is not done within the grace time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from pydantic import TypeAdapter

from consort_agents.context import Artefacts as ContextArtefacts
from consort_agents.context import Context
from consort_agents.errors import AgentError
from consort_agents.kit import Agent
from consort_agents.performing import perform
from consort_agents.speaking import Speaker
from consort_agents.tasks import NotATask, Task, open_task
from consort_bus import subjects
from consort_bus.artefacts import Artefacts
from consort_bus.buckets import Bucket
from consort_bus.connection import Bus
from consort_bus.envelope import AgentSeal
from consort_bus.errors import AccessDenied, BusError
from consort_bus.listen import Heard, listening
from consort_bus.publish import Publisher
from consort_bus.pull import Delivery, Pull
from consort_bus.subjects import AgentSubject, ApiSubject, ControlSubject
from consort_bus.wire import Wire
from consort_shared.card import Announce, Presence, Welcome
from consort_shared.codec import MSGPACK, decode, encode
from consort_shared.errors import DecodeError
from consort_shared.messages import Answer, Failed, Stop, order_message
from consort_shared.values import NoSuchPath

PRESENCE_EVERY, PRESENCE_TTL = 3.0, 10
ANNOUNCE_AGAIN = (0.2, 5.0)
"""Seconds between announcements nobody answers: the first and the longest pause."""

log = logging.getLogger("consort.agent")
_skill_log = logging.getLogger("consort.skill")
_welcome: TypeAdapter[Welcome] = TypeAdapter(Welcome)


@dataclass(slots=True)
class _InHand:
    """A task being worked on; `delivery` is the newest of it."""

    delivery: Delivery
    work: asyncio.Task[None]
    stopped: bool = False


class Worker:
    """Runs one agent over one connection."""

    def __init__(self, agent: Agent, bus: Bus, wire: Wire, *, slots: int | None = None) -> None:
        if bus.mac_key is None:
            raise AccessDenied(str(bus.identity), "subscribe to", "tasks", ("agent",))
        self.agent = agent
        self.card = agent.card if slots is None else agent.card.model_copy(update={"slots": slots})
        if bus.identity.name != self.card.name:
            raise AgentError(f"the credentials are for {bus.identity}, the agent is named {self.card.name!r}")
        self.instance = secrets.token_hex(4)
        self._bus = bus
        self._wire = wire
        self._seal = AgentSeal(bus.mac_key)
        self._artefacts = Artefacts(wire, bus.identity)
        publisher = Publisher(wire)
        self._presences = Bucket(wire, publisher, subjects.AGENTS)
        self._speaker = Speaker(bus, publisher, self._artefacts, self._seal, self.instance)
        self._in_hand: dict[tuple[str, str], _InHand] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._pool = ThreadPoolExecutor(self.card.slots, thread_name_prefix=self.card.name)
        self._pull: Pull | None = None
        self._freed = 0
        self._started = time.time()
        self.done = 0

    async def run(
        self,
        stop: asyncio.Event,
        *,
        grace: timedelta = timedelta(seconds=30),
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Work until told to stop. Raises AgentError when the orchestrator refuses the card."""
        consumer = await self._join(stop)
        if consumer is None:
            return
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(self._show_presence()), group.create_task(self._keep_leases())]
            async with listening(self._bus, str(ControlSubject(self.card.name)), self._ordered):
                self._pull = Pull(self._wire, subjects.LOG, consumer, self._arrived, slots=self.card.slots)
                pulling = group.create_task(self._pull.run())
                log.info("agent %s (%s) is ready, %d slots", self.card.name, self.instance, self.card.slots)
                ready()
                await stop.wait()
                self._pull.pause()
                await self._drain(grace)
                pulling.cancel()
            for task in background:
                task.cancel()
        await self._leave()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- joining and leaving

    async def _join(self, stop: asyncio.Event) -> str | None:
        """The consumer to pull from; None when told to stop before anybody answered."""
        subject = str(ApiSubject("announce", self.card.name))
        wrapped = self._seal.signed(subject, encode(Announce(card=self.card, instance=self.instance)))
        pause, told = ANNOUNCE_AGAIN[0], False
        while not stop.is_set():
            try:
                answer = await self._wire.request(
                    subject, wrapped.payload, headers=wrapped.headers, timeout=2.0
                )
                welcome = decode(_welcome, answer.data, MSGPACK)
                if not welcome.accepted:
                    raise AgentError(f"agent {self.card.name!r} is not admitted: {welcome.why}")
            except AccessDenied:
                raise
            except BusError as exc:
                if not told:
                    log.info("agent %s waits for an orchestrator (%s)", self.card.name, exc)
                    told = True
                try:
                    async with asyncio.timeout(pause):
                        await stop.wait()
                except TimeoutError:
                    pause = min(pause * 1.5, ANNOUNCE_AGAIN[1])
            else:
                await self._present()
                return welcome.consumer
        return None

    async def _present(self) -> None:
        presence = Presence(
            instance=self.instance,
            card=self.card,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=self._started,
            busy=len(self._in_hand),
        )
        wrapped = self._seal.signed(str(AgentSubject(self.card.name, self.instance)), encode(presence))
        await self._presences.put(
            wrapped.subject, wrapped.payload, headers=wrapped.headers, ttl=timedelta(seconds=PRESENCE_TTL)
        )

    async def _show_presence(self) -> None:
        while True:
            await asyncio.sleep(PRESENCE_EVERY)
            try:
                await self._present()
            except BusError as exc:
                log.info("agent %s: sign of life not sent: %s", self.card.name, exc)

    async def _leave(self) -> None:
        try:
            await self._presences.delete(
                str(AgentSubject(self.card.name, self.instance)), ttl=timedelta(seconds=1)
            )
        except BusError as exc:
            log.info("agent %s: leaving not announced: %s", self.card.name, exc)

    # --- tasks

    def _arrived(self, delivery: Delivery) -> None:
        work = asyncio.get_running_loop().create_task(self._take(delivery))
        self._opening.add(work)
        work.add_done_callback(self._opening.discard)

    async def _take(self, delivery: Delivery) -> None:
        """Open a delivered task and work on it to its end."""
        key: tuple[str, str] | None = None
        try:
            task = await open_task(
                delivery.subject, delivery.data, delivery.headers, self.card.name, self._seal, self._artefacts
            )
            if (known := self._in_hand.get(task.key)) is not None:
                known.delivery = (
                    delivery  # delivered again while in hand: the newest delivery holds the lease
                )
                return
            key = task.key
            current = asyncio.current_task()
            assert current is not None
            self._in_hand[key] = _InHand(delivery, current)
            await self._work(task)
            self._in_hand[key].delivery.ack()
            self.done += 1
        except (NotATask, DecodeError, NoSuchPath) as exc:
            log.warning("agent %s: a message is set aside: %s", self.card.name, exc)
            delivery.term(str(exc))
        except BusError as exc:
            log.warning("agent %s: a task goes back: %s", self.card.name, exc)
            delivery.nak(1.0)
        except asyncio.CancelledError:
            if key is not None and self._in_hand[key].stopped:
                self._in_hand[key].delivery.ack()  # called off: nobody is to do it
            else:
                delivery.nak()
        finally:
            if key is not None:
                del self._in_hand[key]
            self._free()

    def _free(self) -> None:
        """One task less in hand. More are asked for once as many could be had as have been asked for already."""
        self._freed += 1
        if self._pull is not None and self._freed >= self.card.slots - self._pull.held:
            self._pull.release(self._freed)
            self._freed = 0

    async def _work(self, task: Task) -> None:
        began = time.monotonic()
        skill = self.agent.skills.get(task.granted.skill)
        if skill is None:
            told = f"agent {self.card.name} {self.card.version} has no skill {task.granted.skill}"
            await self._speaker.report(task, Failed(kind="no-skill", message=told), 0.0)
            return
        outcome = await perform(skill, task, self._context(task), self._artefacts, self._pool)
        await self._speaker.report(task, outcome, time.monotonic() - began)

    def _context(self, task: Task) -> Context:
        granted = task.granted
        return Context(
            run=task.run,
            task=granted.task,
            step=granted.path,
            skill=granted.skill,
            attempt=granted.attempt,
            artefacts=ContextArtefacts(self._artefacts, asyncio.get_running_loop()),
            handoff=granted.handoff,
            values=task.values,
            trouble=granted.trouble,
            deadline=granted.deadline,
            log=_logger(task),
            progress_to=self._speaker.progress_of(task),
            milestone_to=self._speaker.milestone_of(task),
            put_to=self._speaker.put_of(task),
        )

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self.card.lease / 3)
            for held in self._in_hand.values():
                held.delivery.in_progress()

    async def _ordered(self, heard: Heard) -> None:
        if not self._seal.genuine_task(heard.subject, heard.data, heard.headers):
            log.warning("agent %s: an order that no orchestrator gave: ignored", self.card.name)
            return
        order = decode(order_message, heard.data, MSGPACK)
        match order:
            case Stop():
                held = self._in_hand.get((order.run, order.task))
                if held is not None:
                    log.info(
                        "agent %s: task %s of run %s is called off", self.card.name, order.task, order.run
                    )
                    held.stopped = True
                    held.work.cancel()
            case Answer():
                self._speaker.answered(order)

    async def _drain(self, grace: timedelta) -> None:
        """Finish what is in hand; what is not done in time goes back to be done elsewhere."""
        if self._opening:
            log.info("agent %s finishes %d tasks", self.card.name, len(self._opening))
            await asyncio.wait(self._opening, timeout=grace.total_seconds())
        left = list(self._opening)
        for work in left:
            work.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _logger(task: Task) -> logging.LoggerAdapter[logging.Logger]:
    granted = task.granted
    about = {"run": task.run, "task": granted.task, "step": granted.path, "skill": granted.skill}
    return logging.LoggerAdapter(_skill_log, about)
