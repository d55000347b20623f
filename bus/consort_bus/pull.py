"""Taking messages from a durable consumer, for as long as the process lives.

Messages are asked for ahead, so that they flow without a round trip each. What
was asked for and has not come is counted; it is asked for again when the server
says it gave up on it (expired, leader changed, consumer gone, pin lost), after a
reconnect, and when two heartbeats in a row stayed away. Any number of pulls share
the one subscription of their `Wire`.

With `batch`, messages come as fast as the consumer's own limit of unacknowledged
ones allows. With `slots`, no more than that many are ever in hand at once, and a
slot is free again when `release` says so; should the server send one more, because
a request thought lost was not, it is given back at once.

A group makes the pull one of several of which the server serves only one, the
pinned client. The server forgets the pin unless the client asks again in time;
expecting messages is not enough, so a request that can bring none is sent between.

What is not decided here: whether a message is acknowledged, and what it means. An
acknowledgement proves nothing, so losing one is no error.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from nats.aio.msg import Msg

from consort_bus.errors import BusError, NoAnswer
from consort_bus.jetstream import consumer_unpin, next_message
from consort_bus.reading import bears_server_headers
from consort_bus.wire import NotSent, Wire, status

__all__ = ["Delivery", "Pull", "PullRefused"]

log = logging.getLogger("consort.bus")

PIN_HEADER = "Nats-Pin-Id"
_LONGEST_PAUSE = 2.0
_MISSING_AFTER = 3
"""Answers in a row that nobody serves the consumer, before it is reported missing."""


class PullRefused(BusError):
    """The consumer does not serve such requests: its limits or its kind are other than assumed."""

    def __init__(self, stream: str, consumer: str, why: str) -> None:
        super().__init__(f"consumer {consumer} of {stream} refuses to deliver: {why}")
        self.stream = stream
        self.consumer = consumer
        self.why = why


class Delivery:
    """A message in hand. It comes again unless it is acknowledged, or kept by signs of progress.

    Acknowledgements are sent without waiting, and lost while disconnected: the message then comes
    again. `ack_sync` waits.
    """

    __slots__ = ("_reply", "_tokens", "_wire", "data", "headers", "subject")

    def __init__(self, wire: Wire, msg: Msg) -> None:
        self._wire = wire
        self._reply = msg.reply
        self._tokens: list[str] | None = None
        self.subject = msg.subject
        self.data = msg.data
        self.headers: dict[str, str] = msg.headers or {}

    def _token(self, from_delivered: int) -> int:
        """`….<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`: the same order in both forms,
        which differ in what comes before, and in a token that may come after."""
        tokens = self._tokens
        if tokens is None:
            tokens = self._tokens = self._reply.split(".")
        return int(tokens[(4 if len(tokens) == 9 else 6) + from_delivered])

    @property
    def delivered(self) -> int:
        """How often it has been delivered, this time included."""
        return self._token(0)

    @property
    def seq(self) -> int:
        """Its sequence in the stream."""
        return self._token(1)

    @property
    def time(self) -> datetime:
        """When it was stored, UTC."""
        return datetime.fromtimestamp(self._token(3) / 1e9, UTC)

    @property
    def pending(self) -> int:
        """Messages that the consumer had not delivered yet."""
        return self._token(4)

    @property
    def forwarded(self) -> bool:
        """Whether it was an answer of the server when it was stored: nobody's word for anything."""
        return bears_server_headers(self.headers)

    def ack(self) -> None:
        """Done with."""
        self._say(b"")

    def nak(self, delay: float = 0.0) -> None:
        """Given back, to be delivered again after `delay` seconds."""
        self._say(b"-NAK" if delay <= 0 else b'-NAK {"delay":%d}' % int(delay * 1e9))

    def term(self, reason: str) -> None:
        """Never to be delivered again; the server tells the reason to whoever watches."""
        self._say(b"+TERM " + " ".join(reason.split()).encode())

    def in_progress(self) -> None:
        """Still being worked on: the time for an acknowledgement starts anew."""
        self._say(b"+WPI")

    async def ack_sync(self, timeout: float = 2.0) -> None:
        """Done with, and the server knows. `timeout` in seconds. Raises NoAnswer."""
        await self._wire.request(self._reply, b"+ACK", timeout=timeout)

    def _say(self, what: bytes) -> None:
        try:
            self._wire.send(self._reply, what)
        except NotSent:
            log.debug("not connected: %s of %s stays unacknowledged", what, self.subject)


