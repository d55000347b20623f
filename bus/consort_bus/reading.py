"""Reading what a stream holds, without a consumer, from any replica of it.

By direct get: quick, in pages, and perhaps a moment old; a second read may be
answered by another replica and show less than the first. Who must not miss what
was stored before reads by way of `leading`. Neither needs a right that could make
the server deliver elsewhere.

The server puts headers of its own behind those of a stored message. A stored
message that already had such a header was once an answer of the server that
somebody directed at a stream (the forged reply): `Stored.forwarded` tells, and
`Nats-Stream` stays among its headers. From a direct get that can be told only
because `wire` notices repeated header lines. It is a tell-tale, not a guard: the
guard is the seal of the message.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from nats.aio.msg import Msg

from consort_bus.errors import BusError, NoAnswer
from consort_bus.jetstream import direct_get
from consort_bus.wire import Headers, Wire, status

__all__ = [
    "ReadRefused",
    "Stored",
    "StreamAway",
    "ask",
    "at_sequence",
    "bears_server_headers",
    "last",
    "last_of",
    "own_headers",
    "read",
]

PAGE_MESSAGES, PAGE_BYTES = 500, 2 * 1024 * 1024
"""A page ends at whichever comes first; the next one is asked for before this one is handed out."""
SUBJECTS_AT_ONCE = 256

_STREAM, _SEQUENCE = "Nats-Stream", "Nats-Sequence"
_OF_ONE = frozenset({_STREAM, "Nats-Subject", _SEQUENCE, "Nats-Time-Stamp"})
_OF_PAGES = _OF_ONE | {"Nats-Num-Pending", "Nats-Last-Sequence"}
_OF_SERVER = _OF_PAGES | {"Nats-UpTo-Sequence"}


class StreamAway(NoAnswer):
    """Nobody serves a stream: it does not exist, or none of the servers that hold it is there."""

    def __init__(self, stream: str, subject: str) -> None:
        super().__init__(subject, "no responders")
        self.stream = stream
        told = f"nobody serves stream {stream}: either too few servers run, or it was removed"
        self.args = (f"{told}; `consort bus check` tells which, `consort bus setup` makes it anew",)


class ReadRefused(BusError):
    """The server does not answer such a read: no such stream for this account, or a malformed request."""

    def __init__(self, stream: str, why: str) -> None:
        super().__init__(f"{stream} cannot be read: {why}")
        self.stream = stream
        self.why = why


class Stored(NamedTuple):
    """A message as a stream holds it; `headers` are those it was published with."""

    seq: int
    subject: str
    headers: dict[str, str]
    data: bytes
    time_text: str
    forwarded: bool
    """Whether it was an answer of the server when it was stored: nobody's word for anything."""

    @property
    def time(self) -> datetime:
        """When the server stored it, UTC, cut to microseconds."""
        return datetime.fromisoformat(self.time_text)


