"""Receipts, refusals, and what is known when neither comes."""

from __future__ import annotations

import asyncio

import pytest
from _nats_server import Server, add_stream, connect
from _proxy import Proxy

from consort_bus.errors import NoAnswer, StorageFull
from consort_bus.publish import Publisher, PublishRefused, WrongLastSequence
from consort_bus.reading import StreamAway
from consort_bus.wire import NotSent, TooLarge, Wire

LAST = "Nats-Expected-Last-Subject-Sequence"


async def test_gives_the_sequence_and_leaves_the_headers_alone(wire: Wire) -> None:
    await add_stream(wire.nc, "P", "p.>")
    publisher, headers = Publisher(wire), {"A": "b"}
    assert [await publisher.publish("p.x", b"", headers) for _ in range(3)] == [1, 2, 3]
    assert headers == {"A": "b"}


async def test_a_message_id_gives_the_first_sequence_again(wire: Wire) -> None:
    await add_stream(wire.nc, "P", "p.>")
    publisher = Publisher(wire)
    assert await publisher.publish("p.x", b"", {"Nats-Msg-Id": "a"}) == 1
    receipt = await publisher.publish_nowait("p.x", b"", {"Nats-Msg-Id": "a"})
    assert await receipt == ("P", 1, True)


async def test_a_stale_expectation_tells_the_last_sequence(wire: Wire) -> None:
    await add_stream(wire.nc, "P", "p.>")
    publisher = Publisher(wire)
    await publisher.publish("p.x", b"")
    with pytest.raises(WrongLastSequence) as caught:
        await publisher.publish("p.x", b"", {LAST: "0"})
    assert caught.value.actual == 1


async def test_a_full_stream_and_one_that_takes_only_small_messages(wire: Wire) -> None:
    await add_stream(wire.nc, "P", "p.>", max_msgs=1, discard="new", max_msg_size=100)
    publisher = Publisher(wire)
    with pytest.raises(TooLarge):
        await publisher.publish("p.x", bytes(101))
    await publisher.publish("p.x", b"")
    with pytest.raises(StorageFull) as caught:
        await publisher.publish("p.x", b"")
    assert caught.value.stream == "P"
    with pytest.raises(StorageFull):
        await (await publisher.publish_nowait("p.x", b""))


async def test_headers_count_against_the_servers_limit(wire: Wire) -> None:
    await add_stream(wire.nc, "P", "p.>")
    publisher = Publisher(wire)
    room = wire.max_payload - len("NATS/1.0\r\nA: b\r\n\r\n")
    assert await publisher.publish("p.x", bytes(room), {"A": "b"}) == 1
    with pytest.raises(TooLarge) as caught:
        await publisher.publish("p.x", bytes(room + 1), {"A": "b"})
    assert (caught.value.size, caught.value.limit) == (wire.max_payload + 1, wire.max_payload)
    with pytest.raises(TooLarge):
        await (await publisher.publish_nowait("p.x", bytes(room + 1), {"A": "b"}))


async def test_other_refusals_keep_their_code(wire: Wire) -> None:
    await add_stream(wire.nc, "P", "p.>")
    with pytest.raises(PublishRefused) as caught:
        await Publisher(wire).publish("p.x", b"", {"Nats-Expected-Stream": "Q"})
    assert caught.value.code == 10060


async def test_nobody_there_is_tried_until_the_time_is_up_or_somebody_is(wire: Wire) -> None:
    publisher = Publisher(wire)
    with pytest.raises(NoAnswer) as caught:
        await publisher.publish("nobody.x", b"", timeout=0.3)
    assert caught.value.reason == "no responders"
    trying = asyncio.create_task(publisher.publish("late.x", b"", timeout=5))
    await asyncio.sleep(0)
    await add_stream(wire.nc, "LATE", "late.>")
    assert await trying == 1


@pytest.mark.parametrize("headers", [{"A": "b\r\nC: d"}, {"A": "b\nC"}, {"A\r": "b"}])
async def test_a_header_cannot_smuggle_in_another(wire: Wire, headers: dict[str, str]) -> None:
    publisher = Publisher(wire, in_flight=1)
    with pytest.raises(ValueError, match="line break"):
        await publisher.publish("p.x", b"", headers)
    with pytest.raises(ValueError, match="line break"):
        await publisher.publish_nowait("p.x", b"", headers)
    with pytest.raises(ValueError, match="no subject"):
        await publisher.publish_nowait("p.x\r\nPUB a 0", b"")


