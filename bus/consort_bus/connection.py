"""One connection to the bus under one identity.

The traps of the client library are handled here once, so that nobody else has to
know them: silence of a frozen server is noticed in seconds, reconnecting never
ends, is spread out and goes to another node than the one that was lost, a server that
says it is about to stop is left before it does, nothing is buffered while disconnected
(it would arrive late and out of time), a refusal by the server reaches the request that
caused it at once instead of as a timeout, and a lost connection fails what waits on it.

Must not know what is sent: streams, entries and rights belong to others.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Literal

import nats.errors
from nats.aio.client import Client, Server
from nats.aio.msg import Msg

from consort_bus.access import who_may
from consort_bus.credentials import Credentials, Identity
from consort_bus.errors import (
    AccessDenied,
    BusError,
    BusUnreachable,
    BusUnsuitable,
    CredentialsRefused,
    NoAnswer,
    ServerUntrusted,
)
from consort_bus.tls import NotEncrypted, demands_tls, trust, why_hung_up, why_untrusted

__all__ = ["Bus", "Credentials", "Identity", "open_bus"]

OLDEST_SERVER = (2, 14)
"""First version with everything the streams need: schedules with time zones, consumer reset, fast checks."""
PING_SECONDS, PINGS_UNANSWERED = 4, 2
"""A silent server is given up at the third ping, so after 12 seconds at most."""
_LONGEST_PAUSE = 2.0
_LEAVE_WITHIN = 3.0
"""Seconds in which the clients of a server that is about to stop leave it, each at another moment."""
_CUT_OFF_TRIES = 5

log = logging.getLogger("consort.bus")
_violation = re.compile(r'permissions violation for (publish|subscription)[^"]*"([^"]+)"', re.IGNORECASE)


class _Connection(Client):
    """The library's client, but for its patience with the dead and its trust in what a server says of itself.

    Closing a connection, it waits until what was still to be written has been read. A frozen server
    reads nothing, so that would last until it thaws. And it encrypts only where the server asks for it,
    whatever the address says.
    """

    def _connect_command(self) -> bytes:
        """The first thing that a server is told, at every connect."""
        server, writer = self._current_server, getattr(self._transport, "_io_writer", None)
        demanded = server is not None and demands_tls(f"{server.uri.scheme}://")
        if demanded and (writer is None or writer.get_extra_info("ssl_object") is None):
            raise NotEncrypted
        return super()._connect_command()

    async def _process_op_err(self, e: Exception) -> None:
        writer = getattr(self._transport, "_io_writer", None)
        if isinstance(e, nats.errors.StaleConnectionError) and writer is not None:
            writer.transport.abort()
        await super()._process_op_err(e)


Callback = Callable[[], Awaitable[None]]
Alarm = Callable[[AccessDenied], None]


class Bus:
    """An open connection. Made by `open_bus`, and closed by it.

    `nc` is the client library's connection, for subscribing and for what is not covered here.
    """

    def __init__(self, identity: Identity, mac_key: bytes | None, url: str) -> None:
        self.nc: Client = _Connection()
        self.opened = False
        self.identity = identity
        self.mac_key = mac_key
        self.url = url
        self._reconnected: list[Callback] = []
        self._alarms: list[Alarm] = []
        self._waiting: dict[str, tuple[str, asyncio.Future[Msg]]] = {}
        self._reply_prefix = ""
        self._replies_counted = 0
        self._subscribing: asyncio.Lock = asyncio.Lock()
        self._closed = asyncio.Event()
        self._last_error: Exception | None = None
        self._leaving: asyncio.Task[None] | None = None

    def on_reconnect(self, callback: Callback) -> None:
        """Called after each reconnect, subscriptions restored. Whatever was watched must be read again."""
        self._reconnected.append(callback)

    def on_refusal(self, alarm: Alarm) -> None:
        """Called for each refusal that no call of `request` waited for; without an alarm it is logged."""
        self._alarms.append(alarm)

    def new_inbox(self) -> str:
        """A subject for replies that only this identity may subscribe to."""
        return str(self.nc.new_inbox())

    @property
    def max_payload(self) -> int:
        """Bytes of body and headers that one message may have."""
        return int(self.nc.max_payload)

    @property
    def greeting(self) -> Mapping[str, Any]:
        """What the server says of itself to whoever connects; empty before it did."""
        return self.nc._server_info  # the library has no public way to it

    @property
    def connected(self) -> bool:
        return bool(self.nc.is_connected)

    @property
    def reconnects(self) -> int:
        """How often the connection was lost and found again."""
        return int(self.nc.stats["reconnects"])

    async def wait_closed(self) -> BusError:
        """Waits until the connection is closed for good, and says why: the process should end then."""
        await self._closed.wait()
        why = str(self._last_error or "closed").lower()
        if _refuses(why):
            gone = "the credentials have expired or were revoked"
            return CredentialsRefused(str(self.identity), self.url, gone)
        return BusUnreachable(self.url, why)

    async def publish(
        self, subject: str, data: bytes = b"", *, headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Sends without waiting for anything. Raises NoAnswer while disconnected: nothing is buffered."""
        try:
            await self.nc.publish(subject, data, reply=reply, headers=dict(headers) if headers else None)
        except (nats.errors.OutboundBufferLimitError, nats.errors.ConnectionClosedError) as exc:
            raise NoAnswer(subject, "disconnected") from exc

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 2.0,
    ) -> Msg:
        """Sends and waits `timeout` seconds for one reply.

        Raises AccessDenied as soon as the server refuses the subject, NoAnswer otherwise:
        unless its reason is "no responders", the request may have been carried out. Not for pulling:
        a stored message arrives under its own subject, so it would not be known for the reply.
        """
        if self.nc.is_closed:
            raise NoAnswer(subject, "disconnected")
        if not self._reply_prefix:
            await self._await_replies()
        self._replies_counted += 1
        token = str(self._replies_counted)
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = (subject, future)
        try:
            await self.publish(subject, data, headers=headers, reply=self._reply_prefix + token)
            async with asyncio.timeout(timeout):
                msg = await future
        except TimeoutError:
            raise NoAnswer(subject, "timeout") from None
        finally:
            del self._waiting[token]
        if not msg.data and msg.headers and msg.headers.get("Status") == "503":
            raise NoAnswer(subject, "no responders")
        return msg

    async def barrier(self, timeout: float = 2.0) -> None:
        """Waits until the server has read everything sent so far, subscriptions included.

        The library's `flush` alone is no barrier: its ping overtakes what is still queued.
        """
        await asyncio.sleep(0)
        try:
            await self.nc.flush(timeout=timeout)  # type: ignore[arg-type] # seconds, fractions allowed
        except (nats.errors.Error, TimeoutError) as exc:
            raise NoAnswer("ping", "timeout" if self.connected else "disconnected") from exc

    async def _await_replies(self) -> None:
        async with self._subscribing:
            if not self._reply_prefix:
                prefix = self.new_inbox() + "."
                await self.nc.subscribe(
                    prefix + "*", cb=self._replied, pending_bytes_limit=-1, pending_msgs_limit=-1
                )
                self._reply_prefix = prefix

    async def _replied(self, msg: Msg) -> None:
        waiting = self._waiting.get(msg.subject.rpartition(".")[2])
        if waiting and not waiting[1].done():
            waiting[1].set_result(msg)

    async def _when_reconnected(self) -> None:
        log.info("%s reconnected to %s", self.identity, self.url)
        for callback in self._reconnected:
            try:
                await callback()
            except Exception:
                log.exception("after reconnecting to %s", self.url)

    async def _when_disconnected(self) -> None:
        for subject, future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(NoAnswer(subject, "disconnected"))

    async def _when_lame_duck(self) -> None:
        """The server stops soon. Called by the reader of the connection, which must not be kept waiting."""
        if self._leaving is None or self._leaving.done():
            self._leaving = asyncio.create_task(self._leave())

    async def _leave(self) -> None:
        connections = self.nc.stats["reconnects"]
        await asyncio.sleep(random.uniform(0, _LEAVE_WITHIN))  # noqa: S311
        if self.nc.stats["reconnects"] == connections and len(self.nc.servers) > 1:
            log.info("%s leaves %s, which is about to stop", self.identity, self.nc.connected_url)
            await self.nc.force_reconnect()

    def _next_server(self, servers: list[Server], _info: dict[str, Any]) -> tuple[Server | None, float]:
        """The server that failed least, if possible another than the last, after a pause that is never the same."""
        fewest = min(server.reconnects for server in servers)
        best = [server for server in servers if server.reconnects == fewest]
        last = self.nc._current_server  # the library has no public way to it while disconnected
        others = [server for server in best if last is None or server.uri.netloc != last.uri.netloc]
        pause = min(_LONGEST_PAUSE, 0.05 * 2 ** min(fewest, 10))
        return random.choice(others or best), pause * random.uniform(0.5, 1.5)  # noqa: S311

    async def _when_closed(self) -> None:
        await self._when_disconnected()
        self._last_error = self.nc.last_error or self._last_error
        if self.opened:
            self._closed.set()

    async def _when_error(self, error: Exception) -> None:
        self._last_error = error
        found = _violation.search(str(error))
        if found is None:
            log.info("%s at %s: %s", self.identity, self.url, error or type(error).__name__)
            return
        self._refused("publish to" if found[1].lower() == "publish" else "subscribe to", found[2])

    def _refused(self, action: Literal["publish to", "subscribe to"], subject: str) -> None:
        """The library hands the server's text over in lower case, so subjects are matched that way."""
        allowed = who_may("publish" if action == "publish to" else "subscribe", subject)
        waited = False
        for asked, future in list(self._waiting.values()):
            if action == "publish to" and asked.lower() == subject.lower() and not future.done():
                future.set_exception(AccessDenied(str(self.identity), action, asked, allowed))
                waited = True
        if waited:
            return
        denied = AccessDenied(str(self.identity), action, subject, allowed)
        log.log(logging.DEBUG if self._alarms else logging.WARNING, "%s", denied)
        for alarm in self._alarms:
            alarm(denied)


