"""Clearing away what nobody will miss: what a crash left behind, and what outlived its run.

One orchestrator at a time does it, the one that the first part of the inbox is given
to; two at once would do no harm. Streams age by themselves; this is about what does
not: places on the waiting list of runs that have ended, context of runs whose log is
gone, consumers of agents that nobody has seen for long.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

from consort_bus import jetstream, subjects
from consort_bus.clock import ServerClock
from consort_bus.connection import Bus
from consort_bus.errors import BusError
from consort_bus.publish import Publisher
from consort_bus.pull import Pull
from consort_bus.reading import last_of
from consort_bus.subjects import ContextSubject, WaitingSubject
from consort_bus.wire import Wire
from consort_orchestrator.shell.history import History
from consort_orchestrator.shell.registry import Registry

FIRST, EVERY = 60.0, 600.0
"""Seconds before it begins, and between rounds."""
ABANDONED = timedelta(days=7)
"""An agent's consumer that nobody has pulled from for so long is removed, if nothing waits there."""

log = logging.getLogger("consort.orchestrator")


class Janitor:
    """Removes what is left over."""

    def __init__(
        self,
        bus: Bus,
        wire: Wire,
        publisher: Publisher,
        history: History,
        registry: Registry,
        clock: ServerClock,
        abandoned: timedelta = ABANDONED,
    ) -> None:
        self._bus = bus
        self._wire = wire
        self._publisher = publisher
        self._history = history
        self._registry = registry
        self._clock = clock
        self._abandoned = abandoned

    async def run(self, turn: Pull) -> None:
        """Clear away until cancelled, while `turn` is given to this orchestrator."""
        await asyncio.sleep(FIRST)
        while True:
            if turn.pinned:
                try:
                    await self.round()
                except BusError as exc:
                    log.info("clearing away is put off: %s", exc)
            await asyncio.sleep(EVERY)

    async def round(self) -> int:
        """One round; how many things were removed. Raises BusError."""
        removed = await self._waiting() + await self._contexts() + await self._consumers()
        if removed:
            log.info("cleared away %d things that were left over", removed)
        return removed

    async def _waiting(self) -> int:
        """Places on the waiting list of runs that have ended or are gone."""
        removed = 0
        for stored in await last_of(self._wire, subjects.WAITING, [subjects.WAITING_FILTER]):
            where = WaitingSubject.parse(stored.subject)
            if where is None or not await self._over(where.run):
                continue
            await self._purge(subjects.WAITING, stored.subject)
            removed += 1
        return removed

    async def _over(self, run: str) -> bool:
        return await self._history.has_ended(run) or not await self._history.exists(run)

    async def _contexts(self) -> int:
        """Context of runs whose log has aged out."""
        removed, known = 0, dict[str, bool]()
        async for subject in self._subjects(subjects.CONTEXT, subjects.CONTEXT_FILTER):
            where = ContextSubject.parse(subject)
            if where is None:
                continue
            if where.run not in known:
                known[where.run] = await self._history.exists(where.run)
                if not known[where.run]:
                    await self._purge(subjects.CONTEXT, subjects.run_context(where.run))
                    removed += 1
        return removed

    async def _consumers(self) -> int:
        """Consumers of agents that were not there for long, with nothing waiting in them."""
        removed, there = 0, set(self._registry.agents)
        async for info in self._listed():
            agent = subjects.agent_of_consumer(str(info.get("name", "")))
            if agent is None or agent in there or not self._idle(info):
                continue
            await self._ask(jetstream.consumer_delete(subjects.LOG, str(info["name"])))
            log.info("the consumer of agent %s, abandoned since %s, is removed", agent, self._active(info))
            removed += 1
        return removed

    def _idle(self, info: dict[str, Any]) -> bool:
        if info.get("num_pending") or info.get("num_ack_pending") or info.get("num_waiting"):
            return False
        return self._clock.now() - self._active(info).timestamp() > self._abandoned.total_seconds()

    @staticmethod
    def _active(info: dict[str, Any]) -> datetime:
        """When it was last used, or made."""
        used = (info.get("delivered") or {}).get("last_active") or info["created"]
        return datetime.fromisoformat(used)

    async def _listed(self) -> AsyncIterator[dict[str, Any]]:
        offset = 0
        while True:
            answer = await self._ask(jetstream.consumer_list(subjects.LOG), {"offset": offset})
            found = answer.get("consumers") or []
            for info in found:
                yield info
            offset += len(found)
            if not found or offset >= answer.get("total", 0):
                return

    async def _subjects(self, stream: str, only: str) -> AsyncIterator[str]:
        offset = 0
        while True:
            body = {"subjects_filter": only, "offset": offset}
            answer = await self._ask(jetstream.stream_info(stream), body)
            found = answer.get("state", {}).get("subjects") or {}
            for subject in found:
                yield subject
            offset += len(found)
            if not found or offset >= answer.get("total", 0):
                return

    async def _purge(self, stream: str, only: str) -> None:
        await self._ask(jetstream.stream_purge(stream), {"filter": only})

    async def _ask(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = json.dumps(body).encode() if body is not None else b""
        answer: dict[str, Any] = json.loads((await self._wire.request(subject, data, timeout=5.0)).data)
        return answer
