"""Pulling goes on whatever happens to server, consumer or connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from _nats_server import Server, add_stream, connect
from nats.aio.client import Client

from consort_bus.errors import BusError, NoAnswer
from consort_bus.publish import Publisher
from consort_bus.pull import Delivery, Pull, PullRefused
from consort_bus.wire import Wire, consumer_of

GROUP = "g"


async def add_consumer(nc: Client, name: str, **config: Any) -> None:
    """By the server's own request: the library does not know all fields."""
    full = {
        "name": name,
        "durable_name": name,
        "ack_policy": "explicit",
        "ack_wait": 30_000_000_000,
        **config,
    }
    body = json.dumps({"stream_name": "S", "config": full, "action": "create"}).encode()
    answer = json.loads((await nc.request(f"$JS.API.CONSUMER.CREATE.S.{name}", body, timeout=5)).data)
    assert "error" not in answer, answer


async def consumer_info(nc: Client, name: str) -> dict[str, Any]:
    info: dict[str, Any] = json.loads((await nc.request(f"$JS.API.CONSUMER.INFO.S.{name}", timeout=5)).data)
    return info


async def fill(wire: Wire, count: int, start: int = 0) -> None:
    publisher = Publisher(wire)
    receipts = [
        await publisher.publish_nowait(f"s.{n % 7}", b"%d" % n, {"A": "b"})
        for n in range(start, start + count)
    ]
    await asyncio.gather(*receipts)


async def until(fact: Callable[[], bool], limit: float = 10.0) -> None:
    async with asyncio.timeout(limit):
        while not fact():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def pulling(pull: Pull) -> AsyncIterator[Pull]:
    task = asyncio.create_task(pull.run())
    await asyncio.sleep(0)
    try:
        yield pull
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, BusError):
            await task


class Taken:
    """Takes deliveries, acknowledges them unless told otherwise, and remembers their numbers."""

    def __init__(self, ack: bool = True) -> None:
        self.ack = ack
        self.deliveries: list[Delivery] = []

    def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        if self.ack:
            delivery.ack()

    @property
    def numbers(self) -> list[int]:
        return [int(delivery.data) for delivery in self.deliveries]

    def __len__(self) -> int:
        return len(self.deliveries)


@pytest.fixture
async def stream(wire: Wire) -> Wire:
    await add_stream(wire.nc, "S", "s.>")
    return wire


async def test_a_batch_flows_on_and_on(stream: Wire) -> None:
    await add_consumer(stream.nc, "c")
    await fill(stream, 500)
    taken = Taken()
    async with pulling(Pull(stream, "S", "c", taken, batch=16)):
        await until(lambda: len(taken) == 500)
        await fill(stream, 10, start=500)
        await until(lambda: len(taken) == 510)
    assert taken.numbers == list(range(510))


async def test_a_delivery_tells_of_itself_and_is_answered(stream: Wire) -> None:
    await add_consumer(stream.nc, "c")
    await fill(stream, 5)
    taken = Taken(ack=False)
    async with pulling(Pull(stream, "S", "c", taken, batch=10)):
        await until(lambda: len(taken) == 5)
        first = taken.deliveries[0]
        assert (first.subject, first.headers, first.forwarded) == ("s.0", {"A": "b"}, False)
        assert (first.delivered, first.seq, first.pending) == (1, 1, 4)
        await taken.deliveries[0].ack_sync()
        taken.deliveries[1].nak()
        taken.deliveries[2].nak(0.2)
        taken.deliveries[3].term("no\nsense")
        taken.deliveries[4].in_progress()
        await until(lambda: len(taken) == 7)
        assert taken.numbers[5:] == [1, 2]
        again = taken.deliveries[6]
        assert (again.delivered, again.seq) == (2, 3)
        assert again.time - first.time < again.time - again.time.replace(year=2000)
        for delivery in taken.deliveries[4:]:
            await delivery.ack_sync()
        info = await consumer_info(stream.nc, "c")
        assert (info["num_ack_pending"], info["num_pending"]) == (0, 0)