@asynccontextmanager
async def open_bus(
    url: str,
    credentials: Credentials,
    *,
    client_name: str = "",
    connect_timeout: float = 5.0,
    patience: float = 0.0,
) -> AsyncIterator[Bus]:
    """Connects, checks that the server can carry Consort, and closes at the end of the block.

    `url` may list several servers of one cluster, separated by commas. `connect_timeout` seconds
    are given to each server; `patience` is how many seconds to go on trying when none of them
    answers. `tls://` demands encryption, see `consort_bus.tls`. Raises BusUnreachable,
    CredentialsRefused, BusUnsuitable.
    """
    bus = Bus(credentials.identity, credentials.mac_key, url)
    options = _options(bus, credentials, client_name or str(credentials.identity), connect_timeout)
    await _connect(bus, credentials, options, connect_timeout, patience)
    try:
        await _check_server(bus)
        yield bus
    finally:
        if bus._leaving is not None:
            bus._leaving.cancel()
        if bus.connected:
            with suppress(NoAnswer):
                await bus.barrier(timeout=1.0)
        await bus.nc.close()


def _options(bus: Bus, credentials: Credentials, client_name: str, connect_timeout: float) -> dict[str, Any]:
    def sign(nonce: str) -> bytes:
        return base64.b64encode(credentials.sign(nonce.encode()))

    return {
        "servers": [server.strip() for server in bus.url.split(",")],
        "name": client_name,
        "inbox_prefix": credentials.identity.inbox_prefix,
        "user_jwt_cb": lambda: bytearray(credentials.jwt.encode()),
        "signature_cb": sign,
        "tls": trust(bus.url),
        "connect_timeout": connect_timeout,
        "ping_interval": PING_SECONDS,
        "max_outstanding_pings": PINGS_UNANSWERED,
        "max_reconnect_attempts": -1,
        "reconnect_to_server_handler": bus._next_server,
        "lame_duck_mode_cb": bus._when_lame_duck,
        "pending_size": -1,
        "disconnected_cb": bus._when_disconnected,
        "reconnected_cb": bus._when_reconnected,
        "closed_cb": bus._when_closed,
    }


