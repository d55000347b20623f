"""J21: a backup taken from one bus and brought back to another is the same data."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consort_bus import embedded, jetstream, subjects, topology
from consort_bus.artefacts import Artefacts
from consort_bus.backup import BackupUnusable, StreamsInTheWay, backup, load, restore
from consort_bus.connection import Bus, open_bus
from consort_bus.publish import Publisher
from consort_bus.pull import Delivery, Pull
from consort_bus.reading import read
from consort_bus.subjects import AgentSubject, CopySubject, EntrySubject, IncomingSubject, TimerSubject
from consort_bus.wire import Wire
from consort_shared.ids import new_run_id

pytestmark = pytest.mark.slow
Everything = dict[str, list[tuple[Any, ...]]]


@asynccontextmanager
async def _bus(folder: Path) -> AsyncIterator[tuple[Bus, Wire]]:
    server = embedded.start(folder)
    try:
        known = embedded.credentials_for(folder, "provisioner", "setup")
        async with open_bus(server.url, known) as bus, Wire(bus.nc, bus) as wire:
            await topology.ensure(bus)
            yield bus, wire
    finally:
        embedded.stop(folder)


async def _everything(wire: Wire) -> Everything:
    return {
        stream: [
            (one.seq, one.subject, one.headers, one.data, one.time_text)
            async for one in read(wire, stream, ">")
        ]
        for stream in subjects.STREAMS
    }


async def _info(bus: Bus, consumer: str, stream: str = subjects.LOG) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await bus.request(jetstream.consumer_info(stream, consumer))).data)
    return answer


async def _fill(bus: Bus, wire: Wire) -> None:
    publisher, run = Publisher(wire), new_run_id()
    for number in range(300):
        await publisher.publish(str(EntrySubject(run, None, "noted")), b"entry %d" % number, {"A": "b"})
    await publisher.publish(str(CopySubject(run, "a1", "t1")), b"done already")
    await publisher.publish(str(CopySubject(run, "a1", "t2")), b"to be done")
    await publisher.publish(str(IncomingSubject("client", "c1", new_run_id())), b"handed in")
    await publisher.publish(str(AgentSubject("a1", "i1")), b"card")
    due = (datetime.now(UTC) + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    schedule = {"Nats-Schedule": f"@at {due}", "Nats-Schedule-Target": str(TimerSubject("fire", run))}
    await publisher.publish(str(TimerSubject("set", run)), b"timer", schedule)
    await Artefacts(wire, bus.identity).put(os.urandom(1_500_000))
    await topology.create_consumer(bus, topology.agent_consumer("a1"))
    await _work_on_one(wire)


async def _work_on_one(wire: Wire) -> Delivery:
    """Takes one task of the agent a1 and finishes it."""
    taken: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()

    def take(delivery: Delivery) -> None:
        if not taken.done():
            taken.set_result(delivery)

    pulling = asyncio.create_task(Pull(wire, subjects.LOG, "agent_a1", take, slots=1).run())
    async with asyncio.timeout(10):
        delivery = await taken
    await delivery.ack_sync()
    pulling.cancel()
    return delivery


async def test_backup_wiped_and_restored_is_the_same(tmp_path: Path) -> None:
    first, second, copy = tmp_path / "first", tmp_path / "second", tmp_path / "copy"
    async with _bus(first) as (bus, wire):
        await _fill(bus, wire)
        before = await _everything(wire)
        made = await backup(bus, copy)
        assert await _everything(wire) == before
        assert not (await _info(bus, "shard_0", subjects.INBOX)).get("paused")
        assert {one.name: one.messages for one in made.streams} == {
            name: len(messages) for name, messages in before.items()
        }
        with pytest.raises(BackupUnusable, match="not empty"):
            await backup(bus, copy)
        with pytest.raises(StreamsInTheWay, match=r"INBOX.*--overwrite"):
            await restore(bus, copy)
    assert load(copy) == made
    shutil.rmtree(first / "bus")
    shutil.copytree(first / "keys", second / "keys")
    async with _bus(second) as (bus, wire):
        await restore(bus, copy)
        assert await topology.ensure(bus) == []
        assert await _everything(wire) == before
        assert not (await _info(bus, "shard_31", subjects.INBOX)).get("paused")
        assert (await _info(bus, "agent_a1"))["ack_floor"]["stream_seq"] == 301
        assert (await _work_on_one(wire)).data == b"to be done"
        await restore(bus, copy, overwrite=True)  # as after one that was cut short
        assert await _everything(wire) == before


async def test_a_damaged_backup_changes_nothing(tmp_path: Path) -> None:
    folder, copy = tmp_path / "bus", tmp_path / "copy"
    async with _bus(folder) as (bus, wire):
        await Publisher(wire).publish(str(AgentSubject("a1", "i1")), b"card")
        await backup(bus, copy)
        before = await _everything(wire)
        snapshot = copy / "KV_AGENTS.snapshot"
        whole = snapshot.read_bytes()
        snapshot.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(BackupUnusable, match=r"KV_AGENTS\.snapshot is damaged"):
            await restore(bus, copy, overwrite=True)
        snapshot.unlink()
        with pytest.raises(BackupUnusable, match=r"no whole backup: KV_AGENTS\.snapshot is missing"):
            await restore(bus, copy, overwrite=True)
        (copy / "manifest.json").unlink()
        with pytest.raises(BackupUnusable, match=r"no whole backup: manifest\.json is missing"):
            await restore(bus, copy, overwrite=True)
        assert await _everything(wire) == before
