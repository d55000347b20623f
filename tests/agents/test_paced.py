"""Pacing by way of a real bus: several processes' worth of connections behind one key."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from consort_agents.models.port import SeenLimits
from consort_agents.paced import BusPacing, pacing_of
from consort_agents.pacing import Pacing, PacingLate
from consort_bus import embedded, subjects, topology
from consort_bus.buckets import Bucket
from consort_bus.connection import Bus, open_bus
from consort_bus.envelope import CONTENT_TYPE
from consort_bus.publish import Publisher
from consort_bus.rates import Known, Rates
from consort_bus.subjects import RateSubject
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, encode
from consort_shared.rates import Limits, Rate, turns

OpenAs = Callable[[str, str], AbstractAsyncContextManager[Bus]]
LIMIT = 20.0


@pytest.fixture
def key() -> str:
    return f"k-{secrets.token_hex(4)}"


@pytest.fixture
async def made(open_as: OpenAs) -> AsyncIterator[Callable[[str], Awaitable[BusPacing]]]:
    """Makes the pacing of one more process, over a connection of its own."""
    async with AsyncExitStack() as stack:

        async def make(name: str) -> BusPacing:
            bus = await stack.enter_async_context(open_as("agent", name))
            wire = await stack.enter_async_context(Wire(bus.nc, bus))
            return await stack.enter_async_context(
                pacing_of(bus, wire, Publisher(wire), time.time, claimant=name)
            )

        yield make


@pytest.fixture
async def rates(open_as: OpenAs) -> AsyncIterator[Rates]:
    async with open_as("operator", "olga") as bus, Wire(bus.nc, bus) as wire:
        yield Rates(wire, Publisher(wire))


async def configured(rates: Rates, key: str, limits: Limits) -> None:
    await rates.change(key, Known(Rate(), 0), lambda rate: (rate.model_copy(update={"limits": limits}), None))


@asynccontextmanager
async def one(pacing: Pacing, key: str, run: str = "r", seconds: float = LIMIT) -> AsyncIterator[float]:
    async with pacing.permit(key, run=run, tokens=10, deadline=time.time() + seconds) as permit:
        yield permit.waited
        permit.answered(10)


async def until(holds: Callable[[], Awaitable[bool]], limit: float = LIMIT) -> None:
    async with asyncio.timeout(limit):
        while not await holds():
            await asyncio.sleep(0.02)


async def test_a_key_without_limits_costs_no_word_on_the_bus(
    made: Callable[[str], Awaitable[BusPacing]], rates: Rates, key: str
) -> None:
    pacing = await made("a1")
    for _ in range(200):
        async with one(pacing, key) as waited:
            assert waited < 1
    assert (await rates.read(key)).revision == 0


async def test_an_empty_key_waits_for_nothing(made: Callable[[str], Awaitable[BusPacing]]) -> None:
    async with one(await made("a1"), "") as waited:
        assert waited == 0
    with pytest.raises(ValueError, match="lower-case"):
        async with one(await made("a2"), "Not A Key"):
            pass


@pytest.mark.slow
async def test_processes_share_a_limit_of_requests(
    made: Callable[[str], Awaitable[BusPacing]], rates: Rates, key: str
) -> None:
    """C13: limits shared by all processes, fair between runs."""
    await configured(rates, key, Limits(requests_per_minute=1200))
    went: list[tuple[float, str]] = []
    end = time.time() + 4

    async def caller(pacing: BusPacing, run: str) -> None:
        while time.time() < end:
            async with one(pacing, key, run):
                went.append((time.time(), run))

    async with asyncio.TaskGroup() as group:
        for n in range(4):
            pacing = await made(f"a{n}")
            for _ in range(4):
                group.create_task(caller(pacing, "many" if n else "one"))
    at = [time for time, _ in went]
    rate = (len(at) - 1) / (at[-1] - at[0]) * 60
    assert rate <= 1200 * 1.25, "a burst of one second is allowed, once"
    assert rate >= 1200 * 0.5, "how much of it is used is measured by `make limits`"
    ones = sum(run == "one" for _, run in went)
    assert 0.35 < ones / len(went) < 0.65


async def test_a_refusal_makes_everybody_wait_once(
    made: Callable[[str], Awaitable[BusPacing]], rates: Rates, key: str
) -> None:
    """C13: 429 slows everyone once."""
    first, second = await made("a1"), await made("a2")
    async with one(first, key), one(second, key):
        pass
    async with first.permit(key, run="r", tokens=1, deadline=time.time() + LIMIT) as permit:
        permit.limited(1.0)
    began = time.time()
    await until(lambda: _blocked(rates, key))

    async def waits(pacing: BusPacing) -> float:
        async with one(pacing, key) as waited:
            return waited

    await until(lambda: _heard(second, key))
    assert min(await asyncio.gather(waits(first), waits(second))) > 0.5
    assert time.time() - began < 5
    assert (await rates.read(key)).rate.refusals == 1


async def _heard(pacing: BusPacing, key: str) -> bool:
    """Whether a process knows of a refusal, from the bus's hint or from what it read."""
    line = pacing._lines[key]
    told = [line._hint, line._known.rate if line._known else None]
    return any(rate is not None and rate.blocked_until > time.time() for rate in told)


async def _blocked(rates: Rates, key: str) -> bool:
    return (await rates.read(key)).rate.blocked_until > time.time()


async def test_a_call_that_cannot_come_to_its_turn_in_time_is_told_at_once(
    made: Callable[[str], Awaitable[BusPacing]], key: str
) -> None:
    pacing = await made("a1")
    async with pacing.permit(key, run="r", tokens=1, deadline=time.time() + LIMIT) as permit:
        permit.limited(30.0)
    began = time.time()
    with pytest.raises(PacingLate, match="after a refusal"):
        async with one(pacing, key, seconds=10):
            pass
    assert time.time() - began < 5


