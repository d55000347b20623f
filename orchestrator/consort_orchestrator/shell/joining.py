"""How an agent joins, whether a task is still wanted, and how runs that waited are woken.

An agent announces its card; the orchestrator checks it, creates the agent's
consumer of the log, or confirms it, and answers. Agents never create consumers.
Processes under one name show one card; another card comes with another version, or
under another name. Whoever notices that a skill is on offer again wakes the runs that
are on the waiting list for it; the list is a projection of the log, read again every
few seconds, so a wake-up that is lost is made good.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from datetime import timedelta

from pydantic import BaseModel, TypeAdapter

from consort_bus import subjects
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE, OrchestratorSeal
from consort_bus.errors import BusError
from consort_bus.listen import Heard, listening
from consort_bus.publish import Publisher
from consort_bus.reading import last_of
from consort_bus.subjects import ApiSubject, TimerSubject, WaitingSubject
from consort_bus.topology import agent_consumer, create_consumer
from consort_bus.wire import Wire
from consort_orchestrator.core.state import IllegalMove, node_of_task
from consort_orchestrator.shell.history import History, UnknownKind
from consort_orchestrator.shell.pauses import Pauses
from consort_orchestrator.shell.profiles import Profiles
from consort_orchestrator.shell.registry import REREAD, Registry
from consort_shared.card import AgentCard, Announce, AskWanted, Wanted, Welcome
from consort_shared.codec import JSON, MSGPACK, decode, pack_as, plain
from consort_shared.errors import DecodeError
from consort_shared.failpoints import failpoint

log = logging.getLogger("consort.orchestrator")
_announce: TypeAdapter[Announce] = TypeAdapter(Announce)
_ask_wanted: TypeAdapter[AskWanted] = TypeAdapter(AskWanted)
QUEUE = "orchestrators"
ANNOUNCE, WANTED, CONTROL = "announce", "wanted", "control"
WAKE_AGAIN = 30.0
"""Seconds after which a run that still waits for a skill on offer is woken once more."""
IN_HAND_AT_MOST = 10_000
"""Tasks that all processes of one agent may hold unacknowledged."""


class Joining:
    """Answers agents and operators, and wakes the runs that waited for an agent."""

    def __init__(
        self,
        name: str,
        bus: Bus,
        wire: Wire,
        publisher: Publisher,
        seal: OrchestratorSeal,
        registry: Registry,
        pauses: Pauses,
        profiles: Profiles,
        history: History,
        now: Callable[[], float],
    ) -> None:
        self._name = name
        self._bus = bus
        self._wire = wire
        self._publisher = publisher
        self._seal = seal
        self._registry = registry
        self._pauses = pauses
        self._profiles = profiles
        self._history = history
        self._now = now
        self._disputed: dict[str, dict[str, int]] = {}
        """by the instance that announces another card: the processes that show the present one, and since when"""
        self._woken: dict[str, float] = {}
        """by place on the waiting list: when the run was woken; what is stored is not lost"""
        self._news = asyncio.Event()
        registry.on_new_skills(self._news.set)

    async def run(self) -> None:
        """Answer announcements and wake runs until cancelled."""
        async with (
            listening(self._bus, subjects.api_requests(ANNOUNCE), self._asked, queue=QUEUE),
            listening(self._bus, subjects.api_requests(WANTED), self._asked, queue=QUEUE),
            listening(self._bus, subjects.api_requests(CONTROL), self._ordered),
        ):
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
                else:
                    self._woken.clear()
                self._news.clear()

    async def wake_waiting(self) -> None:
        """Wake every run that waits for a skill that is on offer. Raises BusError."""
        skills = self._registry.skills
        if not skills:
            return
        now, receipts = time.monotonic(), []
        self._woken = {key: since for key, since in self._woken.items() if now - since < WAKE_AGAIN}
        for stored in await last_of(self._wire, subjects.WAITING, list(map(subjects.waiting_for, skills))):
            where = WaitingSubject.parse(stored.subject)
            if where is None or "KV-Operation" in stored.headers or stored.subject in self._woken:
                continue
            receipts.append(await self._publisher.publish_nowait(str(TimerSubject("fire", where.run)), b""))
            self._woken[stored.subject] = now
        for receipt in receipts:
            await receipt
            failpoint("run-woken")

    # --- agents ask one orchestrator

    async def _asked(self, heard: Heard) -> None:
        where = ApiSubject.parse(heard.subject)
        if where is None or where.verb not in (ANNOUNCE, WANTED) or not heard.reply:
            return
        if not heard.reply.startswith(subjects.inbox_prefix("agent", where.who) + "."):
            log.warning("%s wants its answer sent to %s: ignored", where.who, heard.reply)
            return
        if not self._seal.genuine_from(where.who, heard.subject, heard.data, heard.headers):
            log.warning("a request in the name of %s is not %s's: ignored", where.who, where.who)
            return
        answer: BaseModel | None
        content_type = heard.headers.get(CONTENT_TYPE)
        try:
            if where.verb == WANTED:
                answer = await self._wanted(heard.data, content_type)
            else:
                answer = await self._welcome(where.who, heard.data, content_type)
        except DecodeError as exc:
            answer = Welcome(accepted=False, why=f"the card cannot be read: {exc.why}")
        except BusError as exc:
            log.warning("agent %s cannot be answered now: %s", where.who, exc)
            return
        if answer is not None:
            # Who asks in msgpack is answered in it, everybody else in JSON.
            content_type = MSGPACK if content_type == MSGPACK else JSON
            body = pack_as(content_type, plain(answer))
            await self._bus.publish(heard.reply, body, headers={CONTENT_TYPE: content_type})

    async def _wanted(self, data: bytes, content_type: str | None) -> Wanted | None:
        """Whether a task is still to be done. One that is not known here may be newer than what was read."""
        asked = decode(_ask_wanted, data, content_type)
        try:
            run = (await self._history.load(asked.run)).run
        except (UnknownKind, IllegalMove, ValueError) as exc:  # whoever owns the run reports that
            log.info("run %s cannot be looked at: %s", asked.run, exc)
            return None
        if asked.task in run.tasks and node_of_task(run, asked.task) is None:
            return Wanted(wanted="no")
        return Wanted(wanted="later" if run.paused is not None else "yes")

    async def _welcome(self, agent: str, data: bytes, content_type: str | None) -> Welcome | None:
        announce = decode(_announce, data, content_type)
        if announce.card.name != agent:
            return Welcome(
                accepted=False, why=f"the card names {announce.card.name!r}, the credentials {agent!r}"
            )
        disputed = self._dispute(announce)
        if disputed is not None:
            return Welcome(accepted=False, why=disputed) if disputed else None
        plan = agent_consumer(agent, timedelta(seconds=announce.card.lease), IN_HAND_AT_MOST)
        await create_consumer(self._bus, plan)
        self._pauses.joined(agent)
        if self._pauses:
            await self._registry.look_at_pauses()
        failpoint("consumer-created")
        log.info("agent %s joins: %s", agent, ", ".join(skill.name for skill in announce.card.skills))
        return Welcome(accepted=True, consumer=plan.name, now=self._now())

    def _dispute(self, announce: Announce) -> str | None:
        """Why a card is refused; empty while that is open, None when it is not refused.

        A process that died without a word seems to be there for a while. So a card that differs from that
        of another process counts as refused only when that one has shown a new sign of life since.
        """
        card = announce.card
        others = {
            instance: revision
            for instance, (shown, revision) in self._registry.shown(card.name).items()
            if shown.version == card.version and differences(shown, card)
        }
        if not others:
            self._disputed.pop(announce.instance, None)
            return None
        before = self._disputed.setdefault(announce.instance, others)
        if len(self._disputed) > IN_HAND_AT_MOST:
            self._disputed.pop(next(iter(self._disputed)))
        if not any(revision > before.get(instance, revision) for instance, revision in others.items()):
            return ""
        shown = next(self._registry.shown(card.name)[instance][0] for instance in others)
        return (
            f"a process of {card.name!r} is at work already with another card under the same version "
            f"{card.version!r}: {'; '.join(differences(shown, card))}; give the new one another version, or "
            "another name, or stop the old one first"
        )

    # --- operators order all orchestrators

    async def _ordered(self, heard: Heard) -> None:
        where = ApiSubject.parse(heard.subject)
        if where is None or where.verb != CONTROL or not heard.reply:
            return
        if not heard.reply.startswith(subjects.inbox_prefix("operator", where.who) + "."):
            return
        try:
            await self._profiles.refresh()
            paused, resumed = await self._registry.look_at_pauses()
        except BusError as exc:
            log.warning("which agents are paused, or their profiles, cannot be read now: %s", exc)
            return
        answer = {"orchestrator": self._name, "paused": paused, "resumed": resumed}
        await self._bus.publish(heard.reply, json.dumps(answer).encode())


def differences(one: AgentCard, other: AgentCard) -> list[str]:
    """What tells two cards of one version apart, in words; slots, lease and descriptions may differ."""
    told = []
    offered, offers = ({skill.name: skill for skill in card.skills} for card in (one, other))
    if missing := sorted(offered.keys() ^ offers.keys()):
        told.append(f"only one of them offers {', '.join(missing)}")
    for name in sorted(offered.keys() & offers.keys()):
        if offered[name].input_schema != offers[name].input_schema:
            told.append(f"{name} takes other inputs")
        if offered[name].output_schema != offers[name].output_schema:
            told.append(f"{name} gives another result")
    return told
