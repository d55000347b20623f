"""Shared limits on a real bucket: no change is lost, a lost answer is resolved, strangers' words do not count."""

from __future__ import annotations

import asyncio

import pytest
from _nats_server import Server, add_stream, connect
from _proxy import Proxy

from consort_bus.publish import Publisher
from consort_bus.rates import Known, Rates
from consort_bus.subjects import RATES, RATES_FILTER, RateSubject
from consort_bus.wire import Wire
from consort_shared.rates import Limits, Rate

KEY = "k1"


def more(rate: Rate) -> tuple[Rate, int]:
    return rate.model_copy(update={"refusals": rate.refusals + 1}), rate.refusals + 1


@pytest.fixture
async def rates(wire: Wire) -> Rates:
    await add_stream(wire.nc, RATES, RATES_FILTER, max_msgs_per_subject=1, allow_msg_ttl=True)
    return Rates(wire, Publisher(wire))


async def test_changes_of_many_are_all_counted(rates: Rates) -> None:
    async def changes() -> list[int]:
        known, results = Known(Rate(), 0), []
        for _ in range(10):
            known, result = await rates.change(KEY, known, more)
            results.append(result)
        return results

    found = await asyncio.gather(*(changes() for _ in range(8)))
    assert sorted(n for results in found for n in results) == list(range(1, 81))
    assert (await rates.read(KEY)).rate.refusals == 80


async def test_nothing_is_written_where_nothing_changes(rates: Rates) -> None:
    known, _ = await rates.change(KEY, Known(Rate(), 0), lambda rate: (rate, None))
    assert known.revision == 0
    assert (await rates.read(KEY)).revision == 0


async def test_a_write_whose_answer_was_lost_is_known_again(server: Server, rates: Rates) -> None:
    async with Proxy(server.port) as proxy:
        nc, events = await connect(proxy.url)
        async with Wire(nc, events) as wire:
            there = Rates(wire, Publisher(wire))
            proxy.deaf = True
            changing = asyncio.create_task(there.change(KEY, Known(Rate(), 0), more, within=0.2))
            await proxy.swallowed.wait()
            async with asyncio.timeout(5):
                while (await rates.read(KEY)).revision == 0:
                    await asyncio.sleep(0.01)
            proxy.deaf = False
            async with asyncio.timeout(20):
                known, result = await changing
        await nc.close()
    assert (known.revision, result) == (1, 1)
    assert (await rates.read(KEY)).rate.refusals == 1


async def test_a_state_that_was_deleted_or_is_none_does_not_count(wire: Wire, rates: Rates) -> None:
    known, _ = await rates.change(KEY, Known(Rate(), 0), more)
    await wire.request(str(RateSubject(KEY)), b"nonsense")
    assert (await rates.read(KEY, known)).rate.refusals == 1
    assert (await rates.read(KEY)).rate == Rate()
    assert await rates.all() == {}
    known, _ = await rates.change(KEY, known, more)
    assert (await rates.all())[KEY].refusals == 2
    await rates.delete(KEY)
    found = await rates.read(KEY, known)
    assert found.rate == Rate()
    known, _ = await rates.change(
        KEY, found, lambda rate: (rate.model_copy(update={"limits": Limits(concurrent=1)}), None)
    )
    assert list(await rates.all()) == [KEY]
