"""Reading a stream by pages, by subject, and from its leader."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from _nats_server import Server, add_stream, connect
from _proxy import Proxy
from nats.aio.msg import Msg
from nats.js.api import StreamConfig, StreamSource

from consort_bus.errors import NoAnswer
from consort_bus.leading import last_of_whole, leader_last, leader_next, leader_read, read_whole
from consort_bus.publish import Publisher
from consort_bus.reading import ReadRefused, StreamAway, last, last_of, read
from consort_bus.wire import Wire


async def fill(wire: Wire, subjects: list[str], data: bytes = b"") -> None:
    publisher = Publisher(wire)
    receipts = [await publisher.publish_nowait(subject, data or subject.encode()) for subject in subjects]
    await asyncio.gather(*receipts)


@pytest.mark.parametrize(("batch", "max_bytes"), [(7, 1 << 20), (500, 100), (1, 1), (500, 1 << 20)])
async def test_pages_make_up_the_whole(wire: Wire, batch: int, max_bytes: int) -> None:
    await add_stream(wire.nc, "R", "r.>")
    await fill(wire, [f"r.{n % 3}.{n}" for n in range(60)])
    found = [stored async for stored in read(wire, "R", "r.1.*", batch=batch, max_bytes=max_bytes)]
    assert [stored.subject for stored in found] == [f"r.1.{n}" for n in range(1, 60, 3)]
    assert [stored.seq for stored in found] == list(range(2, 61, 3))
    assert all(stored.data == stored.subject.encode() for stored in found)


async def test_from_a_sequence_on_over_gaps_and_to_nothing(wire: Wire) -> None:
    await add_stream(wire.nc, "R", "r.>")
    assert [stored async for stored in read(wire, "R", "r.>")] == []
    await fill(wire, [f"r.{n}" for n in range(6)])
    await wire.nc.jetstream().delete_msg("R", 4)
    assert [stored.seq async for stored in read(wire, "R", "r.>", 3, batch=2)] == [3, 5, 6]
    assert [stored.seq async for stored in read(wire, "R", "r.>", 7)] == []


async def test_leaving_early_leaves_nothing_behind(wire: Wire) -> None:
    await add_stream(wire.nc, "R", "r.>")
    await fill(wire, [f"r.{n}" for n in range(50)])
    reading = read(wire, "R", "r.>", batch=5)
    assert (await anext(reading)).seq == 1
    await reading.aclose()
    await asyncio.sleep(0)
    assert not wire._waiting


async def test_a_message_as_it_was_published(wire: Wire) -> None:
    await add_stream(wire.nc, "R", "r.>")
    await Publisher(wire).publish("r.x", b"\x00\xff", {"A": "b: c", "Nats-Msg-Id": "i"})
    by_page = await anext(read(wire, "R", "r.>"))
    for stored in (by_page, await last(wire, "R", "r.x"), await leader_last(wire, "R", "r.*")):
        assert stored is not None
        assert stored[:4] == (1, "r.x", {"A": "b: c", "Nats-Msg-Id": "i"}, b"\x00\xff")
        assert abs(datetime.now(UTC) - stored.time) < timedelta(seconds=5)
        assert not stored.forwarded


async def test_last_and_next(wire: Wire) -> None:
    await add_stream(wire.nc, "R", "r.>")
    await fill(wire, ["r.a", "r.b", "r.a"])
    newest = await last(wire, "R", "r.a")
    assert newest is not None
    assert newest.seq == 3
    assert await last(wire, "R", "r.none") is None
    assert await leader_last(wire, "R", "r.none") is None
    following = await leader_next(wire, "R", "r.>", 2)
    assert following is not None
    assert (following.seq, following.subject) == (2, "r.b")
    assert await leader_next(wire, "R", "r.>", 4) is None


async def test_last_of_many_subjects(wire: Wire) -> None:
    await add_stream(wire.nc, "R", "r.>")
    await fill(wire, [f"r.{n}" for n in range(600)] * 2)
    wanted = [f"r.{n}" for n in range(550)]
    found = await last_of(wire, "R", [*wanted, "r.none"], batch=100)
    assert [stored.seq for stored in found] == list(range(601, 1151))
    assert {stored.subject for stored in found} == set(wanted)
    assert len(await last_of(wire, "R", ["r.>"], batch=100)) == 600
    assert await last_of(wire, "R", ["r.none"]) == []
    assert await last_of(wire, "R", []) == []


async def test_last_of_a_wildcard_with_more_than_the_server_gathers(wire: Wire) -> None:
    await add_stream(wire.nc, "R", "r.>")
    await fill(wire, [f"r.{n}" for n in range(1500)])
    await fill(wire, ["r.7"])
    found = await last_of(wire, "R", ["r.>"])
    assert len(found) == 1500
    assert (found[-1].seq, found[-1].subject) == (1501, "r.7")


async def test_a_forwarded_message_is_told_apart(wire: Wire) -> None:
    """The server itself stores what it was asked to read, when the reader names a stream's subject to reply to."""
    await add_stream(wire.nc, "R", "r.>")
    await Publisher(wire).publish("r.mine", b"forged", {"A": "b"})
    request = json.dumps({"seq": 1, "next_by_subj": "r.mine", "batch": 1}).encode()
    wire.send("$JS.API.DIRECT.GET.R", request, reply="r.theirs.page")
    wire.send("$JS.API.DIRECT.GET.R.r.mine", reply="r.theirs.last")
    async with asyncio.timeout(5):
        while len(found := [stored async for stored in read(wire, "R", "r.>")]) < 4:
            await asyncio.sleep(0.01)
    told = {stored.subject: stored for stored in found}
    assert not told["r.mine"].forwarded
    assert told["r.theirs.last"].forwarded
    assert told["r.theirs.page"].forwarded
    by_leader = await leader_last(wire, "R", "r.theirs.last")
    by_subject = await last(wire, "R", "r.theirs.last")
    for stored in (told["r.theirs.last"], by_leader, by_subject):
        assert stored is not None
        assert stored.forwarded
        assert "Nats-Stream" in stored.headers
        assert (stored.headers["A"], stored.data) == ("b", b"forged")


