"""The quick way in and out of a connection, for what runs once per message.

The client library hands each message over through a queue and two tasks, and
writes through a third. Here replies reach a plain callback while they are being
read, and what is sent in one turn of the loop goes to the socket at its end: a
round trip costs about two thirds of what the library's `request` costs. One wildcard
inbox serves every request, page and pull of a connection.

This is the only module that touches what is private in the library: the buffer
and the socket it writes to, and the reading of header lines, which forgets that
a header was repeated. Callbacks run inside the library's reader: they must be
short, and what they raise is logged.

Must not know what is sent: streams, entries and consumers belong to others.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError
from nats.errors import Error as LibraryError

from consort_bus.errors import AccessDenied, BusError, NoAnswer

__all__ = ["ConnectionEvents", "Headers", "NotSent", "TooLarge", "Waiter", "Wire"]

JOINED_BYTES = 128 * 1024
"""Up to so much, joining what is sent costs less than handing it over piece by piece."""

log = logging.getLogger("consort.bus")


class TooLarge(BusError):
    """A message that the server or a stream does not take because of its size; nothing was stored."""

    def __init__(self, subject: str, size: int, limit: int) -> None:
        most = f", at most {limit} are taken" if limit else ""
        super().__init__(f"{subject}: {size} bytes are too many{most}; store the payload as an artefact")
        self.subject = subject
        self.size = size
        self.limit = limit


class NotSent(NoAnswer):
    """There is no connection now: nothing was sent, so nothing can have been carried out."""

    def __init__(self, subject: str) -> None:
        super().__init__(subject, "disconnected")


class ConnectionEvents(Protocol):
    """What a connection tells those who use it; `consort_bus.connection.Bus` is one."""

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None: ...

    def on_refusal(self, alarm: Callable[[AccessDenied], None]) -> None: ...


class Headers(dict[str, str]):
    """Headers of a message, with the names that occurred more than once; the last value counts."""

    __slots__ = ("repeated",)

    def __init__(self) -> None:
        self.repeated: frozenset[str] = frozenset()


class Waiter(Protocol):
    """Whoever waits for messages below one token of the inbox."""

    subject: str
    """Where the request went: a refusal of that subject is for this waiter."""

    def arrived(self, msg: Msg) -> None: ...

    def failed(self, error: BusError) -> None: ...


class _Reply:
    """Waits for one message."""

    __slots__ = ("future", "subject")

    def __init__(self, subject: str, future: asyncio.Future[Msg]) -> None:
        self.subject = subject
        self.future = future

    def arrived(self, msg: Msg) -> None:
        if not self.future.done():
            self.future.set_result(msg)

    def failed(self, error: BusError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Sink:
    """Stands where the library expects a future for one reply, and takes every message instead."""

    __slots__ = ("_take",)

    def __init__(self, take: Callable[[Msg], None]) -> None:
        self._take = take

    def cancelled(self) -> bool:
        return False

    def set_result(self, msg: Msg) -> None:
        try:
            self._take(msg)
        except Exception:  # the library's reader would end with it
            log.exception("while taking a message on %s", msg.subject)


def parse_headers(raw: bytes) -> Headers:
    """Header lines to their values. The library's own parser forgets repetitions."""
    found = Headers()
    for line in raw.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon:
            continue
        name = name.strip()
        if name in found:
            found.repeated |= {name}
        found[name] = value.strip()
    return found


