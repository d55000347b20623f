"""Exporting again what an orchestrator may not have exported before it died.

Spans wait about a second for their export. When an orchestrator falls silent, one of
those that are left reads what it wrote in its last moments, derives the spans of those
entries anew and exports them. They come out as they were, and stores of traces take
a span that is the same for the same. One that starts looks at the end of the log the
same way: perhaps nobody was there to do it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from consort_bus import subjects
from consort_bus.artefacts import Artefacts
from consort_bus.chain import Chain, entry_of
from consort_bus.errors import BusError
from consort_bus.leading import leader_last
from consort_bus.reading import read
from consort_bus.subjects import EntrySubject
from consort_bus.wire import Wire
from consort_orchestrator.tracing.emitting import Emitting
from consort_shared.entries import Entry
from consort_shared.telemetry.records import SpanRecord
from consort_shared.upcast import TooNew

LAST_MOMENTS = timedelta(seconds=20)
"""How far back: silence is noticed after some seconds, and spans wait a second for their export."""
MOST_RUNS, PAUSE = 2000, 0.005
"""Runs that are looked at for one death, and seconds between two of them."""

log = logging.getLogger("consort.telemetry")


class MakingGood:
    """Exports again the spans of others' last entries."""

    def __init__(self, emitting: Emitting, wire: Wire, artefacts: Artefacts) -> None:
        self._emitting = emitting
        self._wire = wire
        self._artefacts = artefacts

    async def after_death_of(self, writers: Iterable[str]) -> None:
        """Of orchestrators that have fallen silent just now. What cannot be read now is left."""
        gone = set(writers)
        await self._tried(lambda writer: writer in gone)

    async def of_those_before(self, there: Iterable[str]) -> None:
        """Of whoever wrote the end of the log and is not among these instances any more."""
        present = set(there)
        await self._tried(lambda writer: writer.rpartition("-")[2] not in present)

    async def _tried(self, of: Callable[[str], bool]) -> None:
        try:
            number = await self._make_good(of)
        except (BusError, TooNew) as exc:
            log.info("spans of an orchestrator that is gone are not exported again: %s", exc)
            return
        if number:
            log.info("%d spans of an orchestrator that is gone were exported again", number)

    async def _make_good(self, of: Callable[[str], bool]) -> int:
        newest = await leader_last(self._wire, subjects.LOG, subjects.ENTRIES_FILTER)
        if newest is None:
            return 0
        since = newest.time - LAST_MOMENTS
        exported: list[int] = []

        def export(entry: Entry, spans: list[SpanRecord]) -> None:
            if entry.at >= since.timestamp() and of(entry.writer):
                self._emitting.export(spans)
                exported.append(len(spans))

        for run in await self._runs_since(since, of):
            await asyncio.sleep(PAUSE)  # what goes on comes first
            traced = self._emitting.follow_for(run, export)
            chain = Chain(run, self._artefacts)
            async for stored in read(self._wire, subjects.LOG, subjects.run_entries(run)):
                if (logged := await chain.take(stored)) is not None:
                    traced.take(logged.entry)
        return sum(exported)

    async def _runs_since(self, since: datetime, of: Callable[[str], bool]) -> list[str]:
        """The runs that have entries of such writers since then."""
        found: dict[str, None] = {}
        async for stored in read(self._wire, subjects.LOG, subjects.ENTRIES_FILTER, from_time=since):
            where = EntrySubject.parse(stored.subject)
            if where is None or where.run in found:
                continue
            entry = await entry_of(stored, self._artefacts)
            if entry is not None and of(entry.writer):
                found[where.run] = None
            if len(found) >= MOST_RUNS:
                break
        return list(found)