@pytest.mark.parametrize(
    ("reply", "consumer"),
    [
        ("$JS.ACK.S.c.2.30.4.1700000000000000000.5", ("S", "c")),
        ("$JS.ACK._.hash.S.c.2.30.4.1700000000000000000.5", ("S", "c")),
        ("$JS.ACK.hub.hash.S.c.2.30.4.1700000000000000000.5.x", ("S", "c")),
        ("elsewhere", ("", "")),
    ],
)
async def test_both_forms_of_acknowledgement_subjects(
    stream: Wire, reply: str, consumer: tuple[str, str]
) -> None:
    assert consumer_of(reply) == consumer
    if consumer[0]:
        msg = Client.msg_class(_client=stream.nc, subject="s.1", reply=reply, data=b"")
        delivery = Delivery(stream, msg)
        assert (delivery.delivered, delivery.seq, delivery.pending) == (2, 30, 5)
        assert delivery.time.timestamp() == 1_700_000_000


async def test_slots_are_never_exceeded_and_always_filled(stream: Wire) -> None:
    await add_consumer(stream.nc, "c", max_batch=3)
    await fill(stream, 60)
    in_hand: set[Delivery] = set()
    most, done = 0, 0

    def take(delivery: Delivery) -> None:
        nonlocal most
        in_hand.add(delivery)
        most = max(most, len(in_hand))
        asyncio.get_running_loop().call_later(0.002 * (delivery.seq % 3), finish, delivery)

    def finish(delivery: Delivery) -> None:
        nonlocal done
        in_hand.remove(delivery)
        done += 1
        delivery.ack()
        pull.release()

    pull = Pull(stream, "S", "c", take, slots=3)
    async with pulling(pull):
        await until(lambda: done == 60)
    assert (most, pull.held) == (3, 0)


async def test_one_too_many_is_given_back(stream: Wire) -> None:
    """After a restart of the pull, requests that were counted as lost may still be served."""
    await add_consumer(stream.nc, "c")
    taken = Taken(ack=False)
    pull = Pull(stream, "S", "c", taken, slots=2)
    async with pulling(pull):
        await wait_for_requests(stream.nc, 1)
        pull._restart()
        await wait_for_requests(stream.nc, 2)
        await fill(stream, 4)
        await until(lambda: len(taken) == 2)
        others = Taken(ack=False)
        nc, events = await connect(str(stream.nc.connected_url.geturl()))
        async with Wire(nc, events) as other, pulling(Pull(other, "S", "c", others, slots=2)):
            await until(lambda: len(others) == 2)
        await nc.close()
    assert pull.held == 2
    assert sorted(taken.numbers + others.numbers) == [0, 1, 2, 3]


async def wait_for_requests(nc: Client, count: int) -> None:
    async with asyncio.timeout(5):
        while (await consumer_info(nc, "c"))["num_waiting"] < count:
            await asyncio.sleep(0.01)


async def test_what_comes_after_the_end_or_in_a_pause_is_given_back(stream: Wire) -> None:
    await add_consumer(stream.nc, "c")
    first, second, third = Taken(), Taken(), Taken()
    async with pulling(Pull(stream, "S", "c", first, batch=5)):
        await wait_for_requests(stream.nc, 1)
    await fill(stream, 1)
    nc, events = await connect(str(stream.nc.connected_url.geturl()))
    async with Wire(nc, events) as other, pulling(Pull(other, "S", "c", second, batch=5)) as pull:
        await until(lambda: len(second) == 1)
        pull.pause()
        await fill(stream, 1, start=1)
        async with pulling(Pull(stream, "S", "c", third, slots=1)):
            await until(lambda: len(third) == 1)
        pull.resume()
        await fill(stream, 1, start=2)
        await until(lambda: len(second) == 2)
    await nc.close()
    assert (first.numbers, second.numbers, third.numbers) == ([], [0, 2], [1])


async def test_an_expired_request_is_made_again(stream: Wire) -> None:
    await add_consumer(stream.nc, "c")
    taken = Taken()
    async with pulling(Pull(stream, "S", "c", taken, slots=2, expires=0.2, heartbeat=0.1)) as pull:
        first = pull._asked
        await asyncio.sleep(0.5)
        assert (first, pull._asked) == (2, 2)
        await fill(stream, 2)
        await until(lambda: len(taken) == 2)


async def test_callback_errors_do_not_stop_it(stream: Wire) -> None:
    await add_consumer(stream.nc, "c")
    await fill(stream, 2)
    seen = []

    def take(delivery: Delivery) -> None:
        seen.append(delivery.data)
        raise ValueError("ours")

    async with pulling(Pull(stream, "S", "c", take, batch=1)):
        await until(lambda: len(seen) == 2)


