"""The fenced append: one order, nothing twice, whatever is lost on the way."""

from __future__ import annotations

import asyncio

import pytest
from _nats_server import Server, add_stream, connect
from _proxy import Proxy
from nats.aio.client import Client

from consort_bus.append import ENTRY_HEADER, Fence
from consort_bus.errors import AppendUnknown, FenceRefused, StorageFull
from consort_bus.leading import leader_last
from consort_bus.reading import Stored, read
from consort_bus.wire import Wire

FILTER = "log.r.entry.>"


async def append(
    wire: Wire, expected: int, entry: str, timeout: float = 2.0, patience: float = 20.0, kind: str = "k"
) -> int:
    return await Fence(wire).append(
        f"log.r.entry.-.{kind}",
        entry.encode(),
        {"A": "b"},
        filter_subject=FILTER,
        expected=expected,
        entry_id=entry,
        timeout=timeout,
        patience=patience,
    )


async def log_of(wire: Wire) -> list[str]:
    return [stored.headers[ENTRY_HEADER] async for stored in read(wire, "LOG", FILTER)]


async def stored_at_last(wire: Wire, entry: str) -> Stored:
    while True:
        last = await leader_last(wire, "LOG", FILTER)
        if last is not None and last.headers.get(ENTRY_HEADER) == entry:
            return last
        await asyncio.sleep(0.01)


