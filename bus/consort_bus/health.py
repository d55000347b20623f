"""How the bus is: the server, its clock, streams, consumers and limits, as it tells an operator.

Looks and changes nothing, creates no consumer, and judges nothing either: what is well
and what is not is decided by whoever asked. What could not be looked at, because the
identity may not or nobody answered, is listed with the reason instead of being an error:
an examination that stops at the first thing that is broken is of no use.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from consort_bus import jetstream, subjects, topology
from consort_bus.clock import ServerClock
from consort_bus.connection import Bus
from consort_bus.errors import AccessDenied, BusError, BusUnsuitable, NoAnswer
from consort_bus.reading import read
from consort_bus.wire import Wire

__all__ = [
    "BusHealth",
    "Clock",
    "ConsumerHealth",
    "Examination",
    "Replica",
    "StreamHealth",
    "Unseen",
    "Usage",
    "consumers_of",
    "oldest_pending",
    "subjects_of",
]

T = TypeVar("T")
TIMEOUT, ASK_AGAIN = 5.0, 1.0
"""Seconds: a question to a cluster is lost if there was no leader to hear it, so it is asked again."""
CLOCK_SAMPLES = 3
LOOK_AGAIN = 1.0
"""Seconds after which a part of the inbox that nobody asked for is looked at again before it is believed."""
_NOT_FOUND = 10059


@dataclass(frozen=True, slots=True)
class Unseen:
    """Something that could not be looked at; `denied` when the identity has no right to."""

    what: str
    why: str
    denied: bool = False


@dataclass(frozen=True, slots=True)
class Replica:
    """A further copy of a stream; `lag` in messages."""

    name: str
    current: bool
    offline: bool
    lag: int


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """A stream that is there. Limits are -1 where there is none; `oldest` is when its first message was stored."""

    name: str
    messages: int
    bytes: int
    max_messages: int
    max_bytes: int
    oldest: datetime | None
    copies: int
    leader: str
    replicas: tuple[Replica, ...]
    max_age: float = 0.0
    """seconds for which it keeps what is on it, 0 for ever"""


@dataclass(frozen=True, slots=True)
class ConsumerHealth:
    """A consumer that is there. `pulls`: requests for messages that wait at it, so somebody is at work."""

    stream: str
    name: str
    filters: tuple[str, ...]
    pending: int
    in_hand: int
    max_in_hand: int
    redelivered: int
    pulls: int
    created: datetime | None
    active: datetime | None
    """when it last delivered something"""
    delivered: int
    """sequence in the stream up to which it has delivered"""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the account holds, in bytes, and may hold; -1 for no limit of its own."""

    storage: int
    max_storage: int
    streams: int
    max_streams: int
    consumers: int
    max_consumers: int


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds by which this machine's clock is ahead of the bus's, give or take `uncertainty`; the bus's time."""

    skew: float
    uncertainty: float
    now: float


@dataclass(frozen=True, slots=True)
class BusHealth:
    """Everything that was seen. `streams` has None for one that does not exist, and no key for one unseen."""

    server: str
    version: str
    cluster: str
    round_trip: float
    """seconds"""
    clock: Clock | None
    usage: Usage | None
    streams: Mapping[str, StreamHealth | None]
    consumers: tuple[ConsumerHealth, ...]
    differences: tuple[topology.Finding, ...]
    unseen: tuple[Unseen, ...]

    def there(self, stream: str) -> bool:
        """Whether a stream exists and could be seen."""
        return self.streams.get(stream) is not None


