"""Who is there: the live agents, as their signs of life tell.

Presences are read from their bucket; a subscription only hints that something
changed, and the bucket is read again every few seconds and after a reconnect. A
process that was not heard of for `SILENCE` is gone. Load is counted from what this
orchestrator itself gave out: a measure for sharing work, never a limit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from consort_bus import subjects
from consort_bus.buckets import Bucket
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE, OrchestratorSeal
from consort_bus.errors import BusError
from consort_bus.listen import Heard, listening
from consort_bus.subjects import AgentSubject
from consort_orchestrator.core import Candidate
from consort_orchestrator.core.state import Node
from consort_orchestrator.shell.pauses import Pauses
from consort_orchestrator.shell.profiles import Profiles
from consort_shared.card import AgentCard, Presence
from consort_shared.codec import JSON, MSGPACK, decode
from consort_shared.entries import Accepted, Doubted, Fact, Failure, Granted, Heeded
from consort_shared.errors import DecodeError

SILENCE = 10.0
"""Seconds without a sign of life after which a process is taken to be gone."""
REREAD = 5.0

log = logging.getLogger("consort.orchestrator")
_presence: TypeAdapter[Presence] = TypeAdapter(Presence)


@dataclass(slots=True)
class _Seen:
    presence: Presence
    heard: float
    revision: int


class Registry:
    """The live agents and what they offer."""

    def __init__(
        self, bus: Bus, presences: Bucket, seal: OrchestratorSeal, pauses: Pauses, profiles: Profiles
    ) -> None:
        self._bus = bus
        self._pauses = pauses
        self._profiles = profiles
        self._presences = presences
        self._seal = seal
        self._seen: dict[str, dict[str, _Seen]] = defaultdict(dict)
        self._offers: dict[str, list[tuple[str, int]]] = {}
        self._binary: frozenset[str] = frozenset()
        """agents all of whose processes read msgpack"""
        self._load: dict[str, int] = defaultdict(int)
        self._on_new_skills: list[Callable[[], None]] = []

    def on_new_skills(self, callback: Callable[[], None]) -> None:
        """Called when a skill is on offer that was not before."""
        self._on_new_skills.append(callback)

    def tell_news(self) -> None:
        """Have whoever listens look at who waits for what."""
        for callback in self._on_new_skills:
            callback()

    def candidates(self, skill: str) -> list[Candidate]:
        """The live agents that offer a skill and are not paused."""
        offers = self._offers.get(skill, ())
        if self._pauses:
            offers = [(name, slots) for name, slots in offers if name not in self._pauses]
        return [Candidate(name, slots, self._load[name], self._profiles[name]) for name, slots in offers]

    def cards(self) -> list[AgentCard]:
        """The cards of the live agents that are not paused, by name. Of several versions all count.

        Who an agent is by its card is who it is by the profile that counts.
        """
        return [
            self._profiles.shown(card)
            for agent, instances in sorted(self._seen.items())
            if instances and agent not in self._pauses
            for card in {
                seen.presence.card.version: seen.presence.card for seen in instances.values()
            }.values()
        ]

    def reads(self, agent: str) -> str:
        """The content type that every process of an agent reads. JSON where that is not known: all read it."""
        return MSGPACK if agent in self._binary else JSON

    def paused(self, nodes: Iterable[Node]) -> frozenset[str]:
        """Those among the agents of some tasks that are paused."""
        if not self._pauses:
            return frozenset()
        return frozenset(node.agent for node in nodes if node.agent in self._pauses)

    @property
    def skills(self) -> list[str]:
        """The skills that somebody offers who is not paused."""
        return [skill for skill in self._offers if self.candidates(skill)]

    @property
    def agents(self) -> list[str]:
        """The agents of which a process is there."""
        return [agent for agent, seen in self._seen.items() if seen]

    def count(self, facts: Iterable[Fact]) -> None:
        """Keep the load up to date with what was decided."""
        for fact in facts:
            if isinstance(fact, Granted):
                self._load[fact.agent] += 1
            elif (
                isinstance(fact, (Accepted, Failure, Doubted))
                or (isinstance(fact, Heeded) and fact.order == "stop")
            ) and self._load[fact.agent] > 0:
                self._load[fact.agent] -= 1

    def shown(self, agent: str) -> dict[str, tuple[AgentCard, int]]:
        """The cards that an agent's live processes show, each with the revision of its sign of life."""
        return {
            instance: (seen.presence.card, seen.revision)
            for instance, seen in self._seen.get(agent, {}).items()
        }

    async def run(self) -> None:
        """Keep the picture up to date until cancelled."""
        async with listening(self._bus, subjects.AGENTS_FILTER, self._heard):
            while True:
                try:
                    await self.refresh()
                    await self.look_at_pauses()
                except BusError as exc:
                    log.warning("signs of life cannot be read now: %s", exc)
                await asyncio.sleep(REREAD)

    async def look_at_pauses(self) -> tuple[list[str], list[str]]:
        """Read which agents are paused: those, and those that go on since. Raises BusError."""
        before = set(self.skills)
        found = await self._pauses.refresh(self.agents)
        if set(self.skills) - before:
            self.tell_news()
        return found

    async def refresh(self) -> None:
        """Read all presences anew. Raises BusError."""
        now = time.monotonic()
        for value in await self._presences.entries(subjects.AGENTS_FILTER):
            self._take(value.subject, value.data, value.headers, now, value.revision)
        for agent, instances in list(self._seen.items()):
            for instance, seen in list(instances.items()):
                if now - seen.heard > SILENCE:
                    log.info("agent %s: process %s has fallen silent", agent, instance)
                    del instances[instance]
        self._offer()

    async def _heard(self, heard: Heard) -> None:
        self._take(heard.subject, heard.data, heard.headers, time.monotonic())
        self._offer()

    def _take(
        self, subject: str, data: bytes, headers: Mapping[str, str], now: float, revision: int = 0
    ) -> None:
        where = AgentSubject.parse(subject)
        if where is None:
            return
        if headers.get("KV-Operation"):
            self._seen[where.agent].pop(where.instance, None)
            return
        known = self._seen[where.agent].get(where.instance)
        if known is not None and 0 < revision <= known.revision:
            return  # no newer sign of life than the one counted already
        if not self._seal.genuine_from(where.agent, subject, data, headers):
            return
        try:
            presence = decode(_presence, data, headers.get(CONTENT_TYPE))
        except DecodeError as exc:
            log.warning("agent %s: unreadable sign of life: %s", where.agent, exc.why)
            return
        if presence.card.name == where.agent:
            self._seen[where.agent][where.instance] = _Seen(
                presence, now, max(revision, known.revision if known else 0)
            )

    def _offer(self) -> None:
        offers: dict[str, list[tuple[str, int]]] = {}
        for agent, instances in sorted(self._seen.items()):
            slots = sum(seen.presence.card.slots for seen in instances.values())
            for skill in {skill.name for seen in instances.values() for skill in seen.presence.card.skills}:
                offers.setdefault(skill, []).append((agent, slots))
        self._binary = frozenset(
            agent
            for agent, instances in self._seen.items()
            if instances and all(seen.presence.card.encoding == "msgpack" for seen in instances.values())
        )
        new = offers.keys() - self._offers.keys()
        self._offers = offers
        if new:
            self.tell_news()