async def test_a_stream_that_is_not_there(wire: Wire) -> None:
    with pytest.raises(StreamAway, match=r"stream NONE: .*`consort bus setup`"):
        await last(wire, "NONE", "none.x", patience=0.2)
    with pytest.raises(StreamAway, match="stream NONE"):
        await anext(read(wire, "NONE", "none.>", patience=0.2))
    with pytest.raises(ReadRefused, match=r"NONE cannot be read: stream not found; .*`consort bus setup`"):
        await leader_last(wire, "NONE", "none.>", patience=0.2)


async def test_by_the_leader_one_by_one(wire: Wire) -> None:
    await add_stream(wire.nc, "R", "r.>")
    for number in range(3):
        await wire.request("r.a", b"%d" % number)
        await wire.request("r.b", b"other")
    found = [stored async for stored in leader_read(wire, "R", "r.a", 2)]
    assert [(stored.seq, stored.data) for stored in found] == [(3, b"1"), (5, b"2")]
    assert [stored async for stored in leader_read(wire, "R", "r.c")] == []


class LateReplica:
    """Answers direct gets of R as a replica does that is behind: at first it has nothing, then what R has."""

    def __init__(self, wire: Wire) -> None:
        self._nc = wire.nc
        self.behind = 0
        self.asked = 0

    async def serve(self) -> None:
        js = self._nc.jetstream()
        await js.add_stream(StreamConfig(name="R", subjects=["r.>"]))
        await js.add_stream(StreamConfig(name="COPY", mirror=StreamSource(name="R"), allow_direct=True))
        await self._nc.subscribe("$JS.API.DIRECT.GET.R", cb=self._answer)

    async def until_copied(self, seq: int) -> None:
        async with asyncio.timeout(5):
            while (await self._nc.jetstream().stream_info("COPY")).state.last_seq < seq:
                await asyncio.sleep(0.01)

    async def _answer(self, msg: Msg) -> None:
        self.asked += 1
        if self.behind > 0:
            self.behind -= 1
            await self._nc.publish(msg.reply, b"", headers={"Status": "404", "Description": "No Results"})
        else:
            await self._nc.publish("$JS.API.DIRECT.GET.COPY", msg.data, reply=msg.reply)


