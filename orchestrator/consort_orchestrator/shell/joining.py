"""How an agent joins, and how runs that waited for it are woken.

An agent announces its card; the orchestrator checks it, creates the agent's
consumer of the log, or confirms it, and answers. Agents never create consumers.
Whoever notices that a skill is on offer again wakes the runs that are on the
waiting list for it; the list is a projection of the log, read again every few
seconds, so a wake-up that is lost is made good.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from pydantic import TypeAdapter

from consort_bus import subjects
from consort_bus.connection import Bus
from consort_bus.envelope import OrchestratorSeal
from consort_bus.errors import BusError
from consort_bus.listen import Heard, listening
from consort_bus.publish import Publisher
from consort_bus.reading import last_of
from consort_bus.subjects import ApiSubject, TimerSubject, WaitingSubject
from consort_bus.topology import agent_consumer, create_consumer
from consort_bus.wire import Wire
from consort_orchestrator.shell.registry import REREAD, Registry
from consort_shared.card import Announce, Welcome
from consort_shared.codec import MSGPACK, decode, encode
from consort_shared.errors import DecodeError

log = logging.getLogger("consort.orchestrator")
_announce: TypeAdapter[Announce] = TypeAdapter(Announce)
QUEUE = "orchestrators"
IN_HAND_AT_MOST = 10_000
"""Tasks that all processes of one agent may hold unacknowledged."""


class Joining:
    """Welcomes agents and wakes the runs that waited for them."""

    def __init__(
        self, bus: Bus, wire: Wire, publisher: Publisher, seal: OrchestratorSeal, registry: Registry
    ) -> None:
        self._bus = bus
        self._wire = wire
        self._publisher = publisher
        self._seal = seal
        self._registry = registry
        self._news = asyncio.Event()
        registry.on_new_skills(self._news.set)

    async def run(self) -> None:
        """Answer announcements and wake runs until cancelled."""
        async with listening(self._bus, subjects.API_FILTER, self._asked, queue=QUEUE):
            while True:
                try:
                    await self.wake_waiting()
                except BusError as exc:
                    log.warning("the waiting list cannot be read now: %s", exc)
                try:
                    async with asyncio.timeout(REREAD):
                        await self._news.wait()
                except TimeoutError:
                    pass
                self._news.clear()

    async def wake_waiting(self) -> None:
        """Wake every run that waits for a skill that is on offer. Raises BusError."""
        skills = self._registry.skills
        if not skills:
            return
        filters = [subjects.waiting_for(skill) for skill in skills]
        for stored in await last_of(self._wire, subjects.WAITING, filters):
            where = WaitingSubject.parse(stored.subject)
            if where is not None and "KV-Operation" not in stored.headers:
                await self._publisher.publish(str(TimerSubject("fire", where.run)), b"")

    async def _asked(self, heard: Heard) -> None:
        where = ApiSubject.parse(heard.subject)
        if where is None or where.verb != "announce" or not heard.reply:
            return
        if not heard.reply.startswith(subjects.inbox_prefix("agent", where.who) + "."):
            log.warning("%s wants its answer sent to %s: ignored", where.who, heard.reply)
            return
        if not self._seal.genuine_from(where.who, heard.subject, heard.data, heard.headers):
            log.warning("an announcement in the name of %s is not %s's: ignored", where.who, where.who)
            return
        try:
            welcome = await self._welcome(where.who, heard.data)
        except DecodeError as exc:
            welcome = Welcome(accepted=False, why=f"the card cannot be read: {exc.why}")
        except BusError as exc:
            log.warning("agent %s cannot join now: %s", where.who, exc)
            return
        await self._bus.publish(heard.reply, encode(welcome))

    async def _welcome(self, agent: str, data: bytes) -> Welcome:
        announce = decode(_announce, data, MSGPACK)
        if announce.card.name != agent:
            return Welcome(
                accepted=False, why=f"the card names {announce.card.name!r}, the credentials {agent!r}"
            )
        plan = agent_consumer(agent, timedelta(seconds=announce.card.lease), IN_HAND_AT_MOST)
        await create_consumer(self._bus, plan)
        log.info("agent %s joins: %s", agent, ", ".join(skill.name for skill in announce.card.skills))
        return Welcome(accepted=True, consumer=plan.name)