class Wire:
    """Sending and receiving on one connection; an async context manager that owns one subscription."""

    def __init__(self, nc: Client, events: ConnectionEvents | None = None) -> None:
        self.nc = nc
        self._waiting: dict[str, Waiter] = {}
        self._consumers: dict[tuple[str, str], Waiter] = {}
        self._reconnected: list[Callable[[], None]] = []
        self._tokens = itertools.count(1)
        self._prefix = ""
        self._cut = 0
        self._flushing = False
        self._loop = asyncio.get_running_loop()
        self._subscription: Subscription | None = None
        # Reached as an attribute of the connection, so that one connection can be given another parser.
        setattr(nc, "_parse_header_lines", parse_headers)  # noqa: B010
        if events is not None:
            events.on_reconnect(self._after_reconnect)
            events.on_refusal(self._after_refusal)

    async def __aenter__(self) -> Wire:
        self._prefix = f"{self.nc.new_inbox()}."
        self._cut = len(self._prefix)
        self._subscription = await self.listen(f"{self._prefix}>", self._arrived)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fail_all()
        self._waiting.clear()
        self._consumers.clear()
        if self._subscription is not None:
            try:
                await self._subscription.unsubscribe()
            except ConnectionClosedError:
                pass  # closed with the connection
            except LibraryError as exc:
                log.debug("leaving %s: %s", self._prefix, exc)

    async def listen(self, subject: str, callback: Callable[[Msg], None]) -> Subscription:
        """Subscribes with a plain callback, called from the reader for each message."""
        sink: Any = _Sink(callback)
        return await self.nc.subscribe(subject, future=sink)

    @property
    def max_payload(self) -> int:
        """Bytes of headers and body that one message may have."""
        return int(self.nc.max_payload)

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Called after each reconnect, when subscriptions are back. Needs the connection's events."""
        self._reconnected.append(callback)

    def forget_reconnect(self, callback: Callable[[], None]) -> None:
        self._reconnected.remove(callback)

    def send(
        self, subject: str, payload: bytes = b"", *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends in this turn of the loop, without waiting for anything; the order of sends is kept.

        Raises NotSent, TooLarge, and ValueError for a subject or header that would break the protocol.
        """
        nc = self.nc
        if not nc.is_connected:
            raise NotSent(subject)
        if " " in subject or not subject.isprintable() or not subject:
            raise ValueError(f"{subject!r} is no subject")
        if headers:
            lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
            text = f"NATS/1.0\r\n{''.join(lines)}\r\n"
            breaks = len(lines) + 2
            if text.count("\n") != breaks or text.count("\r") != breaks:
                raise ValueError(f"a header for {subject} holds a line break")
            head = text.encode()
            size = len(head) + len(payload)
            start = f"HPUB {subject} {reply} {len(head)} {size}\r\n".encode() + head
        else:
            size = len(payload)
            start = f"PUB {subject} {reply} {size}\r\n".encode()
        if size > nc.max_payload:
            raise TooLarge(subject, size, int(nc.max_payload))
        self._write(start, payload)

    def _write(self, start: bytes, payload: bytes) -> None:
        """All that is sent in one turn of the loop goes to the socket together, at its end.

        What the library still holds back goes before it: a subscription must precede its requests.
        """
        nc: Any = self.nc
        nc._pending += (start, payload, b"\r\n")
        nc._pending_data_size += len(start) + len(payload) + 2
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        nc: Any = self.nc
        held = nc._pending
        if not held or not nc.is_connected:
            return
        if getattr(nc._transport, "_io_writer", None) is not None:
            if nc._pending_data_size < JOINED_BYTES:
                nc._transport.write(b"".join(held))
            else:
                nc._transport.writelines(held)
            nc._pending = []
            nc._pending_data_size = 0
        elif nc._flush_queue.empty():  # not a plain socket but a WebSocket: the library's flusher knows how
            nc._flush_queue.put_nowait(self._loop.create_future())

    def expect(self, waiter: Waiter) -> str:
        """A token below the inbox; messages to `reply_to(token)` go to the waiter until `forget`."""
        token = str(next(self._tokens))
        self._waiting[token] = waiter
        return token

    def reply_to(self, token: str) -> str:
        """A subject of that token's waiter; `token` may be followed by a dot and more."""
        return self._prefix + token

    def forget(self, token: str) -> None:
        self._waiting.pop(token, None)

    def expect_deliveries(self, stream: str, consumer: str, waiter: Waiter) -> None:
        """Deliveries keep their stream's subject, so they are told apart by the consumer that made them.

        A waiter stays until another takes its place, because deliveries that nobody waits for any
        more have to be given back.
        """
        self._consumers[stream, consumer] = waiter

    def start_request(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None
    ) -> tuple[str, asyncio.Future[Msg]]:
        """Sends, and gives the token, which is to be forgotten, and the reply to come. Raises as `send`."""
        future: asyncio.Future[Msg] = self._loop.create_future()
        token = self.expect(_Reply(subject, future))
        try:
            self.send(subject, payload, reply=self._prefix + token, headers=headers)
        except BaseException:
            del self._waiting[token]
            raise
        return token, future

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 2.0,
    ) -> Msg:
        """Sends and waits `timeout` seconds for one reply.

        Raises NoAnswer: unless it is NotSent or its reason is "no responders", the request may
        have been carried out. Raises AccessDenied when the server refuses the subject, and as `send`.
        """
        token, future = self.start_request(subject, payload, headers)
        timer = self._loop.call_later(timeout, _give_up, future, subject)
        try:
            msg = await future
        finally:
            timer.cancel()
            self._waiting.pop(token, None)
        if not msg.data and status(msg) == 503:
            raise NoAnswer(subject, "no responders")
        return msg

    def _arrived(self, msg: Msg) -> None:
        subject = msg.subject
        if subject.startswith(self._prefix):
            waiter = self._waiting.get(subject[self._cut :].partition(".")[0])
        else:
            waiter = self._consumers.get(consumer_of(msg.reply))
        if waiter is not None:
            waiter.arrived(msg)

    async def _after_reconnect(self) -> None:
        """Replies to what was sent on the old connection never come."""
        self._fail_all()
        for callback in list(self._reconnected):
            callback()

    def _after_refusal(self, denied: AccessDenied) -> None:
        """The subject comes in lower case, because the library folds what the server says."""
        for waiter in list(self._waiting.values()):
            if denied.action == "publish to" and waiter.subject.lower() == denied.subject.lower():
                waiter.failed(denied)

    def _fail_all(self) -> None:
        for waiter in list(self._waiting.values()):
            waiter.failed(NoAnswer(waiter.subject, "disconnected"))


def _give_up(future: asyncio.Future[Msg], subject: str) -> None:
    if not future.done():
        future.set_exception(NoAnswer(subject, "timeout"))


def status(msg: Msg) -> int:
    """The status of a message that the server made itself, 0 for all others."""
    text = msg.headers.get("Status", "") if msg.headers else ""
    return int(text) if text.isdecimal() else 0


def consumer_of(reply: str) -> tuple[str, str]:
    """Stream and consumer in an acknowledgement subject: `$JS.ACK.<stream>.<consumer>.…`,
    or in the second form `$JS.ACK.<domain>.<account>.<stream>.<consumer>.…`."""
    tokens = reply.split(".")
    if len(tokens) == 9:
        return tokens[2], tokens[3]
    if len(tokens) >= 11:
        return tokens[4], tokens[5]
    return "", ""