class _Page:
    """Collects the messages of one batched direct get, until its end or `silence` seconds without any."""

    __slots__ = ("_heard", "_silence", "_timer", "done", "messages", "subject")

    def __init__(self, subject: str, silence: float) -> None:
        self.subject = subject
        self.messages: list[Msg] = []
        self._silence = silence
        self._heard = False
        loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Msg] = loop.create_future()
        self._timer = loop.call_later(silence, self._check)

    def _check(self) -> None:
        if not self._heard:
            self.failed(NoAnswer(self.subject, "timeout"))
            return
        self._heard = False
        self._timer = asyncio.get_running_loop().call_later(self._silence, self._check)

    def stop(self) -> None:
        self._timer.cancel()

    def arrived(self, msg: Msg) -> None:
        self._heard = True
        if _is_stored(msg):
            self.messages.append(msg)
        elif not self.done.done():
            self.done.set_result(msg)

    def failed(self, error: BusError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class _PageResult(NamedTuple):
    messages: list[Stored]
    more: bool
    up_to: int


async def read(
    wire: Wire,
    stream: str,
    subject_filter: str,
    from_seq: int = 1,
    *,
    from_time: datetime | None = None,
    batch: int = PAGE_MESSAGES,
    max_bytes: int = PAGE_BYTES,
    patience: float = 10.0,
) -> AsyncIterator[Stored]:
    """Every message under a filter from a sequence or a time on, in order, until there is none left now.

    Memory is bounded by two pages. `patience` is how many seconds without progress are borne.
    Raises NoAnswer then, ReadRefused, AccessDenied.
    """

    body: dict[str, Any] = {"next_by_subj": subject_filter, "batch": batch, "max_bytes": max_bytes}
    body |= {"seq": max(from_seq, 1)} if from_time is None else {"start_time": from_time.isoformat()}
    found = await _page(wire, stream, body, patience)
    body.pop("start_time", None)
    while found.more:
        body["seq"] = found.messages[-1].seq + 1
        following = asyncio.create_task(_page(wire, stream, body, patience))
        try:
            for message in found.messages:
                yield message
            found = await following
        finally:
            following.cancel()
    for message in found.messages:
        yield message


async def last(wire: Wire, stream: str, subject: str, *, patience: float = 10.0) -> Stored | None:
    """The last message of one subject, or None. Raises NoAnswer, ReadRefused, AccessDenied."""
    msg = await ask(wire, stream, direct_get(stream, subject), b"", patience)
    if not _is_stored(msg):
        if status(msg) == 404:
            return None
        raise ReadRefused(stream, _description(msg))
    return _stored(msg, _OF_ONE)


async def at_sequence(wire: Wire, stream: str, seq: int, *, patience: float = 10.0) -> Stored | None:
    """The message at a sequence, or None: it is gone, or a replica has not got it yet.

    Raises NoAnswer, ReadRefused, AccessDenied.
    """
    msg = await ask(wire, stream, direct_get(stream), json.dumps({"seq": seq}).encode(), patience)
    if not _is_stored(msg):
        if status(msg) == 404:
            return None
        raise ReadRefused(stream, _description(msg))
    return _stored(msg, _OF_ONE)


async def last_of(
    wire: Wire,
    stream: str,
    subjects: Sequence[str],
    *,
    batch: int = PAGE_MESSAGES,
    max_bytes: int = PAGE_BYTES,
    patience: float = 10.0,
) -> list[Stored]:
    """The last message of each subject that has one, by sequence, all as of one moment per 256 subjects.

    A subject may be a wildcard. The server answers for at most 1024 messages at a time; where a
    wildcard has more, what is under it is read whole. Raises NoAnswer, ReadRefused, AccessDenied.
    """
    found: list[Stored] = []
    for start in range(0, len(subjects), SUBJECTS_AT_ONCE):
        part = list(subjects[start : start + SUBJECTS_AT_ONCE])
        body: dict[str, Any] = {"multi_last": part, "batch": batch, "max_bytes": max_bytes}
        try:
            while True:
                page = await _page(wire, stream, body, patience)
                found += page.messages
                if not page.more:
                    break
                body |= {"seq": page.messages[-1].seq + 1, "up_to_seq": page.up_to}
        except _TooMany:
            found += await _last_by_reading(wire, stream, part, patience)
    found.sort(key=lambda message: message.seq)
    return found


class _TooMany(Exception):
    """More messages than the server gathers for one request."""


async def _last_by_reading(wire: Wire, stream: str, subjects: Sequence[str], patience: float) -> list[Stored]:
    newest: dict[str, Stored] = {}
    for subject in subjects:
        async for message in read(wire, stream, subject, patience=patience):
            newest[message.subject] = message
    return list(newest.values())


async def _page(wire: Wire, stream: str, body: dict[str, Any], patience: float) -> _PageResult:
    """One page, tried again until it came whole."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while True:
        try:
            return await _page_once(wire, stream, body, max(until - loop.time(), 0.05))
        except NoAnswer as exc:
            if loop.time() >= until or wire.nc.is_closed:
                raise _told(exc, stream) from exc
        await asyncio.sleep(random.uniform(0.02, 0.1))  # noqa: S311


async def _page_once(wire: Wire, stream: str, body: dict[str, Any], timeout: float) -> _PageResult:
    subject = direct_get(stream)
    page = _Page(subject, min(timeout, 2.0))
    token = wire.expect(page)
    try:
        wire.send(subject, json.dumps(body).encode(), reply=wire.reply_to(token))
        end = await page.done
    finally:
        page.stop()
        wire.forget(token)
    return _whole_page(stream, page, end)


def _whole_page(stream: str, page: _Page, end: Msg) -> _PageResult:
    code = status(end)
    if code == 404 and not page.messages:
        return _PageResult([], False, 0)
    if code == 413:
        raise _TooMany
    if code == 503:
        raise NoAnswer(page.subject, "no responders")
    if code != 204:
        raise ReadRefused(stream, _description(end))
    headers = end.headers or {}
    messages, before = [], 0
    for msg in page.messages:
        message = _stored(msg, _OF_PAGES)
        if int((msg.headers or {}).get("Nats-Last-Sequence", -1)) != before:
            raise NoAnswer(page.subject, "timeout")  # a part of the page was lost on the way
        before = message.seq
        messages.append(message)
    if before != int(headers.get("Nats-Last-Sequence", 0)):
        raise NoAnswer(page.subject, "timeout")
    more = bool(messages) and int(headers.get("Nats-Num-Pending", 0)) > 0
    return _PageResult(messages, more, int(headers.get("Nats-UpTo-Sequence", 0)))


def _told(error: NoAnswer, stream: str) -> NoAnswer:
    """Where nobody answered at all, the stream is what whoever reads of it needs to know."""
    return StreamAway(stream, error.subject) if error.reason == "no responders" else error


async def ask(wire: Wire, stream: str, subject: str, body: bytes, patience: float) -> Msg:
    """One request to read, tried again, since that does no harm. Raises NoAnswer, AccessDenied."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while True:
        try:
            return await wire.request(subject, body, timeout=max(min(until - loop.time(), 2.0), 0.05))
        except NoAnswer as exc:
            if loop.time() >= until or wire.nc.is_closed:
                raise _told(exc, stream) from exc
        await asyncio.sleep(random.uniform(0.02, 0.1))  # noqa: S311


def _is_stored(msg: Msg) -> bool:
    """Whether it is a message of the stream, which may bear a header of any name, `Status` too."""
    return msg.headers is not None and _SEQUENCE in msg.headers


def _stored(msg: Msg, added: frozenset[str]) -> Stored:
    """Of an answer to a direct get, where the server's headers come after the message's own."""
    found = msg.headers or {}
    own = {name: value for name, value in found.items() if name not in _OF_SERVER}
    repeated = found.repeated if isinstance(found, Headers) else frozenset()
    forwarded = not repeated.isdisjoint(_OF_SERVER) or not (_OF_SERVER - added).isdisjoint(found)
    if forwarded:
        own[_STREAM] = found[_STREAM]
    return Stored(
        int(found[_SEQUENCE]), found["Nats-Subject"], own, msg.data, found["Nats-Time-Stamp"], forwarded
    )


def own_headers(found: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """Of headers as they were stored, those of the message, and whether the server put others there."""
    own = {name: value for name, value in found.items() if name not in _OF_SERVER}
    forwarded = len(own) < len(found)
    if forwarded:
        own[_STREAM] = found.get(_STREAM, "")
    return own, forwarded


def bears_server_headers(headers: Mapping[str, str]) -> bool:
    """Whether a message as it was stored was once an answer of the server."""
    return not _OF_SERVER.isdisjoint(headers)


def _description(msg: Msg) -> str:
    headers = msg.headers or {}
    return f"{headers.get('Status', '')} {headers.get('Description', '')}".strip()