async def _connect(
    bus: Bus, credentials: Credentials, options: dict[str, Any], connect_timeout: float, patience: float
) -> None:
    loop = asyncio.get_running_loop()
    give_up = loop.time() + patience
    cut_off = 0
    while True:
        failure = await _try_connect(bus, options, connect_timeout)
        if failure is None:
            return
        if isinstance(failure, ConnectionError) and bus.greeting and cut_off < _CUT_OFF_TRIES:
            cut_off += 1  # the reset that follows a refusal may overtake its reason
            continue
        error = why_untrusted(bus.url, failure) or _why_unreachable(bus, credentials, failure)
        if isinstance(error, CredentialsRefused | ServerUntrusted) or loop.time() >= give_up:
            raise error from failure
        await asyncio.sleep(random.uniform(0.1, 0.3))  # noqa: S311


async def _try_connect(bus: Bus, options: dict[str, Any], connect_timeout: float) -> Exception | None:
    """Tries every server once; what went wrong last, if all failed.

    A library told to reconnect for ever also tries the first connect for ever, so its failures
    are counted here and the attempt is given up from outside.
    """
    servers = len(options["servers"])
    failures: list[Exception] = []
    all_failed = asyncio.Event()

    async def on_error(error: Exception) -> None:
        if bus.opened:
            await bus._when_error(error)
            return
        failures.append(error)
        if len(failures) >= servers:
            all_failed.set()

    bus.nc = _Connection()
    attempt = asyncio.create_task(bus.nc.connect(**options, error_cb=on_error))
    failed = asyncio.create_task(all_failed.wait())
    try:
        await asyncio.wait(
            {attempt, failed}, timeout=connect_timeout * servers, return_when=asyncio.FIRST_COMPLETED
        )
        if attempt.done():
            attempt.result()
            if not bus.connected:  # the library takes a connection that was closed on it for an open one
                raise ConnectionResetError("the server closed the connection")
            bus.opened = True
            return None
    except (nats.errors.Error, OSError, ValueError) as exc:
        failures.append(exc)
    finally:
        attempt.cancel()
        failed.cancel()
        await asyncio.gather(attempt, failed, return_exceptions=True)
        if not bus.opened:
            await bus.nc.close()
    return failures[-1] if failures else TimeoutError()


