"""Artefacts come back as they were stored, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from _nats_server import Server, add_stream, connect

from consort_bus.artefacts import CHUNK_BYTES, ArtefactCorrupt, ArtefactMissing, Artefacts
from consort_bus.credentials import Identity
from consort_bus.publish import Publisher
from consort_bus.subjects import ChunkSubject
from consort_bus.wire import Wire
from consort_shared.values import ArtefactRef

WRITER = Identity("agent", "writer")


@pytest.fixture
async def artefacts(wire: Wire) -> Artefacts:
    await add_stream(wire.nc, "ARTEFACTS", "artefact.*.*.*.*", max_msgs_per_subject=1)
    return Artefacts(wire, WRITER)


async def last_sequence(wire: Wire) -> int:
    return (await wire.nc.jetstream().stream_info("ARTEFACTS")).state.last_seq


SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 9 * CHUNK_BYTES + 7]


@pytest.mark.parametrize("size", SIZES)
async def test_bytes_file_and_stream_come_back(
    wire: Wire, artefacts: Artefacts, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    (tmp_path / "in").write_bytes(data)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 100_000):
            yield data[start : start + 100_000]

    ref = await artefacts.put(data, media_type="text/plain", name="n")
    parts = await last_sequence(wire)
    assert await artefacts.put(tmp_path / "in", media_type="text/plain", name="n") == ref
    assert await artefacts.put(pieces(), media_type="text/plain", name="n") == ref
    assert ref == ArtefactRef(
        artefact=hashlib.sha256(data).hexdigest(),
        writer="agent.writer",
        size=size,
        media_type="text/plain",
        name="n",
    )
    assert await last_sequence(wire) == parts == max(1, -(-size // CHUNK_BYTES))
    assert await artefacts.get(ref) == data
    await artefacts.save(ref, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    async with artefacts.open(ref) as file:
        assert file.read() == data
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


async def test_a_file_and_a_stream_can_be_first(artefacts: Artefacts, tmp_path: Path) -> None:
    data = os.urandom(3 * CHUNK_BYTES)
    (tmp_path / "in").write_bytes(data)
    assert await artefacts.get(await artefacts.put(tmp_path / "in")) == data

    async def pieces() -> AsyncIterator[bytes]:
        yield data
        yield b"!"

    assert await artefacts.get(await artefacts.put(pieces())) == data + b"!"


async def test_others_may_read_and_have_their_own(wire: Wire, artefacts: Artefacts) -> None:
    ref = await artefacts.put(b"mine")
    other = Artefacts(wire, Identity("client", "other"))
    assert await other.get(ref) == b"mine"
    with pytest.raises(ArtefactMissing):
        await other.get(ref.model_copy(update={"writer": "client.other"}))
    assert (await other.put(b"mine")).writer == "client.other"


async def test_what_is_not_there(artefacts: Artefacts, tmp_path: Path) -> None:
    ref = ArtefactRef(artefact="0" * 64, writer="agent.writer", size=5)
    with pytest.raises(ArtefactMissing) as caught:
        await artefacts.get(ref)
    assert caught.value.digest == "0" * 64
    with pytest.raises(ArtefactMissing):
        await artefacts.save(ref, tmp_path / "out")
    with pytest.raises(ArtefactMissing):
        await artefacts.get(ref.model_copy(update={"size": 0}))
    assert list(tmp_path.iterdir()) == []


async def test_a_part_that_is_gone(wire: Wire, artefacts: Artefacts) -> None:
    data = os.urandom(3 * CHUNK_BYTES)
    ref = await artefacts.put(data)
    await wire.nc.jetstream().delete_msg("ARTEFACTS", 2)
    with pytest.raises(ArtefactMissing):
        await artefacts.get(ref)


async def test_a_part_that_is_damaged_is_found_and_not_saved(
    wire: Wire, artefacts: Artefacts, tmp_path: Path
) -> None:
    data = os.urandom(3 * CHUNK_BYTES)
    ref = await artefacts.put(data)
    subject = str(ChunkSubject("agent", "writer", ref.artefact, 1))
    headers = {"Consort-Size": str(len(data)), "Consort-Offset": str(CHUNK_BYTES)}
    await Publisher(wire).publish(subject, bytes(CHUNK_BYTES), headers)
    with pytest.raises(ArtefactCorrupt, match=ref.artefact):
        await artefacts.get(ref)
    with pytest.raises(ArtefactCorrupt):
        await artefacts.save(ref, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


async def test_parts_that_lie_about_their_place_are_no_part(wire: Wire, artefacts: Artefacts) -> None:
    ref = await artefacts.put(b"small")
    publisher = Publisher(wire)
    for chunk, headers in enumerate(
        (
            {"Consort-Size": "5", "Consort-Offset": "-1"},
            {"Consort-Size": "5", "Consort-Offset": str(1 << 60)},
            {"Consort-Size": "9", "Consort-Offset": "0"},
            {"Consort-Size": "5", "Consort-Offset": "x"},
            {},
        ),
        start=1,
    ):
        subject = str(ChunkSubject("agent", "writer", ref.artefact, chunk))
        await publisher.publish(subject, b"other", headers)
    assert await artefacts.get(ref) == b"small"


async def test_an_unfinished_upload_is_none_and_is_completed(wire: Wire, artefacts: Artefacts) -> None:
    data = os.urandom(4 * CHUNK_BYTES)
    ref = await artefacts.put(data)
    await wire.nc.jetstream().delete_msg("ARTEFACTS", 4)
    with pytest.raises(ArtefactMissing):
        await artefacts.get(ref)
    assert await artefacts.put(data) == ref
    assert await artefacts.get(ref) == data


@pytest.mark.parametrize("tail", [b"other", b"longer" * CHUNK_BYTES])
async def test_a_file_that_changes_while_it_is_stored_is_no_artefact(
    wire: Wire, artefacts: Artefacts, tmp_path: Path, tail: bytes
) -> None:
    path, data = tmp_path / "in", os.urandom(60 * CHUNK_BYTES)
    path.write_bytes(data)
    storing = asyncio.create_task(artefacts.put(path))
    async with asyncio.timeout(5):
        while not await last_sequence(wire):
            await asyncio.sleep(0)
    with path.open("r+b") as file:
        file.seek(len(data) - 5)
        file.write(tail)
    with pytest.raises(ValueError, match="changed"):
        await storing
    ref = ArtefactRef(artefact=hashlib.sha256(data).hexdigest(), writer="agent.writer", size=len(data))
    with pytest.raises(ArtefactMissing):
        await artefacts.get(ref)
    assert await artefacts.get(await artefacts.put(data)) == data


async def test_a_server_that_takes_only_small_messages(tmp_path: Path) -> None:
    server = Server(tmp_path, max_payload=16 * 1024).start()
    try:
        nc, events = await connect(server.url)
        async with Wire(nc, events) as wire:
            await add_stream(nc, "ARTEFACTS", "artefact.*.*.*.*", max_msgs_per_subject=1)
            artefacts, data = Artefacts(wire, WRITER), os.urandom(100_000)
            assert await artefacts.get(await artefacts.put(data)) == data
        await nc.close()
    finally:
        server.kill()


async def test_storing_goes_on_over_a_restart(server: Server) -> None:
    nc, events = await connect(server.url)
    async with Wire(nc, events) as wire:
        await add_stream(nc, "ARTEFACTS", "artefact.*.*.*.*", max_msgs_per_subject=1)
        artefacts, data = Artefacts(wire, WRITER), os.urandom(60 * CHUNK_BYTES)
        storing = asyncio.create_task(artefacts.put(data))
        async with asyncio.timeout(5):
            while await last_sequence(wire) < 8:
                await asyncio.sleep(0)
        server.kill()
        server.start()
        ref = await asyncio.wait_for(storing, 20)
        assert await artefacts.get(ref) == data
    await nc.close()


MEMORY = """
import asyncio, os, resource, sys
from pathlib import Path
import nats
from consort_bus.artefacts import Artefacts
from consort_bus.credentials import Identity
from consort_bus.wire import Wire

async def main(url, folder):
    nc = await nats.connect(url)
    async with Wire(nc) as wire:
        artefacts = Artefacts(wire, Identity("agent", "writer"))
        await artefacts.put(b"warm")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ref = await artefacts.put(folder / "in")
        await artefacts.save(ref, folder / "out")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    await nc.close()

asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
"""


@pytest.mark.slow
async def test_memory_does_not_grow_with_the_artefact(
    server: Server, artefacts: Artefacts, tmp_path: Path
) -> None:
    block = os.urandom(1 << 20)
    with (tmp_path / "in").open("wb") as file:
        for n in range(100):
            file.write(n.to_bytes(4, "big") + block[4:])
    command = [sys.executable, "-c", MEMORY, server.url, str(tmp_path)]
    ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out").stat().st_size == 100 << 20
    assert int(ran.stdout) < 60 * 1024  # KiB