async def test_appends_behind_what_is_expected(wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    last = 0
    for entry in ("a", "b", "c"):
        last = await append(wire, last, entry, kind=entry)
    assert await log_of(wire) == ["a", "b", "c"]
    stored = await leader_last(wire, "LOG", FILTER)
    assert stored is not None
    assert (stored.seq, stored.headers["A"]) == (last, "b")


async def test_other_runs_and_copies_do_not_matter(wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    first = await append(wire, 0, "a")
    await wire.request("log.r.copy.x.t", b"")
    await wire.request("log.other.entry.-.k", b"")
    await append(wire, first, "b")


async def test_a_stale_expectation_is_refused(wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    first = await append(wire, 0, "a")
    await append(wire, first, "b")
    with pytest.raises(FenceRefused) as caught:
        await append(wire, first, "c")
    assert caught.value.expected == first
    with pytest.raises(FenceRefused):
        await append(wire, 0, "c")
    assert await log_of(wire) == ["a", "b"]


async def test_the_same_entry_again_is_found_in_its_place(wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    first = await append(wire, 0, "a")
    await append(wire, first, "b")
    assert await append(wire, 0, "a") == first


async def test_the_same_id_on_another_subject_is_not_ours(wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    await append(wire, 0, "a", kind="one")
    with pytest.raises(FenceRefused):
        await append(wire, 0, "a", kind="two")


async def test_of_fifty_one_wins(server: Server, wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    connections: list[Client] = []
    racing = []
    for _ in range(5):
        nc, events = await connect(server.url)
        other = await Wire(nc, events).__aenter__()
        connections.append(nc)
        racing += [append(other, 0, f"{len(connections)}-{n}") for n in range(10)]
    outcomes = await asyncio.gather(*racing, return_exceptions=True)
    won = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(won) == 1
    assert sum(isinstance(outcome, FenceRefused) for outcome in outcomes) == 49
    assert len(await log_of(wire)) == 1
    for nc in connections:
        await nc.close()


async def test_a_foreign_message_on_the_log_counts_as_another_writer(wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    first = await append(wire, 0, "a")
    await wire.request("log.r.entry.-.forged", b"not fenced, not ours")
    with pytest.raises(FenceRefused):
        await append(wire, first, "b")
    last = await leader_last(wire, "LOG", FILTER)
    assert last is not None
    assert await append(wire, last.seq, "b") == last.seq + 1


async def test_a_lost_receipt_is_success(server: Server, wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    async with Proxy(server.port) as proxy:
        nc, events = await connect(proxy.url)
        async with Wire(nc, events) as lossy:
            proxy.deaf = True
            appending = asyncio.create_task(append(lossy, 0, "a", timeout=0.2))
            stored = await stored_at_last(wire, "a")
            proxy.deaf = False
            assert await appending == stored.seq
        await nc.close()
    assert await log_of(wire) == ["a"]


async def test_a_lost_receipt_and_another_entry_behind_ours_is_success(server: Server, wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    async with Proxy(server.port) as proxy:
        nc, events = await connect(proxy.url)
        async with Wire(nc, events) as lossy:
            proxy.deaf = True
            appending = asyncio.create_task(append(lossy, 0, "a", timeout=30.0))
            stored = await stored_at_last(wire, "a")
            await append(wire, stored.seq, "b")
            proxy.deaf = False
            proxy.cut()
            assert await asyncio.wait_for(appending, 10) == stored.seq
        await nc.close()
    assert await log_of(wire) == ["a", "b"]


async def test_a_lost_try_that_another_writer_overtook_is_refused(server: Server, wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    async with Proxy(server.port) as proxy:
        nc, events = await connect(proxy.url)
        async with Wire(nc, events) as lossy:
            proxy.mute = True
            appending = asyncio.create_task(append(lossy, 0, "a", timeout=0.3))
            await proxy.swallowed.wait()
            await append(wire, 0, "b")
            proxy.mute = False
            proxy.cut()
            with pytest.raises(FenceRefused):
                await asyncio.wait_for(appending, 10)
        await nc.close()
    assert await log_of(wire) == ["b"]


async def test_a_try_that_never_arrived_is_made_again(server: Server, wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    async with Proxy(server.port) as proxy:
        nc, events = await connect(proxy.url)
        async with Wire(nc, events) as lossy:
            proxy.mute = True
            appending = asyncio.create_task(append(lossy, 0, "a", timeout=0.2))
            await proxy.swallowed.wait()
            proxy.mute = False
            proxy.cut()
            assert await asyncio.wait_for(appending, 10) == 1
        await nc.close()
    assert await log_of(wire) == ["a"]


async def test_unknown_when_nothing_can_be_found_out(server: Server, wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    async with Proxy(server.port) as proxy:
        nc, events = await connect(proxy.url)
        async with Wire(nc, events) as lossy:
            proxy.deaf = True
            with pytest.raises(AppendUnknown):
                await append(lossy, 0, "a", timeout=0.1, patience=0.4)
        await nc.close()


async def test_unknown_when_the_log_is_shorter_than_expected(wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>")
    with pytest.raises(AppendUnknown, match="last sequence is 0"):
        await append(wire, 7, "a", patience=0.3)


async def test_a_full_stream_is_no_doubt(wire: Wire) -> None:
    await add_stream(wire.nc, "LOG", "log.>", max_msgs=1, discard="new")
    first = await append(wire, 0, "a")
    with pytest.raises(StorageFull):
        await append(wire, first, "b")
    assert await append(wire, 0, "a") == first


async def test_a_server_killed_in_the_middle_loses_and_doubles_nothing(server: Server) -> None:
    nc, events = await connect(server.url)
    async with Wire(nc, events) as wire:
        await add_stream(nc, "LOG", "log.>")
        appended: list[int] = []
        enough = asyncio.Event()

        async def writer() -> None:
            while not enough.is_set() or len(appended) % 50:
                last = appended[-1] if appended else 0
                appended.append(await append(wire, last, f"e{len(appended)}", timeout=1.0))

        writing = asyncio.create_task(writer())
        while len(appended) < 100:
            await asyncio.sleep(0.01)
        server.kill()
        server.start()
        before = len(appended)
        async with asyncio.timeout(20):
            while len(appended) < before + 100:
                await asyncio.sleep(0.01)
        enough.set()
        await writing
        assert await log_of(wire) == [f"e{n}" for n in range(len(appended))]
    await nc.close()


async def test_a_frozen_server_is_waited_for(server: Server) -> None:
    nc, events = await connect(server.url)
    async with Wire(nc, events) as wire:
        await add_stream(nc, "LOG", "log.>")
        first = await append(wire, 0, "a")
        server.freeze()
        appending = asyncio.create_task(append(wire, first, "b", timeout=0.1))
        await asyncio.sleep(0.4)
        assert not appending.done()
        server.thaw()
        assert await asyncio.wait_for(appending, 10) == 2
        assert await log_of(wire) == ["a", "b"]
    await nc.close()