class Pull:
    """Messages of one consumer, handed to `on_message` one by one while `run` runs.

    `on_message` runs inside the reader of the connection: it hands the message on, and does not
    raise. `expires` and `heartbeat` are seconds; `pin_renewal` too, and must be less than half
    of the consumer's `priority_timeout`. `on_missing` is called when the consumer is not there;
    it is asked for again and again all the same.
    """

    def __init__(
        self,
        wire: Wire,
        stream: str,
        consumer: str,
        on_message: Callable[[Delivery], None],
        *,
        batch: int = 0,
        slots: int = 0,
        expires: float = 30.0,
        heartbeat: float = 5.0,
        group: str | None = None,
        pin_renewal: float = 1.3,
        on_missing: Callable[[], None] | None = None,
    ) -> None:
        if (batch > 0) == (slots > 0):
            raise ValueError("a pull has either a batch or slots, of at least one")
        self._wire, self._stream, self._consumer = wire, stream, consumer
        self._on_message, self._on_missing = on_message, on_missing
        self._batch, self._slots, self._group = batch, slots, group
        self._request: dict[str, Any] = {
            "expires": int(expires * 1e9),
            "idle_heartbeat": int(heartbeat * 1e9),
        }
        if group:
            self._request["group"] = group
        self._tick = min(heartbeat, pin_renewal) if group else heartbeat
        self._silence_allowed = math.ceil(2.5 * heartbeat / self._tick)
        self.subject = next_message(stream, consumer)
        self._refused: asyncio.Future[BusError] | None = None
        self._token = ""
        self._timer: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self._inbox = ""
        self._generation = 0
        self._asked = self._held = self._silence = self._failures = 0
        self._pin, self._pin_renewed = "", False
        self._running = self._missing = self._paused = False

    @property
    def held(self) -> int:
        """Slots in use."""
        return self._held

    @property
    def pinned(self) -> bool:
        """Whether the server served this client of the group last."""
        return bool(self._pin)

    @property
    def paused(self) -> bool:
        """Whether it takes no more."""
        return self._paused

    @property
    def missing(self) -> bool:
        """Whether the consumer was found not to be there."""
        return self._missing

    async def run(self) -> None:
        """Pulls until cancelled. Raises PullRefused, AccessDenied.

        What is in hand at the end stays in hand; what still comes is given back.
        """
        loop = asyncio.get_running_loop()
        self._refused = refused = loop.create_future()
        self._token = self._wire.expect(self)
        self._wire.expect_deliveries(self._stream, self._consumer, self)
        self._inbox = self._wire.reply_to(self._token) + "."
        self._wire.on_reconnect(self._restart)
        self._timer = loop.call_later(self._tick, self._watch)
        self._running = True
        try:
            self._restart()
            raise await refused
        finally:
            self._running = False
            self._wire.forget(self._token)
            self._wire.forget_reconnect(self._restart)
            self._timer.cancel()
            self._cancel_again()

    def release(self, count: int = 1) -> None:
        """So many slots are free again."""
        self._held = max(self._held - count, 0)
        self._ask()

    def yield_pin(self, seconds: float = 1.0) -> None:
        """Lets another client of the group be served: gives up the pin, and asks again after a while.

        Without another that asks, the pin comes back then.
        """
        if not self._pin or not self._group:
            return
        unpin = json.dumps({"group": self._group}).encode()
        self._pin, self._asked = "", 0
        self._generation += 1
        try:
            self._wire.send(consumer_unpin(self._stream, self._consumer), unpin, reply=f"{self._inbox}unpin")
        except NotSent:
            return
        self._cancel_again()
        if self._running:
            self._again = asyncio.get_running_loop().call_later(seconds, self._restart)

    def pause(self) -> None:
        """Takes no more until `resume`: what still comes is given back."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._running:
            self._restart()

    def arrived(self, msg: Msg) -> None:
        """A message of the stream, which has a subject for its acknowledgement, or word from the server."""
        if msg.reply:
            self._silence = self._failures = 0
            self._missing = False
            self._deliver(msg)
        elif msg.subject.startswith(self._inbox):
            self._told(msg, msg.subject[len(self._inbox) :])

    def failed(self, error: BusError) -> None:
        """A lost connection is seen to when it is back; a refusal is for good."""
        if not isinstance(error, NoAnswer):
            self._end(error)

    def _deliver(self, msg: Msg) -> None:
        if self._asked:
            self._asked -= 1
        delivery = Delivery(self._wire, msg)
        if self._group is not None:
            self._pin = delivery.headers.get(PIN_HEADER, "")
        if self._paused or not self._running or (self._slots and self._held >= self._slots):
            delivery.nak()
            return
        if self._slots:
            self._held += 1
        try:
            self._on_message(delivery)
        except Exception:
            log.exception("while taking %s from %s", delivery.subject, self._consumer)
        if self._asked <= self._batch >> 1:
            self._ask()

    def _told(self, msg: Msg, tail: str) -> None:
        """The tail of the subject names the generation of the request, and a mere renewal of the pin."""
        renewal = tail.endswith("p")
        if tail.rstrip("p") != str(self._generation):
            return
        self._silence = 0
        code, headers = status(msg), msg.headers or {}
        why = headers.get("Description", "")
        if code == 100:
            self._failures = 0
            self._missing = False
        elif code == 423:
            self._pin = ""
            self._restart()
        elif renewal and code in (404, 408, 409):
            pass
        elif code == 408 or (code == 409 and why == "Batch Completed"):
            self._asked = max(self._asked - int(headers.get("Nats-Pending-Messages", 0)), 0)
            self._ask()
        elif code == 409 and why == "Leadership Change":
            self._restart()
        elif code == 503 or (
            code == 409 and why in ("Consumer Deleted", "Server Shutdown", "Exceeded MaxWaiting")
        ):
            self._retry_later(gone=why == "Consumer Deleted")
        else:
            self._end(PullRefused(self._stream, self._consumer, f"{code} {why}".strip()))

    def _ask(self) -> None:
        """For as many as may come now."""
        free = self._slots - self._held if self._slots else self._batch
        count = free - self._asked
        # While half of what is free is asked for already, the next few messages come without a new request.
        if (
            count <= 0
            or self._asked > free >> 1
            or self._paused
            or not self._running
            or self._again is not None
        ):
            return
        request = self._request | {"batch": count}
        if self._pin:
            request["id"] = self._pin
            self._pin_renewed = True
        if self._send(request, str(self._generation)):
            self._asked += count
        else:
            self._retry_later()

    def _send(self, request: dict[str, Any], tail: str) -> bool:
        try:
            self._wire.send(self.subject, json.dumps(request).encode(), reply=self._inbox + tail)
        except NotSent:
            return False
        return True

    def _restart(self) -> None:
        """Counts on nothing that was asked for, and asks anew."""
        self._cancel_again()
        self._generation += 1
        self._asked = self._silence = 0
        self._ask()

    def _retry_later(self, gone: bool = False) -> None:
        self._failures += 1
        self._generation += 1
        self._asked = 0
        if (gone or self._failures >= _MISSING_AFTER) and not self._missing and self._wire.nc.is_connected:
            self._missing = True
            log.warning("consumer %s of %s is not there", self._consumer, self._stream)
            if self._on_missing is not None:
                self._on_missing()
        pause = min(0.05 * 2.0**self._failures, _LONGEST_PAUSE) * random.uniform(0.5, 1.0)  # noqa: S311
        self._cancel_again()
        self._again = asyncio.get_running_loop().call_later(pause, self._restart)

    def _cancel_again(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _watch(self) -> None:
        """Renews the pin, and notices that heartbeats stay away."""
        self._timer = asyncio.get_running_loop().call_later(self._tick, self._watch)
        if self._pin and not self._pin_renewed and not self._paused:
            self._send(
                {"batch": 1, "no_wait": True, "max_bytes": 1, "group": self._group, "id": self._pin},
                f"{self._generation}p",
            )
        self._pin_renewed = False
        if self._asked and self._again is None:
            self._silence += 1
            if self._silence > self._silence_allowed:
                log.info("consumer %s of %s is silent: asking anew", self._consumer, self._stream)
                self._restart()

    def _end(self, error: BusError) -> None:
        self._running = False
        if self._refused is not None and not self._refused.done():
            self._refused.set_result(error)