async def test_the_providers_own_word_on_its_limits_is_kept(
    made: Callable[[str], Awaitable[BusPacing]], rates: Rates, key: str
) -> None:
    pacing = await made("a1")
    async with pacing.permit(key, run="r", tokens=1, deadline=time.time() + LIMIT) as permit:
        permit.answered(1, SeenLimits(requests_per_minute=60, requests_left=59))
    assert (await rates.read(key)).revision == 0
    async with pacing.permit(key, run="r", tokens=1, deadline=time.time() + LIMIT) as permit:
        permit.answered(1, SeenLimits(requests_per_minute=60, requests_left=20))

    async def learned() -> bool:
        found = (await rates.read(key)).rate.learned
        return found is not None and found.requests_per_minute == 60

    await until(learned)


async def test_trouble_opens_the_breaker_for_all_and_one_answer_closes_it(
    made: Callable[[str], Awaitable[BusPacing]], rates: Rates, key: str
) -> None:
    """S101: an outage of a third party is contained."""
    first, second = await made("a1"), await made("a2")
    for pacing in (first, second, first, second, first):
        async with pacing.permit(key, run="r", tokens=1, deadline=time.time() + LIMIT) as permit:
            permit.troubled()

    async def is_open() -> bool:
        return (await rates.read(key)).rate.breaker.openings == 1

    await until(is_open)
    opened = (await rates.read(key)).rate
    with pytest.raises(PacingLate, match="breaker"):
        async with one(second, key, seconds=1):
            pass
    early = opened.breaker.model_copy(update={"open_until": time.time() + 0.1})
    await rates.change(
        key, await rates.read(key), lambda rate: (rate.model_copy(update={"breaker": early}), None)
    )
    async with one(second, key):
        pass

    async def is_closed() -> bool:
        return not await is_open()

    await until(is_closed)
    async with one(first, key):
        pass


@pytest.mark.slow
async def test_slots_of_a_process_that_vanishes_are_free_again(
    made: Callable[[str], Awaitable[BusPacing]],
    open_as: OpenAs,
    rates: Rates,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "HELD_FOR", 4.0)
    monkeypatch.setattr(turns, "HELD_RENEWED", 2.0)
    await configured(rates, key, Limits(concurrent=1))
    survivor = await made("a1")
    async with open_as("agent", "a2") as bus, Wire(bus.nc, bus) as wire:
        doomed = BusPacing(bus, Rates(wire, Publisher(wire)), time.time, "doomed")
        call = doomed.permit(key, run="r", tokens=1, deadline=time.time() + LIMIT)
        await call.__aenter__()
        assert (await rates.read(key)).rate.held["doomed"].count == 1
        for line in doomed._serving.values():
            line.cancel()
    async with one(survivor, key, seconds=30) as waited:
        assert waited > 1
    assert set((await rates.read(key)).rate.held) <= {"a1"}
    await call.__aexit__(None, None, None)


async def test_what_is_no_state_is_nobodys_word_and_is_mended(
    made: Callable[[str], Awaitable[BusPacing]], open_as: OpenAs, rates: Rates, key: str
) -> None:
    pacing = await made("a1")
    await configured(rates, key, Limits(requests_per_minute=600))
    async with one(pacing, key):
        pass
    async with open_as("agent", "mallory") as bus, Wire(bus.nc, bus) as wire:
        bucket = Bucket(wire, Publisher(wire), subjects.RATES)
        await bucket.put(str(RateSubject(key)), b"\x81\xa4kind\xa4rage", headers={CONTENT_TYPE: MSGPACK})
        forged = encode(Rate(blocked_until=time.time() + 1000))
        await bucket.put(str(RateSubject(key)), forged, headers={CONTENT_TYPE: MSGPACK, "Nats-Stream": "LOG"})
    async with one(pacing, key):
        pass
    assert (await rates.read(key)).rate.limits.requests_per_minute == 600


@pytest.mark.slow
async def test_without_the_bus_a_process_keeps_to_what_it_knows(tmp_path: Path, key: str) -> None:
    """S101: the pacing never stops work by being away itself."""
    server = embedded.start(tmp_path / "bus")
    try:
        async with open_bus(
            server.url, embedded.credentials_for(server.folder, "provisioner", "setup")
        ) as bus:
            await topology.ensure(bus)
        creds = embedded.credentials_for(server.folder, "agent", "a1")
        async with open_bus(server.url, creds) as bus, Wire(bus.nc, bus) as wire:
            rates = Rates(wire, Publisher(wire))
            async with pacing_of(bus, wire, Publisher(wire), time.time) as pacing:
                async with (
                    open_bus(server.url, embedded.credentials_for(server.folder, "operator", "o")) as other,
                    Wire(other.nc, other) as operator,
                ):
                    await configured(
                        Rates(operator, Publisher(operator)), key, Limits(requests_per_minute=120)
                    )
                async with one(pacing, key):
                    pass
                embedded.stop(server.folder)
                began = time.time()
                for _ in range(5):
                    async with one(pacing, key):
                        pass
                assert 1.0 < time.time() - began < 12
                embedded.start(server.folder)

                async def shared_again() -> bool:
                    async with one(pacing, key):
                        return pacing._lines[key]._alone is None

                await until(shared_again)
                assert (await rates.read(key)).rate.limits.requests_per_minute == 120
    finally:
        embedded.stop(server.folder)
