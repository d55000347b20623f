"""Which revision of its profile each agent works under, as operators have set them.

The bucket is read again every few seconds, and at once when a message hints at news
or an operator gives the word. A task is granted under the revision known at that
moment, and its entry says so: what is set later counts from the next task on.
"""

from __future__ import annotations

import asyncio
import logging

from consort_bus import subjects
from consort_bus.connection import Bus
from consort_bus.errors import BusError
from consort_bus.listen import Heard, listening
from consort_bus.profiles import Kept, newest_of, standing
from consort_bus.subjects import ProfileSubject
from consort_bus.wire import Wire
from consort_shared.card import AgentCard, ProfileCard

REREAD = 5.0
"""Seconds after which the bucket is read again without any hint."""

LOOKS = (0.0, 0.05, 0.25, 1.0)
"""Seconds to wait before each look after a hint: it comes before the value is stored everywhere."""

log = logging.getLogger("consort.orchestrator")


class Profiles:
    """The profiles on the bus."""

    def __init__(self, bus: Bus, wire: Wire) -> None:
        self._bus = bus
        self._wire = wire
        self._known: dict[str, Kept] = {}

    def __getitem__(self, agent: str) -> int:
        """The revision that counts now; 0 for the profile that the agent brings itself."""
        kept = self._known.get(agent)
        return 0 if kept is None else kept.counts_as

    def shown(self, card: AgentCard) -> AgentCard:
        """A card with role and goal of the profile that counts now."""
        kept = self._known.get(card.name)
        profile = kept.version.profile if kept is not None else None
        if kept is None or profile is None:
            return card
        version = str(kept.revision)
        who = ProfileCard(role=profile.role, goal=profile.goal, version=version)
        return card.model_copy(update={"profile": who})

    async def run(self) -> None:
        """Keep the picture up to date until cancelled."""
        async with listening(self._bus, subjects.PROFILES_FILTER, self._heard):
            while True:
                try:
                    await self.refresh()
                except BusError as exc:
                    log.warning("profiles cannot be read now: %s", exc)
                await asyncio.sleep(REREAD)

    async def refresh(self) -> None:
        """Read all profiles anew. Raises BusError."""
        for agent, kept in (await standing(self._wire)).items():
            self._take(agent, kept)

    async def _heard(self, heard: Heard) -> None:
        """What came by may have been refused: what is stored counts."""
        where = ProfileSubject.parse(heard.subject)
        if where is None:
            return
        for pause in LOOKS:
            await asyncio.sleep(pause)
            try:
                kept = await newest_of(self._wire, where.agent)
            except BusError as exc:
                log.info("the profile of %s cannot be read now: %s", where.agent, exc)
                return
            if kept is not None and self._take(where.agent, kept):
                return

    def _take(self, agent: str, kept: Kept) -> bool:
        """Whether it is news. A replica that is behind takes nothing back."""
        known = self._known.get(agent)
        if known is not None and known.revision >= kept.revision:
            return False
        self._known[agent] = kept
        told = f"revision {kept.revision}" if kept.counts_as else "its own again"
        log.info("profile of agent %s: %s, set by %s", agent, told, kept.version.by or "nobody named")
        return True