async def test_a_replica_that_is_behind_is_waited_for(wire: Wire) -> None:
    replica = LateReplica(wire)
    await replica.serve()
    assert [stored async for stored in read_whole(wire, "R", "r.>")] == []
    assert await last_of_whole(wire, "R", "r.>") == []
    await fill(wire, ["r.1", "r.2", "r.2"])
    await replica.until_copied(3)
    replica.behind = 1
    assert [stored.seq async for stored in read(wire, "R", "r.>")] == []  # as late as it may be
    replica.behind = 3
    assert [stored.seq async for stored in read_whole(wire, "R", "r.>")] == [1, 2, 3]
    replica.behind, replica.asked = 2, 0
    assert [stored.seq for stored in await last_of_whole(wire, "R", "r.>")] == [1, 3]
    assert replica.asked == 3
    replica.behind = 10_000
    with pytest.raises(NoAnswer, match="a replica that has all"):
        await last_of_whole(wire, "R", "r.>", patience=0.2)
    with pytest.raises(NoAnswer, match="a replica that has all"):
        await anext(read_whole(wire, "R", "r.>", patience=0.2))


async def test_a_request_that_makes_no_sense(wire: Wire) -> None:
    await add_stream(wire.nc, "R", "r.>")
    with pytest.raises(ReadRefused, match="R cannot be read: 408"):
        await anext(read(wire, "R", "r.>", batch="many", patience=0.5))  # type: ignore[arg-type]


async def test_a_message_cannot_pass_for_the_end_of_a_page(wire: Wire) -> None:
    await add_stream(wire.nc, "R", "r.>")
    publisher = Publisher(wire)
    for headers in ({"Status": "204"}, {"Status": "404", "Nats-Last-Sequence": "0"}, {}):
        await publisher.publish("r.x", b"", headers)
    assert [stored.seq async for stored in read(wire, "R", "r.>")] == [1, 2, 3]
    assert [stored.seq for stored in await last_of(wire, "R", ["r.>"])] == [3]
    await publisher.publish("r.x", b"", {"Status": "404"})
    newest = await last(wire, "R", "r.x")
    assert newest is not None
    assert newest.headers == {"Status": "404"}


async def test_a_lost_page_is_asked_for_again(server: Server, wire: Wire) -> None:
    await add_stream(wire.nc, "R", "r.>")
    await fill(wire, [f"r.{n}" for n in range(20)])
    async with Proxy(server.port) as proxy:
        nc, events = await connect(proxy.url)
        async with Wire(nc, events) as lossy:
            reading = read(lossy, "R", "r.>", batch=5)
            found = [await anext(reading)]
            proxy.deaf = True
            found += [await anext(reading) for _ in range(4)]
            proxy.deaf = False
            proxy.cut()
            found += [stored async for stored in reading]
        await nc.close()
    assert [stored.seq for stored in found] == list(range(1, 21))


async def test_reading_goes_on_over_a_restart(server: Server) -> None:
    nc, events = await connect(server.url)
    async with Wire(nc, events) as wire:
        await add_stream(nc, "R", "r.>")
        await fill(wire, [f"r.{n}" for n in range(40)])
        reading = read(wire, "R", "r.>", batch=10)
        found = [await anext(reading)]
        server.kill()
        server.start()
        found += [stored async for stored in reading]
        assert [stored.seq for stored in found] == list(range(1, 41))
    await nc.close()