async def test_a_deleted_consumer_is_reported_and_waited_for(stream: Wire) -> None:
    await add_consumer(stream.nc, "c")
    taken, missing = Taken(), []
    pull = Pull(stream, "S", "c", taken, batch=4, on_missing=lambda: missing.append(True))
    async with pulling(pull):
        await fill(stream, 1)
        await until(lambda: len(taken) == 1)
        await stream.nc.jetstream().delete_consumer("S", "c")
        await until(lambda: missing == [True])
        await until(lambda: pull._failures > 3)
        await add_consumer(stream.nc, "c", deliver_policy="new")
        await wait_for_requests(stream.nc, 1)
        await fill(stream, 1, start=1)
        await until(lambda: len(taken) == 2)
    assert missing == [True]
    assert taken.numbers == [0, 1]


async def test_a_consumer_with_other_limits_refuses_for_good(stream: Wire) -> None:
    await add_consumer(stream.nc, "c", max_batch=2)
    pull = Pull(stream, "S", "c", Taken(), batch=3)
    with pytest.raises(PullRefused, match="MaxRequestBatch"):
        await asyncio.wait_for(pull.run(), 5)


def test_a_pull_has_a_batch_or_slots(server: Server) -> None:
    for limits in ({}, {"batch": 1, "slots": 1}, {"batch": -1}):
        with pytest.raises(ValueError, match="either"):
            Pull(None, "S", "c", Taken(), **limits)  # type: ignore[arg-type]


async def test_it_goes_on_after_the_server_was_killed(server: Server) -> None:
    nc, events = await connect(server.url)
    async with Wire(nc, events) as wire:
        await add_stream(nc, "S", "s.>")
        await add_consumer(nc, "c", ack_wait=1_000_000_000)
        taken = Taken()
        async with pulling(Pull(wire, "S", "c", taken, batch=8)):
            await fill(wire, 20)
            await until(lambda: len(taken) == 20)
            server.kill()
            server.start()
            await until(lambda: events_seen(nc))
            await fill_surely(wire, 20, start=20)
            await until(lambda: set(taken.numbers) == set(range(40)))
    await nc.close()


async def fill_surely(wire: Wire, count: int, start: int) -> None:
    """As `fill`, of a server that is only just coming back; some may be stored twice."""
    async with asyncio.timeout(20):
        while True:
            with suppress(NoAnswer):
                return await fill(wire, count, start)


def events_seen(nc: Client) -> bool:
    return bool(nc.is_connected and nc.stats["reconnects"] > 0)


async def test_it_goes_on_after_the_server_was_frozen(server: Server, stream: Wire) -> None:
    await add_consumer(stream.nc, "c", ack_wait=1_000_000_000)
    nc, events = await connect(server.url, ping_seconds=0.2)
    async with Wire(nc, events) as wire:
        taken = Taken()
        async with pulling(Pull(wire, "S", "c", taken, batch=8)):
            await fill(stream, 5)
            await until(lambda: len(taken) == 5)
            server.freeze()
            await until(lambda: not nc.is_connected)
            server.thaw()
            await until(lambda: events_seen(nc))
            await fill(stream, 5, start=5)
            await until(lambda: set(taken.numbers) == set(range(10)))
    await nc.close()


async def test_missing_heartbeats_make_it_ask_again(stream: Wire) -> None:
    """The requests are lost without a word, as when the node of the consumer's leader dies."""
    await add_consumer(stream.nc, "c")
    taken = Taken()
    pull = Pull(stream, "S", "c", taken, batch=4, heartbeat=0.1)
    async with pulling(pull):
        pull._generation += 1  # what is said about the requests so far is not for this pull any more
        pull._inbox = stream.reply_to("nowhere.")
        generation = pull._generation
        await until(lambda: pull._generation > generation)
        pull._inbox = stream.reply_to("1.")


PINNED = {
    "priority_groups": [GROUP],
    "priority_policy": "pinned_client",
    "priority_timeout": 1_000_000_000,
    "ack_wait": 1_000_000_000,
}


