"""Shared limits on the bus: one value a key, changed by compare-and-set.

    state = await rates.read(key)
    state, answer = await rates.change(key, state, decide)

`decide` is pure and may be called again with a newer state. Decides nothing itself; what a
state means is `consort_shared.rates`' business. What lies under a key and is no state, or
was an answer of the server, is nobody's word: the last state that was believed is put in its
place with the next change.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from pydantic import TypeAdapter

from consort_bus import subjects
from consort_bus.buckets import Bucket, Value
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE
from consort_bus.errors import BusError, NoAnswer
from consort_bus.listen import Heard, listening
from consort_bus.publish import Publisher, WrongLastSequence
from consort_bus.subjects import RateSubject
from consort_bus.wire import NotSent, Wire
from consort_shared.codec import MSGPACK, decode, encode
from consort_shared.errors import DecodeError
from consort_shared.rates import Rate

__all__ = ["Contended", "Known", "Rates"]

T = TypeVar("T")
WITHIN = 2.0
"""Seconds that one write is waited for."""
TRIES_FOR = 5.0
"""Seconds for which a change is tried while others write."""
PAUSES = (0.002, 0.02)
"""Seconds before another try: the shortest, and by how much the longest grows with each."""

_rate: TypeAdapter[Rate] = TypeAdapter(Rate)


class Contended(BusError):
    """A key was written by others so often that a change found no place in time."""

    def __init__(self, key: str, tries: int) -> None:
        super().__init__(
            f"the limits of {key} could not be changed in {tries} tries: others write all the time"
        )
        self.key = key
        self.tries = tries


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a key, and the revision that it is from: 0 where there was none."""

    rate: Rate
    revision: int


class Rates:
    """The bucket, as whoever may write it sees it."""

    def __init__(self, wire: Wire, publisher: Publisher) -> None:
        self._bucket = Bucket(wire, publisher, subjects.RATES)

    async def read(self, key: str, before: Known | None = None) -> Known:
        """The state now, perhaps a moment old; `before` is what is believed if there is no state. Raises BusError."""
        value = await self._bucket.newest(str(RateSubject(key)))
        if value is None:
            return Known(Rate(), 0)
        found = _believed(value)
        if found is None:
            found = Rate() if before is None or value.deleted else before.rate
        return Known(found, value.revision)

    async def all(self) -> dict[str, Rate]:
        """Every key that has a state. Raises BusError."""
        found = {}
        for value in await self._bucket.entries(subjects.RATES_FILTER):
            where, rate = RateSubject.parse(value.subject), _believed(value)
            if where is not None and rate is not None:
                found[where.key] = rate
        return dict(sorted(found.items()))

    async def delete(self, key: str) -> None:
        """Forget a key. Raises BusError."""
        await self._bucket.delete(str(RateSubject(key)))

    async def change(
        self, key: str, known: Known, decide: Callable[[Rate], tuple[Rate, T]], *, within: float = WITHIN
    ) -> tuple[Known, T]:
        """Decide and store, again with the newest state as often as somebody else was first.

        Nothing is written when `decide` gives the state that it was given. A write whose answer was lost is
        known again by its name; one that others wrote over meanwhile is decided anew. `within` is how many seconds
        one write is waited for. Raises Contended, BusError.
        """
        loop = asyncio.get_running_loop()
        until, tries = loop.time() + TRIES_FOR, 0
        sent: dict[str, T] = {}
        while True:
            if known.rate.write in sent:
                return known, sent[known.rate.write]
            rate, result = decide(known.rate)
            if rate is known.rate:
                return known, result
            name = secrets.token_hex(6)
            rate = rate.model_copy(update={"write": name})
            try:
                revision = await self._put(key, rate, known.revision, within)
                return Known(rate, revision), result
            except WrongLastSequence as exc:
                least = exc.actual or known.revision + 1
            except NoAnswer as exc:
                if exc.reason == "no responders" or isinstance(exc, NotSent):
                    raise
                least, sent[name] = 0, result
            tries += 1
            if loop.time() >= until:
                raise Contended(key, tries)
            known = await self._newer(key, known, least, tries, until)

    async def _put(self, key: str, rate: Rate, revision: int, within: float) -> int:
        return await self._bucket.put(
            str(RateSubject(key)),
            encode(rate),
            headers={CONTENT_TYPE: MSGPACK},
            expected_revision=revision,
            timeout=within,
        )

    async def _newer(self, key: str, known: Known, least: int, tries: int, until: float) -> Known:
        """A state of at least a revision: what answers first may be a replica that lags behind."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(random.uniform(0, PAUSES[0] + PAUSES[1] * min(tries - 1, 5)))  # noqa: S311
            found = await self.read(key, known)
            if found.revision >= least:
                return found
            if loop.time() >= until:
                raise Contended(key, tries)

    @staticmethod
    @asynccontextmanager
    async def hearing(bus: Bus, key: str, heard: Callable[[Rate], Awaitable[None]]) -> AsyncIterator[None]:
        """Hear of changes while the block lasts: hints, since what comes by may have been refused by the stream."""

        async def came(message: Heard) -> None:
            rate = _decoded(message.data, message.headers.get(CONTENT_TYPE))
            if rate is not None:
                await heard(rate)

        async with listening(bus, str(RateSubject(key)), came):
            yield


def _believed(value: Value) -> Rate | None:
    if value.deleted or value.forwarded:
        return None
    return _decoded(value.data, value.headers.get(CONTENT_TYPE))


def _decoded(data: bytes, content_type: str | None) -> Rate | None:
    try:
        return decode(_rate, data, content_type)
    except DecodeError:
        return None
