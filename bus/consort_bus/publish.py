"""Publishing to a stream, and what the stream answered.

An acknowledgement means that the message is stored. No acknowledgement means
that nothing is known: whoever publishes again needs a fence (`append`) or a
message id, or must not mind storing it twice, and says so by its `patience`. Otherwise
only "nobody there" is tried again here, which is certain, until the time is up.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from nats.aio.msg import Msg

from consort_bus.errors import BusError, NoAnswer, StorageFull
from consort_bus.reading import StreamAway
from consort_bus.subjects import stream_of
from consort_bus.wire import NotSent, TooLarge, Wire, status

__all__ = ["PubAck", "PublishRefused", "Publisher", "WrongLastSequence"]

IN_FLIGHT = 1024
"""Messages without an acknowledgement that one publisher allows before `publish_nowait` waits."""

_SHORTEST_TRY = 0.03
"""Seconds that an answer is waited for at least."""
_FENCE_CODES = frozenset({10071, 10164})
# an account at its limit, no room in the server, memory, disk, and a stream or subject at its limit
_FULL_CODES = frozenset({10002, 10023, 10028, 10047, 10077})
_NOT_NOW_CODES = frozenset({10008, 10009, 10118})
_TOO_LARGE_CODES = frozenset({10054, 10097})


class WrongLastSequence(BusError):
    """The stream refused a message because another was stored last; `actual` is its sequence, if told.

    It is no proof that the message was not stored: it may be its own earlier attempt that came last.
    """

    def __init__(self, subject: str, actual: int | None) -> None:
        told = f"the last sequence is {actual}" if actual is not None else "a write is in flight"
        super().__init__(f"{subject}: {told}")
        self.subject = subject
        self.actual = actual


class PublishRefused(BusError):
    """The stream refused a message for a reason of its own; nothing was stored."""

    def __init__(self, subject: str, code: int, why: str) -> None:
        super().__init__(f"{subject}: the stream refuses it: {why} ({code})")
        self.subject = subject
        self.code = code
        self.why = why

    @property
    def passing(self) -> bool:
        """Whether the servers only have to find each other again."""
        return self.code in _NOT_NOW_CODES


class PubAck(NamedTuple):
    """The receipt of a stored message."""

    stream: str
    seq: int
    duplicate: bool


class _Receipt:
    """Waits for the acknowledgement of one message among many in flight."""

    __slots__ = ("_free", "_future", "_size", "_timer", "_token", "_wire", "subject")

    def __init__(self, wire: Wire, free: asyncio.Semaphore, subject: str, size: int) -> None:
        self.subject = subject
        self._wire = wire
        self._free = free
        self._size = size
        self._future: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        self._token = wire.expect(self)

    def send(
        self, payload: bytes, headers: Mapping[str, str] | None, timeout: float
    ) -> asyncio.Future[PubAck]:
        self._timer = asyncio.get_running_loop().call_later(timeout, self._too_late)
        try:
            self._wire.send(self.subject, payload, reply=self._wire.reply_to(self._token), headers=headers)
        except BusError as exc:
            self.failed(exc)
        except BaseException:
            self._end()
            raise
        return self._future

    def arrived(self, msg: Msg) -> None:
        try:
            if not msg.data and status(msg) == 503:
                raise NoAnswer(self.subject, "no responders")
            ack = parse_ack(self.subject, msg.data, self._size)
        except BusError as exc:
            self.failed(exc)
            return
        if not self._future.done():
            self._future.set_result(ack)
        self._end()

    def failed(self, error: BusError) -> None:
        if not self._future.done():
            self._future.set_exception(error)
        self._end()

    def _too_late(self) -> None:
        self.failed(NoAnswer(self.subject, "timeout"))

    def _end(self) -> None:
        self._timer.cancel()
        self._wire.forget(self._token)
        self._free.release()


class Publisher:
    """Publishes to streams over one connection."""

    def __init__(self, wire: Wire, *, in_flight: int = IN_FLIGHT) -> None:
        self._wire = wire
        self._free = asyncio.Semaphore(in_flight)

    async def publish(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float = 2.0,
        patience: float = 0.0,
    ) -> int:
        """Stores one message and gives its sequence; the duplicate of a message id gives the first one's.

        `timeout` in seconds, all tries together. A message that may be stored more than once, or whose
        reader knows it again, can be given `patience`, more seconds than `timeout`: then each try has
        `timeout`, and it is tried until an answer came or the patience ends. Not for a message that
        expects a sequence: its second try is refused because of the first.

        Raises NoAnswer when nothing is known of the message (with the reason "no responders", or as
        NotSent, it was certainly not stored),
        WrongLastSequence, StorageFull, TooLarge, PublishRefused, AccessDenied.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + max(timeout, patience)
        unknown: NoAnswer | None = None
        while True:
            left = max(min(until - loop.time(), timeout), 0.001)
            try:
                msg = await self._wire.request(subject, payload, headers=headers, timeout=left)
                return parse_ack(subject, msg.data, len(payload)).seq
            except (NoAnswer, PublishRefused) as exc:
                certain = _certainly_not_stored(exc)
                pause = random.uniform(0.02, 0.1)  # noqa: S311
                if isinstance(exc, NoAnswer) and not certain:
                    unknown = exc
                elif isinstance(exc, PublishRefused) and not certain:
                    raise
                # A try that has no time for its answer would only make unknown what is certain.
                over = loop.time() + pause + _SHORTEST_TRY >= until or self._wire.nc.is_closed
                if over or not (certain or patience):
                    raise unknown or _told(exc) from exc
            await asyncio.sleep(pause)

    async def publish_nowait(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None, *, timeout: float = 5.0
    ) -> asyncio.Future[PubAck]:
        """Sends one message and gives the future of its receipt, to be awaited later.

        Waits only while too many are in flight. The future is tried once, and raises what
        `publish` raises. `timeout` in seconds. Raises ValueError for what cannot be sent at all.
        """
        await self._free.acquire()
        return _Receipt(self._wire, self._free, subject, len(payload)).send(payload, headers, timeout)


