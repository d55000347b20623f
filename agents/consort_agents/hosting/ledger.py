"""A host's own record of what it does: written before the effect, and again with what it gave.

A record is stored only on top of the one that was read (compare-and-set), so of two processes of a host
one begins a piece of work, and one that was thought dead cannot put down an end over its successor's.
What was stored in doubt is looked up, never guessed. Knows nothing of tools or permissions.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import NamedTuple

from consort_bus import subjects
from consort_bus.buckets import Bucket
from consort_bus.envelope import CONTENT_TYPE
from consort_bus.errors import NoAnswer
from consort_bus.publish import Publisher, WrongLastSequence
from consort_bus.subjects import ToolDoneSubject
from consort_bus.toolbox import believed
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, encode
from consort_shared.tooling import ToolBegan, ToolCount, ToolEnded, ledger_record

COUNT = "count"
"""The id of the record of how often tools were called in a run."""
_TRIES = 5
_STALE = 0.05
"""Seconds to wait for a replica that does not yet show what made a write be refused."""


class Line(NamedTuple):
    """The newest record of a subject; `seq` is 0 where there is none."""

    record: ToolBegan | ToolEnded | ToolCount | None
    seq: int


class Ledger:
    """The ledger of one host. Methods raise BusError."""

    def __init__(self, wire: Wire, publisher: Publisher, host: str) -> None:
        self._bucket = Bucket(wire, publisher, subjects.TOOLS)
        self._host = host

    async def newest(self, run: str, work: str, at_least: int = 0) -> Line:
        """The newest record, waiting for a replica to show what has at least that sequence.

        What is not the host's word shows as no record with a sequence: somebody tampers, and what was
        there before is not known.
        """
        subject = str(ToolDoneSubject(self._host, run, work))
        for attempt in range(_TRIES * 10):
            value = await self._bucket.newest(subject)
            if (0 if value is None else value.revision) >= at_least or attempt == _TRIES * 10 - 1:
                break
            await asyncio.sleep(_STALE)
        if value is None:
            return Line(None, 0)
        record = believed(ledger_record, value.data, value.headers, value.forwarded)
        return Line(record, value.revision)

    async def store(
        self, run: str, work: str, record: ToolBegan | ToolEnded | ToolCount, over: int
    ) -> int | None:
        """Store a record over the one with that sequence; its own, or None where another came first."""
        subject = str(ToolDoneSubject(self._host, run, work))
        body = encode(record)
        for attempt in range(_TRIES):
            try:
                return await self._bucket.put(
                    subject, body, headers={CONTENT_TYPE: MSGPACK}, expected_revision=over
                )
            except WrongLastSequence as exc:
                line = await self.newest(run, work, max(exc.actual or 0, over + 1))
                return line.seq if line.record == record else None
            except NoAnswer:
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(_STALE * 2**attempt)
        raise AssertionError("the last try raises or returns")

    async def reserve(self, run: str, tool: str, limit: int) -> bool:
        """Count one more call of a tool in a run; whether the limit allows it. Exact over all processes."""
        while True:
            line = await self.newest(run, COUNT)
            calls = dict(line.record.calls) if isinstance(line.record, ToolCount) else {}
            tampered = line.seq > 0 and not isinstance(line.record, ToolCount)
            if tampered or calls.get(tool, 0) >= limit:
                return False
            calls[tool] = calls.get(tool, 0) + 1
            if (
                await self.store(run, COUNT, ToolCount(calls=calls, write=secrets.token_hex(8)), line.seq)
                is not None
            ):
                return True