def _refuses(said: str) -> bool:
    """Whether the server's words, in lower case, are about who asks; that it waited too long for them is not."""
    return "authorization" in said or ("authentication" in said and "timeout" not in said)


def _why_unreachable(bus: Bus, credentials: Credentials, cause: Exception) -> BusError:
    said = str(cause).lower()
    hung_up = isinstance(cause, ConnectionError) and bool(bus.greeting)
    if hung_up and (untrusted := why_hung_up(bus.url, bus.greeting)) is not None:
        return untrusted
    expires = credentials.expires
    expired = expires is not None and expires <= datetime.now(UTC)
    if _refuses(said) or (hung_up and expired):
        if expires is not None and expired:
            why = f"the credentials expired at {expires:%Y-%m-%d %H:%M:%S} UTC; have new ones issued"
        else:
            why = "it does not know the credentials; they were revoked, or issued for another installation"
        return CredentialsRefused(str(bus.identity), bus.url, why)
    if hung_up:
        why = "it greets and then hangs up, most likely because it does not know the credentials"
        return CredentialsRefused(str(bus.identity), bus.url, why)
    if isinstance(cause, TimeoutError):
        return BusUnreachable(bus.url, "nothing answers in time")
    if isinstance(cause, ConnectionRefusedError) or "connect call failed" in said:
        return BusUnreachable(bus.url, "nothing listens there")
    return BusUnreachable(bus.url, str(cause) or type(cause).__name__)


async def _check_server(bus: Bus) -> None:
    version = bus.nc.connected_server_version
    if (version.major, version.minor) < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        found = f"{version.major}.{version.minor}.{version.patch}"
        raise BusUnsuitable(f"the server at {bus.url} is version {found}", f"Consort needs {oldest} or newer")
    if not bus.greeting.get("jetstream", False):
        what = f"the server at {bus.url} runs without JetStream"
        raise BusUnsuitable(what, "switch it on in the server's configuration")