async def test_of_two_pinned_one_gets_all_and_the_other_takes_over(server: Server, stream: Wire) -> None:
    await add_consumer(stream.nc, "c", **PINNED)
    taken = [Taken(), Taken()]
    connections = [await connect(server.url) for _ in taken]
    wires = [await Wire(nc, events).__aenter__() for nc, events in connections]
    options: dict[str, Any] = {"batch": 8, "group": GROUP, "pin_renewal": 0.3}
    async with (
        pulling(Pull(wires[0], "S", "c", taken[0], **options)) as one,
        pulling(Pull(wires[1], "S", "c", taken[1], **options)) as two,
    ):
        await wait_for_requests(stream.nc, 2)
        await fill(stream, 30)
        await until(lambda: len(taken[0]) + len(taken[1]) == 30)
        winner, loser = (0, 1) if one.pinned else (1, 0)
        assert (len(taken[winner]), len(taken[loser])) == (30, 0)
        await asyncio.sleep(1.5)  # longer than the server remembers a pin that is not renewed
        await fill(stream, 10, start=30)
        await until(lambda: len(taken[winner]) == 40)
        await connections[winner][0].close()
        since = asyncio.get_running_loop().time()
        await fill(stream, 10, start=40)
        await until(lambda: set(taken[loser].numbers) == set(range(40, 50)))
        assert asyncio.get_running_loop().time() - since < 2.0
        assert (two if winner == 0 else one).pinned
    for nc, _ in connections:
        await nc.close()


async def test_a_pin_that_is_yielded_goes_to_the_other_and_comes_back_when_it_is_gone(
    server: Server, stream: Wire
) -> None:
    await add_consumer(stream.nc, "c", **PINNED)
    taken = [Taken(), Taken()]
    connections = [await connect(server.url) for _ in taken]
    wires = [await Wire(nc, events).__aenter__() for nc, events in connections]
    options: dict[str, Any] = {"batch": 8, "group": GROUP, "pin_renewal": 0.3}
    async with pulling(Pull(wires[0], "S", "c", taken[0], **options)) as one:
        await fill(stream, 5)
        await until(lambda: len(taken[0]) == 5)
        one.yield_pin(0.1)  # nobody else asks: it comes back
        await fill(stream, 5, start=5)
        await until(lambda: len(taken[0]) == 10)
        assert one.pinned
        async with pulling(Pull(wires[1], "S", "c", taken[1], **options)) as two:
            await wait_for_requests(stream.nc, 2)
            one.yield_pin(1.0)
            number = 10
            while not two.pinned:  # what is on its way already still comes to the first
                await fill(stream, 1, start=number)
                number += 1
                await until(lambda number=number: number == len(taken[0]) + len(taken[1]))
            before = len(taken[1])
            await fill(stream, 20, start=number)
            await until(lambda: len(taken[1]) == before + 20)
        await connections[1][0].close()
        await fill(stream, 5, start=500)
        await until(lambda: set(range(500, 505)) <= set(taken[0].numbers))
        assert one.pinned
    for nc, _ in connections:
        await nc.close()


async def test_a_lost_pin_is_dropped_and_waited_for_again(stream: Wire) -> None:
    await add_consumer(stream.nc, "c", **PINNED)
    taken = Taken()
    async with pulling(Pull(stream, "S", "c", taken, batch=8, group=GROUP, pin_renewal=0.3)) as pull:
        await fill(stream, 1)
        await until(lambda: len(taken) == 1)
        assert pull.pinned
        await stream.nc.request(
            "$JS.API.CONSUMER.UNPIN.S.c", json.dumps({"group": GROUP}).encode(), timeout=5
        )
        await fill(stream, 5, start=1)
        await until(lambda: len(taken) == 6)
        assert pull.pinned


async def test_thirty_two_shards_share_one_subscription(stream: Wire) -> None:
    taken = [Taken() for _ in range(32)]
    for shard in range(32):
        await add_consumer(stream.nc, f"c{shard}", filter_subject=f"s.{shard}")
    before = len(stream.nc._subs)
    async with asyncio.TaskGroup() as group:
        pulls = [
            group.create_task(Pull(stream, "S", f"c{shard}", taken[shard], batch=8).run())
            for shard in range(32)
        ]
        await fill_shards(stream, 320)
        await until(lambda: sum(map(len, taken)) == 320)
        assert len(stream.nc._subs) == before
        for pull in pulls:
            pull.cancel()
    assert all(len(each) == 10 for each in taken)


async def fill_shards(wire: Wire, count: int) -> None:
    publisher = Publisher(wire)
    receipts = [await publisher.publish_nowait(f"s.{n % 32}", b"%d" % n) for n in range(count)]
    await asyncio.gather(*receipts)
