"""Keys and values in a bucket, with the least rights that do.

A bucket is a stream with a subject per key. Values are read by direct get and
written by publishing, so nobody needs to create consumers or to ask about the
stream. Keys are subjects made by `subjects`, and what is below a prefix is a
wildcard from there. Nothing is watched here: a watch may fall silent without a
word, so readers look again.

An expected revision is a fence on one key: 0 says that it must not be there.
Whoever got no answer reads the key before writing it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from consort_bus.leading import last_of_whole, read_whole
from consort_bus.publish import Publisher
from consort_bus.reading import Stored, last, last_of
from consort_bus.wire import Wire

__all__ = ["Bucket", "Value"]

_OPERATION, _MARKER, _TTL = "KV-Operation", "Nats-Marker-Reason", "Nats-TTL"
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"


class Value(NamedTuple):
    """One revision of a key, or the mark that the key was deleted. `subject` is the whole key."""

    revision: int
    subject: str
    data: bytes
    headers: dict[str, str]
    time: datetime
    """When the server stored it, UTC, cut to microseconds."""
    deleted: bool
    forwarded: bool
    """Whether it was an answer of the server when it was stored: nobody's word for anything."""

    @property
    def took_leave(self) -> bool:
        """Whether somebody deleted it; otherwise it ran out, where it is deleted."""
        return _OPERATION in self.headers

    @property
    def key(self) -> str:
        """What follows the bucket in the subject."""
        return self.subject.split(".", 2)[2]


class Bucket:
    """One bucket, named by its stream.

    The methods raise what `reading` and `publish` raise: NoAnswer, ReadRefused, AccessDenied, and
    those that write StorageFull, TooLarge, PublishRefused and WrongLastSequence too.
    """

    def __init__(self, wire: Wire, publisher: Publisher, stream: str) -> None:
        self._wire = wire
        self._publisher = publisher
        self._stream = stream

    async def get(self, key: str) -> Value | None:
        """The value now, perhaps a moment old; None if there is none or it was deleted."""
        value = await self.newest(key)
        return None if value is None or value.deleted else value

    async def newest(self, key: str) -> Value | None:
        """The newest revision, also one that says that the key was deleted; perhaps a moment old."""
        stored = await last(self._wire, self._stream, key)
        return None if stored is None else _value(stored)

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        ttl: timedelta | None = None,
        expected_revision: int | None = None,
        timeout: float = 2.0,
    ) -> int:
        """Stores a value and gives its revision. It goes away after `ttl`, whole seconds.

        Raises WrongLastSequence when the key is not at the expected revision.
        """
        all_headers = dict(headers or {})
        if ttl is not None:
            all_headers[_TTL] = f"{_whole_seconds(ttl)}s"
        if expected_revision is not None:
            all_headers[_EXPECTED] = str(expected_revision)
        return await self._publisher.publish(key, data, all_headers, timeout=timeout)

    async def delete(
        self, key: str, *, ttl: timedelta | None = None, expected_revision: int | None = None
    ) -> int:
        """Marks a key as deleted; the mark goes away after `ttl`, in a bucket that allows that."""
        mark = {_OPERATION: "DEL"}
        return await self.put(key, b"", headers=mark, ttl=ttl, expected_revision=expected_revision)

    async def entries(self, prefix: str) -> list[Value]:
        """The values below a wildcard, by revision, without the deleted; perhaps a moment old."""
        return _present(await last_of(self._wire, self._stream, [prefix]))

    async def marks(self, prefix: str) -> list[Value]:
        """As `entries`, with the marks of what was deleted, as long as they last."""
        return [_value(stored) for stored in await last_of(self._wire, self._stream, [prefix])]

    async def entries_whole(self, prefix: str) -> list[Value]:
        """As `entries`, no older than the leader's; takes the right to ask it."""
        return _present(await last_of_whole(self._wire, self._stream, prefix))

    async def history(self, key: str) -> list[Value]:
        """The revisions of a key that the bucket still holds, oldest first, deletions included; asks the leader too."""
        return [_value(stored) async for stored in read_whole(self._wire, self._stream, key)]


def _present(found: list[Stored]) -> list[Value]:
    return [value for value in map(_value, found) if not value.deleted]


def _value(stored: Stored) -> Value:
    headers = stored.headers
    deleted = _OPERATION in headers or _MARKER in headers
    return Value(stored.seq, stored.subject, stored.data, headers, stored.time, deleted, stored.forwarded)


def _whole_seconds(ttl: timedelta) -> int:
    seconds = int(ttl.total_seconds())
    if seconds < 1 or timedelta(seconds=seconds) != ttl:
        raise ValueError(f"the server counts whole seconds of at least one, not {ttl}")
    return seconds