async def test_many_in_flight_are_bounded_and_all_receipted(wire: Wire) -> None:
    await add_stream(wire.nc, "P", "p.>")
    publisher = Publisher(wire, in_flight=10)
    receipts = []
    for n in range(500):
        receipts.append(await publisher.publish_nowait("p.x", b"%d" % n))
        assert sum(not receipt.done() for receipt in receipts) <= 10
    assert [ack.seq for ack in await asyncio.gather(*receipts)] == list(range(1, 501))


async def test_a_lost_receipt_is_an_unknown_outcome(server: Server) -> None:
    async with Proxy(server.port) as proxy:
        nc, events = await connect(proxy.url)
        async with Wire(nc, events) as wire:
            await add_stream(nc, "P", "p.>")
            publisher = Publisher(wire)
            proxy.deaf = True
            receipt = await publisher.publish_nowait("p.x", b"", timeout=0.2)
            with pytest.raises(NoAnswer) as caught:
                await publisher.publish("p.x", b"", timeout=0.2)
            assert caught.value.reason == "timeout"
            assert not isinstance(caught.value, NotSent)
            with pytest.raises(NoAnswer):
                await receipt
            proxy.deaf = False
            assert await publisher.publish("p.x", b"") == 3
        await nc.close()


async def test_what_may_be_stored_twice_is_tried_until_it_is_known(server: Server) -> None:
    async with Proxy(server.port) as proxy:
        nc, events = await connect(proxy.url)
        async with Wire(nc, events) as wire:
            await add_stream(nc, "P", "p.>")
            publisher = Publisher(wire)
            proxy.deaf = True
            with pytest.raises(NoAnswer) as caught:
                await publisher.publish("p.x", b"", {"Nats-Msg-Id": "a"}, timeout=0.1, patience=0.3)
            assert not isinstance(caught.value, NotSent)
            proxy.swallowed.clear()
            trying = asyncio.create_task(
                publisher.publish("p.x", b"", {"Nats-Msg-Id": "a"}, timeout=0.2, patience=10)
            )
            await proxy.swallowed.wait()
            proxy.deaf = False
            assert await trying == 1
            with pytest.raises(WrongLastSequence):
                await publisher.publish("p.x", b"", {LAST: "0"}, patience=10)
        await nc.close()


async def test_a_stream_that_was_removed_is_named(wire: Wire) -> None:
    publisher = Publisher(wire)
    for subject, stream in (
        ("log.r.entry.-.x", "LOG"),
        ("$KV.AGENTS.a.b", "KV_AGENTS"),
        ("in.x.y.z", "INBOX"),
    ):
        with pytest.raises(StreamAway, match=rf"stream {stream}: .*`consort bus setup`") as caught:
            await publisher.publish(subject, b"", timeout=0.1)
        assert (caught.value.stream, caught.value.reason) == (stream, "no responders")


async def test_a_lost_connection_ends_the_waiting_when_it_is_back(server: Server) -> None:
    async with Proxy(server.port) as proxy:
        nc, events = await connect(proxy.url)
        async with Wire(nc, events) as wire:
            await add_stream(nc, "P", "p.>")
            proxy.deaf = True
            receipt = await Publisher(wire).publish_nowait("p.x", b"", timeout=60)
            await proxy.swallowed.wait()
            proxy.deaf = False
            proxy.cut()
            with pytest.raises(NoAnswer) as caught:
                await asyncio.wait_for(receipt, 5)
            assert caught.value.reason == "disconnected"
        await nc.close()


async def test_publishing_waits_for_a_server_that_restarts(server: Server) -> None:
    nc, events = await connect(server.url)
    async with Wire(nc, events) as wire:
        await add_stream(nc, "P", "p.>")
        publisher = Publisher(wire)
        server.kill()
        while nc.is_connected:
            await asyncio.sleep(0.01)
        with pytest.raises(NotSent):
            wire.send("p.x", b"")
        trying = asyncio.create_task(publisher.publish("p.x", b"", timeout=10))
        await asyncio.sleep(0)
        server.start()
        assert await trying == 1
    await nc.close()
