"""Reading what a stream's leader holds: nothing that was stored before is missed.

Two ways. One message at a time from the leader itself, which decides whether an
append was stored. Or in pages from any replica, as `reading` does, but compared with
the last message that the leader holds and read on until that has come: as quick, one
request more, and whoever has seen an end sees all that came before it, whichever
replica answers.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import random
from collections.abc import AsyncIterator
from typing import Any

from nats.aio.msg import Msg

from consort_bus.errors import NoAnswer
from consort_bus.jetstream import message_get
from consort_bus.reading import ReadRefused, Stored, ask, last_of, own_headers, read
from consort_bus.wire import Wire, parse_headers

__all__ = ["last_of_whole", "leader_last", "leader_next", "leader_read", "read_whole"]

_NO_MESSAGE = 10037
_NO_STREAM = 10059
_NOT_NOW_CODES = frozenset({10008, 10009, 10118})
"""The cluster or the stream has no leader, or too few of its servers are there."""


async def read_whole(
    wire: Wire, stream: str, subject_filter: str, from_seq: int = 1, *, patience: float = 10.0
) -> AsyncIterator[Stored]:
    """As `reading.read`, and nothing is missing that the leader held when this began.

    `patience` is also how many seconds a late replica is waited for. Raises NoAnswer then, ReadRefused, AccessDenied.
    """
    newest = await leader_last(wire, stream, subject_filter, patience=patience)
    late = _Late(stream, patience)
    while True:
        async for message in read(wire, stream, subject_filter, from_seq, patience=patience):
            yield message
            from_seq = message.seq + 1
        if newest is None or newest.seq < from_seq:
            return
        await late.wait()
        newest = await leader_last(wire, stream, subject_filter, patience=patience)  # it may have aged out


async def last_of_whole(
    wire: Wire, stream: str, subject_filter: str, *, patience: float = 10.0
) -> list[Stored]:
    """As `reading.last_of`, no older than what the leader held when this began. Raises as `read_whole`."""
    newest = await leader_last(wire, stream, subject_filter, patience=patience)
    late = _Late(stream, patience)
    while True:
        found = await last_of(wire, stream, [subject_filter], patience=patience)
        if newest is None or (found and found[-1].seq >= newest.seq):
            return found
        await late.wait()
        newest = await leader_last(wire, stream, subject_filter, patience=patience)


async def leader_last(wire: Wire, stream: str, subject: str, *, patience: float = 10.0) -> Stored | None:
    """The last message under a subject or wildcard by the stream's leader. Raises as `last`."""
    return await _from_leader(wire, stream, {"last_by_subj": subject}, patience)


async def leader_next(
    wire: Wire, stream: str, subject_filter: str, from_seq: int, *, patience: float = 10.0
) -> Stored | None:
    """The first message under a filter from a sequence on, by the stream's leader. Raises as `last`."""
    return await _from_leader(wire, stream, {"seq": from_seq, "next_by_subj": subject_filter}, patience)


async def leader_read(
    wire: Wire, stream: str, subject_filter: str, from_seq: int = 1, *, patience: float = 10.0
) -> AsyncIterator[Stored]:
    """As `read`, by the stream's leader: nothing is missing because a replica is late. One request each."""
    while (found := await leader_next(wire, stream, subject_filter, from_seq, patience=patience)) is not None:
        yield found
        from_seq = found.seq + 1


class _Late:
    """Waits for a replica that is behind, longer each time, for so long and no longer."""

    def __init__(self, stream: str, patience: float) -> None:
        self._stream = stream
        self._pause = 0.005
        self._until = asyncio.get_running_loop().time() + patience

    async def wait(self) -> None:
        if asyncio.get_running_loop().time() >= self._until:
            raise NoAnswer(f"{self._stream} of a replica that has all", "timeout")
        await asyncio.sleep(random.uniform(self._pause, 2 * self._pause))  # noqa: S311
        self._pause = min(self._pause * 2, 0.25)


async def _from_leader(wire: Wire, stream: str, body: dict[str, Any], patience: float) -> Stored | None:
    """By the leader; while there is none, it is waited for."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    request = json.dumps(body).encode()
    while True:
        left = max(until - loop.time(), 0.05)
        answer = _json_of(stream, await ask(wire, stream, message_get(stream), request, left))
        error = answer.get("error")
        if error is None:
            return _from_json(stream, answer)
        code = error.get("err_code")
        if code == _NO_MESSAGE:
            return None
        if code not in _NOT_NOW_CODES or loop.time() >= until:
            mend = "; make it anew with `consort bus setup`" if code == _NO_STREAM else ""
            raise ReadRefused(stream, f"{error.get('description', error)}{mend}")
        await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: S311


def _json_of(stream: str, msg: Msg) -> dict[str, Any]:
    try:
        answer = json.loads(msg.data)
    except ValueError as exc:
        raise _unreadable(stream, msg.data) from exc
    if not isinstance(answer, dict):
        raise _unreadable(stream, msg.data)
    return answer


def _unreadable(stream: str, answer: object) -> ReadRefused:
    return ReadRefused(stream, f"an unreadable answer, {answer!r:.100}")


def _from_json(stream: str, answer: dict[str, Any]) -> Stored:
    """Of a leader's answer, which holds the headers as they were stored."""
    try:
        message = answer["message"]
        found = parse_headers(base64.b64decode(message.get("hdrs", "")))
        data = base64.b64decode(message.get("data", ""))
        seq, subject, time_text = message["seq"], message["subject"], message["time"]
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as exc:
        raise _unreadable(stream, answer) from exc
    own, forwarded = own_headers(found)
    return Stored(seq, subject, own, data, time_text, forwarded)