def _told(error: NoAnswer | PublishRefused) -> NoAnswer | PublishRefused:
    """Where nobody answered at all, the stream is what whoever publishes to it needs to know."""
    stream = stream_of(error.subject)
    if stream is None or not isinstance(error, NoAnswer) or error.reason != "no responders":
        return error
    return StreamAway(stream, error.subject)


def _certainly_not_stored(error: NoAnswer | PublishRefused) -> bool:
    if isinstance(error, PublishRefused):
        return error.passing
    return error.reason == "no responders" or isinstance(error, NotSent)


def parse_ack(subject: str, data: bytes, size: int) -> PubAck:
    """The receipt in a reply. Raises the error it tells of; `size` in bytes is for that error's text."""
    try:
        answer: dict[str, Any] = json.loads(data)
        error = answer.get("error")
        if error is None:
            return PubAck(answer["stream"], answer["seq"], answer.get("duplicate", False))
    except (ValueError, KeyError, AttributeError) as exc:
        raise PublishRefused(subject, 0, f"an unreadable answer, {data[:100]!r}") from exc
    raise _refusal(subject, answer.get("stream", ""), error, size)


def _refusal(subject: str, stream: str, error: dict[str, Any], size: int) -> BusError:
    code, why = error.get("err_code", 0), str(error.get("description", ""))
    if code in _FENCE_CODES:
        last = why.rpartition(" ")[2]
        return WrongLastSequence(subject, int(last) if last.isdigit() else None)
    if code in _FULL_CODES:
        return StorageFull(stream or subject, why)
    if code in _TOO_LARGE_CODES:
        return TooLarge(subject, size, 0)
    return PublishRefused(subject, code, why)