class Examination:
    """Looks at one bus. What could not be seen is collected in `unseen`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.unseen: list[Unseen] = []

    async def bus(self) -> BusHealth:
        """The whole bus. Never raises BusError: what goes wrong is among the unseen."""
        bus, loop = self._bus, asyncio.get_running_loop()
        asked = loop.time()
        await self.part("the round trip", bus.barrier(), None)
        round_trip = loop.time() - asked
        usage = await self.part("the account", self._usage(), None)
        infos = await asyncio.gather(*map(self._stream, subjects.STREAMS))
        streams = {name: seen for name, seen in zip(subjects.STREAMS, infos, strict=True) if seen is not None}
        log = streams.get(subjects.LOG)
        clock = None
        if log is not None and log.health is not None:
            clock = await self.part("the clock", self._clock(), None)
        consumers: list[ConsumerHealth] = []
        for name, found in streams.items():
            if found.health is not None:
                consumers += await self.part(f"consumers of {name}", consumers_of(bus, name), [])
        differences = await self.part("the topology", topology.check(bus, patience=TIMEOUT), [])
        greeting = bus.greeting
        return BusHealth(
            server=str(greeting.get("server_name", "")),
            version=str(greeting.get("version", "")),
            cluster=str(greeting.get("cluster", "")),
            round_trip=round_trip,
            clock=clock,
            usage=usage,
            streams={name: found.health for name, found in streams.items()},
            consumers=tuple(await self._sure_of_shards(consumers)),
            differences=tuple(differences),
            unseen=tuple(self.unseen),
        )

    async def part(self, what: str, work: Awaitable[T], otherwise: T) -> T:
        """One part of the examination; `otherwise` when it could not be had, with the reason noted."""
        try:
            return await work
        except AccessDenied as exc:
            self.unseen.append(Unseen(what, str(exc), denied=True))
        except BusError as exc:
            self.unseen.append(Unseen(what, str(exc)))
        return otherwise

    async def _clock(self) -> Clock:
        clock = ServerClock(self._bus)
        for _ in range(CLOCK_SAMPLES):
            await clock.measure(ASK_AGAIN)
        return Clock(clock.skew, clock.uncertainty, clock.now())

    async def _usage(self) -> Usage:
        answer = await ask(self._bus, jetstream.ACCOUNT_INFO)
        if (error := answer.get("error")) is not None:
            raise BusUnsuitable(
                f"the server says of the account: {error.get('description')}", "allow it JetStream"
            )
        limits = answer.get("limits", {})
        return Usage(
            answer.get("storage", 0),
            limits.get("max_storage", -1),
            answer.get("streams", 0),
            limits.get("max_streams", -1),
            answer.get("consumers", 0),
            limits.get("max_consumers", -1),
        )

    async def _stream(self, name: str) -> _Seen | None:
        return await self.part(f"stream {name}", self._stream_info(name), None)

    async def _stream_info(self, name: str) -> _Seen:
        answer = await ask(self._bus, jetstream.stream_info(name))
        error = answer.get("error")
        if error is None:
            return _Seen(_stream_of(name, answer))
        if error.get("err_code") == _NOT_FOUND:
            return _Seen(None)
        now = error.get("err_code") in topology.NOT_NOW
        mend = "most of the servers must run; wait for a leader" if now else topology.MEND
        raise BusUnsuitable(f"the server says of stream {name}: {error.get('description')}", mend)

    async def _sure_of_shards(self, consumers: list[ConsumerHealth]) -> list[ConsumerHealth]:
        """Between two requests of an orchestrator there is none for a moment: such parts are looked at twice."""
        inbox = [one for one in consumers if one.stream == subjects.INBOX]
        if all(one.pulls for one in inbox) or not any(one.pulls for one in inbox):
            return consumers
        await asyncio.sleep(LOOK_AGAIN)
        again = await self.part("consumers of INBOX", consumers_of(self._bus, subjects.INBOX), inbox)
        return [one for one in consumers if one.stream != subjects.INBOX] + again


@dataclass(frozen=True, slots=True)
class _Seen:
    """A stream that was asked for; without health it does not exist."""

    health: StreamHealth | None


async def ask(bus: Bus, subject: str, body: bytes = b"") -> dict[str, Any]:
    """One question to JetStream. Raises AccessDenied, NoAnswer, BusUnsuitable."""
    loop = asyncio.get_running_loop()
    until = loop.time() + TIMEOUT
    while True:
        try:
            answer: dict[str, Any] = json.loads((await bus.request(subject, body, timeout=ASK_AGAIN)).data)
            return answer
        except NoAnswer as exc:
            if exc.reason == "no responders":
                what = f"JetStream at {bus.url} does not answer"
                raise BusUnsuitable(what, "switch it on, or wait for a leader") from exc
            if loop.time() >= until or bus.nc.is_closed:
                raise


async def consumers_of(bus: Bus, stream: str) -> list[ConsumerHealth]:
    """The consumers of a stream. Raises as `ask`."""
    found: list[ConsumerHealth] = []
    while True:
        body = json.dumps({"offset": len(found)}).encode()
        answer = await ask(bus, jetstream.consumer_list(stream), body)
        page = [_consumer_of(stream, one) for one in answer.get("consumers") or ()]
        found += page
        if not page or len(found) >= answer.get("total", 0):
            return found


async def subjects_of(bus: Bus, stream: str, subject_filter: str) -> dict[str, int]:
    """The subjects of a stream below a filter, each with its number of messages. Raises as `ask`."""
    found: dict[str, int] = {}
    offset = 0
    while True:
        body = json.dumps({"subjects_filter": subject_filter, "offset": offset}).encode()
        answer = await ask(bus, jetstream.stream_info(stream), body)
        page = answer.get("state", {}).get("subjects") or {}
        found |= page
        offset += len(page)
        if not page or offset >= answer.get("total", 0):
            return found


async def oldest_pending(wire: Wire, consumer: ConsumerHealth) -> datetime | None:
    """When the first message that a consumer has not delivered yet was stored. Raises BusError."""
    times = []
    for subject_filter in consumer.filters:
        stored = read(
            wire, consumer.stream, subject_filter, consumer.delivered + 1, batch=1, patience=TIMEOUT
        )
        async with aclosing(stored):  # type: ignore[type-var] # an async generator, declared as an iterator
            async for message in stored:
                times.append(message.time)
                break
    return min(times, default=None)


def _stream_of(name: str, answer: Mapping[str, Any]) -> StreamHealth:
    config, state, cluster = answer["config"], answer["state"], answer.get("cluster") or {}
    return StreamHealth(
        name=name,
        messages=state.get("messages", 0),
        bytes=state.get("bytes", 0),
        max_messages=config.get("max_msgs", -1),
        max_bytes=config.get("max_bytes", -1),
        oldest=moment(state.get("first_ts")) if state.get("messages") else None,
        max_age=config.get("max_age", 0) / 1e9,
        copies=config.get("num_replicas", 1),
        leader=cluster.get("leader", ""),
        replicas=tuple(
            Replica(one["name"], bool(one.get("current")), bool(one.get("offline")), one.get("lag", 0))
            for one in cluster.get("replicas") or ()
        ),
    )


def _consumer_of(stream: str, info: Mapping[str, Any]) -> ConsumerHealth:
    config, delivered = info["config"], info.get("delivered") or {}
    filters = config.get("filter_subjects") or [config.get("filter_subject") or ">"]
    return ConsumerHealth(
        stream=stream,
        name=info["name"],
        filters=tuple(filters),
        pending=info.get("num_pending", 0),
        in_hand=info.get("num_ack_pending", 0),
        max_in_hand=config.get("max_ack_pending", -1),
        redelivered=info.get("num_redelivered", 0),
        pulls=info.get("num_waiting", 0),
        created=moment(info.get("created")),
        active=moment(delivered.get("last_active")),
        delivered=delivered.get("stream_seq", 0),
    )


def moment(text: str | None) -> datetime | None:
    """A time as the server writes it; None for its way of saying never."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text)
