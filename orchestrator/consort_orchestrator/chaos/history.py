"""The log as the checker reads it: every stored entry of every run, forks and forgeries too.

A run's history for a user follows the hash chain and passes over what does not
continue it. A checker must see exactly that, so here nothing is passed over.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from consort_bus import subjects
from consort_bus.artefacts import Artefacts
from consort_bus.chain import entry_of
from consort_bus.envelope import OrchestratorSeal, body_of
from consort_bus.errors import BusError
from consort_bus.leading import read_whole
from consort_bus.reading import Stored
from consort_bus.subjects import EntrySubject
from consort_bus.wire import Wire
from consort_shared.entries import Doubted, EffectBegun, Entry, Finished, Reopened, body_digest
from consort_shared.errors import DecodeError

LOOK_EVERY = 0.05
AWAY = 0.3
READ_TRIES = 50


@dataclass(frozen=True, slots=True)
class Record:
    """A stored entry; `at` is when the server stored it, in seconds since 1970.

    `entry` is None for what cannot be read. `genuine` tells whether an orchestrator wrote it.
    """

    seq: int
    at: float
    digest: str
    genuine: bool
    entry: Entry | None


History = dict[str, list[Record]]
"""The records of each run in the order in which they are stored."""


class LogReader:
    """Reads entries of all runs, with the key that proves who wrote them."""

    def __init__(self, wire: Wire, artefacts: Artefacts, seal: OrchestratorSeal) -> None:
        self._wire = wire
        self._artefacts = artefacts
        self._seal = seal

    async def records(self, from_seq: int) -> AsyncIterator[tuple[str, Record]]:
        """Every entry from a sequence on, with its run. Raises BusError."""
        async for stored in read_whole(self._wire, subjects.LOG, subjects.ENTRIES_FILTER, from_seq):
            where = EntrySubject.parse(stored.subject)
            if where is not None:
                yield where.run, await self._record(stored)

    async def whole(self, from_seq: int) -> History:
        """All of it, read anew. Raises BusError when the bus stays away."""
        for tried in range(READ_TRIES):
            found: History = defaultdict(list)
            try:
                async for run, record in self.records(from_seq):
                    found[run].append(record)
            except BusError:
                if tried + 1 == READ_TRIES:
                    raise
                await asyncio.sleep(AWAY)
            else:
                return found
        raise AssertionError("unreachable")

    async def _record(self, stored: Stored) -> Record:
        genuine = not stored.forwarded and self._seal.genuine_entry(
            stored.subject, stored.data, stored.headers
        )
        try:
            digest = body_digest(await body_of(stored.data, stored.headers, self._artefacts))
            entry = await entry_of(stored, self._artefacts)
        except DecodeError:
            digest, entry = "", None
        return Record(stored.seq, stored.time.timestamp(), digest, genuine, entry)


@dataclass(frozen=True, slots=True)
class Doubt:
    """An effect of which nobody knows whether it happened; `instance` is the process that began it."""

    run: str
    path: str
    key: str
    task: str
    instance: str


class Follower:
    """Follows the log while it grows, so that others can wait for facts."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self.history: History = defaultdict(list)
        self.next_seq = 1
        self.ended: dict[str, str] = {}
        """the state in which a run ended"""
        self.doubts: asyncio.Queue[Doubt] = asyncio.Queue()
        self._begun: dict[tuple[str, str, str], str] = {}
        self._news = asyncio.Event()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Follower]:
        task = asyncio.create_task(self._follow())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, holds: Callable[[], bool], limit: float) -> bool:
        """Wait for something that entries tell; whether it came within `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                while not holds():
                    await self._news.wait()
        except TimeoutError:
            return holds()
        return True

    async def _follow(self) -> None:
        while True:
            pause = LOOK_EVERY
            news = False
            try:
                async for run, record in self._reader.records(self.next_seq):
                    self.history[run].append(record)
                    self.next_seq = record.seq + 1
                    self._take(run, record)
                    news = True
            except BusError:
                pause = AWAY
            if news:
                self._news.set()
                self._news = asyncio.Event()
            await asyncio.sleep(pause)

    def _take(self, run: str, record: Record) -> None:
        for fact in record.entry.facts if record.entry is not None else ():
            match fact:
                case Finished():
                    self.ended[run] = fact.state
                case Reopened():
                    self.ended.pop(run, None)
                case EffectBegun():
                    self._begun[run, fact.path, fact.key] = fact.instance
                case Doubted():
                    instance = self._begun.get((run, fact.path, fact.key), "")
                    self.doubts.put_nowait(Doubt(run, fact.path, fact.key, fact.task, instance))
                case _:
                    pass
