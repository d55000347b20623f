"""Which tools hosts may serve, which hosts live, and what they have on record of a run.

Only the provisioner approves. What is read is believed if it decodes strictly, names its own subject and was
no answer of the server when it was stored; where the newest is none of that, the newest before it counts, so
that nobody can hide an approval behind a forged message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import TypeVar

from pydantic import TypeAdapter

from consort_bus import subjects
from consort_bus.buckets import Bucket
from consort_bus.envelope import CONTENT_TYPE
from consort_bus.publish import Publisher
from consort_bus.reading import Stored, read
from consort_bus.subjects import ToolboxSubject, ToolDoneSubject, ToolSubject
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, decode, encode
from consort_shared.errors import DecodeError
from consort_shared.tooling import (
    Approved,
    HostAlive,
    ToolCall,
    ToolReply,
    approved_tools,
    host_alive,
    tool_call,
    tool_reply,
)

__all__ = ["ALIVE_TTL", "Toolbox", "believed_call", "believed_reply", "calls_of", "ledger_of", "replies_of"]

ALIVE_TTL = 6
"""Seconds after which a process of a host that shows no sign of life counts as gone."""
T = TypeVar("T")


def believed(
    adapter: TypeAdapter[T], data: bytes, headers: Mapping[str, str] | None, forwarded: bool
) -> T | None:
    """A message, unless it is unreadable or was led here from elsewhere."""
    if forwarded:
        return None
    try:
        return decode(adapter, data, (headers or {}).get(CONTENT_TYPE))
    except DecodeError:
        return None


def believed_call(subject: str, data: bytes, headers: Mapping[str, str], forwarded: bool) -> ToolCall | None:
    """A call that says of itself what its subject says."""
    call, where = believed(tool_call, data, headers, forwarded), ToolSubject.parse(subject)
    if call is None or where != ToolSubject("call", call.host, call.agent, call.run, call.id):
        return None
    return call


def believed_reply(
    subject: str, data: bytes, headers: Mapping[str, str], forwarded: bool
) -> ToolReply | None:
    """An answer that says of itself what its subject says."""
    reply, where = believed(tool_reply, data, headers, forwarded), ToolSubject.parse(subject)
    if reply is None or where != ToolSubject("answer", reply.host, reply.agent, reply.run, reply.id):
        return None
    return reply


class Toolbox:
    """The bucket of shared tools. Methods raise what `Bucket` raises."""

    def __init__(self, wire: Wire, publisher: Publisher) -> None:
        self._wire = wire
        self._bucket = Bucket(wire, publisher, subjects.TOOLBOX)

    async def approved(self, host: str) -> tuple[Approved | None, int]:
        """What a host may serve, and the revision of the key that `approve` expects."""
        key = str(ToolboxSubject(host))
        newest = await self._bucket.newest(key)
        if newest is None:
            return None, 0
        document = _approved(newest.subject, newest.data, newest.headers, newest.forwarded)
        if document is None and not newest.deleted:
            async for stored in read(self._wire, subjects.TOOLBOX, key):
                document = _approved_of(stored) or document
        return document, newest.revision

    async def all_approved(self) -> list[Approved]:
        """Of every host, by name."""
        hosts = {
            where.host
            for value in await self._bucket.entries(subjects.TOOLBOX_FILTER)
            if (where := ToolboxSubject.parse(value.subject)) is not None and where.instance is None
        }
        found = [(await self.approved(host))[0] for host in sorted(hosts)]
        return [document for document in found if document is not None]

    async def approve(self, document: Approved, revision: int) -> int:
        """Put down what a host may serve. Raises WrongLastSequence when somebody else has meanwhile."""
        return await self._bucket.put(
            str(ToolboxSubject(document.host)),
            encode(document),
            headers={CONTENT_TYPE: MSGPACK},
            expected_revision=revision,
        )

    async def alive(self) -> list[HostAlive]:
        """The processes of hosts that show signs of life."""
        found = []
        for value in await self._bucket.entries(subjects.TOOLBOX_FILTER):
            where = ToolboxSubject.parse(value.subject)
            alive = believed(host_alive, value.data, value.headers, value.forwarded)
            if (
                where is not None
                and alive is not None
                and where == ToolboxSubject(alive.host, alive.instance)
            ):
                found.append(alive)
        return sorted(found, key=lambda alive: (alive.host, alive.started))

    async def lives(self, host: str, instance: str) -> bool:
        """Whether a process of a host shows signs of life; perhaps a moment old."""
        return await self._bucket.get(str(ToolboxSubject(host, instance))) is not None

    async def shown_at(self, host: str, instance: str) -> float | None:
        """When a sign of life was stored, seconds since 1970 by the bus's clock; None where there is none."""
        value = await self._bucket.get(str(ToolboxSubject(host, instance)))
        return None if value is None else value.time.timestamp()

    async def show(self, alive: HostAlive) -> None:
        """Put down a sign of life."""
        await self._bucket.put(
            str(ToolboxSubject(alive.host, alive.instance)),
            encode(alive),
            headers={CONTENT_TYPE: MSGPACK},
            ttl=timedelta(seconds=ALIVE_TTL),
        )

    async def leave(self, host: str, instance: str) -> None:
        """Take the sign of life away.

        The mark stays longer than what it takes away: the bucket keeps older values, and one would count again.
        """
        await self._bucket.delete(str(ToolboxSubject(host, instance)), ttl=timedelta(seconds=ALIVE_TTL + 1))


def _approved_of(stored: Stored) -> Approved | None:
    return _approved(stored.subject, stored.data, stored.headers, stored.forwarded)


def _approved(subject: str, data: bytes, headers: Mapping[str, str], forwarded: bool) -> Approved | None:
    document, where = believed(approved_tools, data, headers, forwarded), ToolboxSubject.parse(subject)
    if document is None or where != ToolboxSubject(document.host):
        return None
    return document


async def calls_of(wire: Wire, run: str) -> AsyncIterator[ToolCall]:
    """The calls of a run, each time it was asked for."""
    async for stored in read(wire, subjects.TOOLS, subjects.tool_calls_of_run(run)):
        call = believed_call(stored.subject, stored.data, stored.headers, stored.forwarded)
        if call is not None:
            yield call


async def replies_of(wire: Wire, run: str) -> AsyncIterator[ToolReply]:
    """The answers to calls of a run."""
    async for stored in read(wire, subjects.TOOLS, subjects.tool_answers_of_run(run)):
        reply = believed_reply(stored.subject, stored.data, stored.headers, stored.forwarded)
        if reply is not None:
            yield reply


async def ledger_of(wire: Wire, run: str) -> AsyncIterator[tuple[ToolDoneSubject, Stored]]:
    """What hosts have on record of a run, oldest first, as it is stored."""
    async for stored in read(wire, subjects.TOOLS, subjects.tools_of_run(run)):
        where = ToolDoneSubject.parse(stored.subject)
        if where is not None and not stored.forwarded:
            yield where, stored
