"""Three servers as one bus: what dies, hangs, comes back empty, and what is never lost by it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consort_bus import checking, embedded, growth, jetstream, subjects, topology
from consort_bus.append import Fence
from consort_bus.cluster import ClusterPlan
from consort_bus.connection import Bus, open_bus
from consort_bus.embedded import Embedded
from consort_bus.errors import AppendUnknown, BusError, NoAnswer, ServerFailed
from consort_bus.leading import leader_last, leader_read
from consort_bus.publish import Publisher
from consort_bus.reading import read
from consort_bus.server_process import Node
from consort_bus.subjects import EntrySubject
from consort_bus.wire import Wire
from consort_shared.ids import new_run_id
from standing_still import freeze

pytestmark = pytest.mark.slow

ELECTION = 40.0
"""Seconds that servers may take to find a leader; they need four to nine, and more where much else goes on."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    server = embedded.start(tmp_path_factory.mktemp("cluster"), nodes=3)
    try:
        asyncio.run(_set_up(server))
        yield server
    finally:
        embedded.stop(server.folder)


async def _set_up(server: Embedded) -> None:
    async with _opened(server) as (bus, _):
        await topology.ensure(bus)


@asynccontextmanager
async def _opened(server: Embedded, role: str = "provisioner") -> AsyncIterator[tuple[Bus, Wire]]:
    known = embedded.credentials_for(server.folder, role, "t1")
    async with open_bus(server.url, known, patience=10) as bus, Wire(bus.nc, bus) as wire:
        yield bus, wire


async def _leader(bus: Bus, server: Embedded, stream: str = subjects.LOG) -> Node:
    async with asyncio.timeout(ELECTION):
        while True:
            try:
                answer = json.loads((await bus.request(jetstream.stream_info(stream), timeout=1)).data)
                name = answer["cluster"]["leader"].rpartition("-")[2]
                return next(node for node in embedded.nodes(server.folder) if node.name == name)
            except (NoAnswer, KeyError):
                await asyncio.sleep(0.1)


async def _all_well(bus: Bus) -> None:
    """Until every copy of everything is there and current."""
    async with asyncio.timeout(ELECTION):
        while await checking.check(bus, 3):
            await asyncio.sleep(0.2)


async def _append(wire: Wire, run: str, expected: int, name: str, patience: float = ELECTION) -> int:
    subject = str(EntrySubject(run, None, "noted"))
    return await Fence(wire).append(
        subject,
        name.encode(),
        filter_subject=subjects.run_entries(run),
        expected=expected,
        entry_id=name,
        timeout=1.0,
        patience=patience,
    )


async def _entries(wire: Wire, run: str) -> list[bytes]:
    return [stored.data async for stored in leader_read(wire, subjects.LOG, subjects.run_entries(run))]


async def test_three_nodes_are_one_bus(cluster: Embedded) -> None:
    assert [node.name for node in cluster.nodes] == ["n1", "n2", "n3"]
    assert cluster.url == ",".join(node.url for node in cluster.nodes)
    assert embedded.nodes(cluster.folder) == list(cluster.nodes)
    assert embedded.status(cluster.folder) == Embedded(
        cluster.url, cluster.pid, cluster.folder, False, cluster.nodes
    )
    async with _opened(cluster) as (bus, _):
        assert topology.default_replicas(bus) == 3
        assert await topology.check(bus, 3) == []
        assert await topology.ensure(bus) == []
        await _all_well(bus)
    assert checking.check_folder(cluster.folder) == []


def test_no_stranger_joins(cluster: Embedded) -> None:
    plan = ClusterPlan.load(cluster.folder / "bus")
    assert plan is not None
    assert stat.S_IMODE((cluster.folder / "bus" / "cluster.json").stat().st_mode) == 0o600
    with socket.create_connection(("127.0.0.1", plan.nodes[0].route), 5) as stranger:
        stranger.settimeout(10)
        said = stranger.makefile("rb")
        assert json.loads(said.readline()[5:])["auth_required"]
        stranger.sendall(
            b'CONNECT {"name":"stranger","cluster":"c","user":"route","pass":"guess"}\r\nPING\r\n'
        )
        assert b"Authorization Violation" in said.read()
    elsewhere = plan.config_lines("n1", cluster.folder / "copy")
    assert plan.config_lines("n1", cluster.folder) != elsewhere  # a copy cannot mix with its original


async def test_a_dead_node_is_passed_over_and_started_again(cluster: Embedded) -> None:
    async with _opened(cluster) as (bus, wire):
        await _all_well(bus)
        run = new_run_id()
        seq = await _append(wire, run, 0, "before")
        dead = await _leader(bus, cluster)
        assert embedded.kill_node(cluster.folder, dead.name) is True
        assert embedded.kill_node(cluster.folder, dead.name) is False
        seq = await _append(wire, run, seq, "while it is away")
        assert embedded.status(cluster.folder) is None
        degraded = embedded.status(cluster.folder, whole=False)
        assert degraded is not None
        assert degraded.url == cluster.url
        assert [str(finding) for finding in checking.check_folder(cluster.folder)] == [
            f"node {dead.name}: does not run"
        ]
        again = embedded.start(cluster.folder)
        assert (again.url, again.started) == (cluster.url, True)
        await _append(wire, run, seq, "after")
        assert await _entries(wire, run) == [b"before", b"while it is away", b"after"]
        await _all_well(bus)


async def test_a_frozen_node_is_left_within_fifteen_seconds(cluster: Embedded) -> None:
    async with _opened(cluster, "client") as (bus, wire):
        back = asyncio.Event()

        async def note() -> None:
            back.set()

        bus.on_reconnect(note)
        lost = bus.nc.connected_url.netloc
        frozen = next(node for node in embedded.nodes(cluster.folder) if node.url.endswith(lost))
        freeze(frozen.pid or 0)
        try:
            began = time.monotonic()
            async with asyncio.timeout(25):
                await back.wait()
            assert time.monotonic() - began < 15
            assert bus.nc.connected_url.netloc != lost
            assert await leader_last(wire, subjects.ARTEFACTS, "artefact.>", patience=ELECTION) is None
        finally:
            os.kill(frozen.pid or 0, signal.SIGCONT)


async def test_without_a_majority_nothing_is_acknowledged(cluster: Embedded) -> None:
    """S14: what was acknowledged is there when the others are back; nothing was acknowledged in between."""
    async with _opened(cluster) as (bus, wire):
        await _all_well(bus)
        run = new_run_id()
        publisher = Publisher(wire)
        seq = await _append(wire, run, 0, "acknowledged")
        first, *others = (node.name for node in embedded.nodes(cluster.folder))
        for name in others:
            embedded.kill_node(cluster.folder, name)
        with pytest.raises(BusError):
            await publisher.publish(str(subjects.AgentSubject("a1", "i1")), b"lost", timeout=1, patience=3)
        with pytest.raises(AppendUnknown):
            await _append(wire, run, seq, "unknown", patience=2.0)
        assert embedded.status(cluster.folder, whole=False) is None
        waiting = asyncio.create_task(
            publisher.publish(str(subjects.AgentSubject("a1", "i2")), b"late", timeout=2, patience=ELECTION)
        )
        await asyncio.to_thread(embedded.start, cluster.folder)
        assert await waiting > 0
        assert (await _entries(wire, run))[0] == b"acknowledged"
        assert first in {node.name for node in embedded.nodes(cluster.folder) if node.pid}
        await _all_well(bus)


async def test_a_node_with_an_empty_disk_catches_up(cluster: Embedded) -> None:
    async with _opened(cluster) as (bus, wire):
        await _all_well(bus)
        run = new_run_id()
        seq = await _append(wire, run, 0, "kept")
        leader = (await _leader(bus, cluster)).name
        emptied, other = (node.name for node in embedded.nodes(cluster.folder) if node.name != leader)
        embedded.kill_node(cluster.folder, emptied)
        shutil.rmtree(cluster.folder / "bus" / emptied / "jetstream")
        node = await asyncio.to_thread(embedded.start_node, cluster.folder, emptied)
        assert node.pid is not None
        await _all_well(bus)
        embedded.kill_node(
            cluster.folder, other
        )  # so that nothing is stored without the one that was emptied
        await _append(wire, run, seq, "stored by it too")
        assert await _entries(wire, run) == [b"kept", b"stored by it too"]
        await asyncio.to_thread(embedded.start, cluster.folder)


async def test_single_to_cluster(tmp_path: Path) -> None:
    """A single server's data is not taken over by itself; it is moved, and the number never goes down."""
    single = embedded.start(tmp_path)
    try:
        async with _opened(single) as (bus, wire):
            await topology.ensure(bus)
            run = new_run_id()
            await _append(wire, run, 0, "from the single server")
        with pytest.raises(ServerFailed, match=r"bus start --nodes 3` moves it"):
            embedded.start(tmp_path, nodes=3)
        assert growth.must_grow(tmp_path, 3)
        cluster = await asyncio.to_thread(growth.grow, tmp_path, 3)
        assert not growth.must_grow(tmp_path, 3)
        assert cluster.nodes[0].url == single.url
        async with _opened(cluster) as (bus, wire):
            assert await topology.check(bus, 3) == []
            assert await _entries(wire, run) == [b"from the single server"]
            stored = [one async for one in read(wire, subjects.LOG, subjects.run_entries(run))]
            assert [one.seq for one in stored] == [1]
        with pytest.raises(ServerFailed, match="cannot get fewer without losing data"):
            embedded.start(tmp_path, nodes=1)
    finally:
        embedded.stop(tmp_path)


def test_what_was_being_made_a_cluster_is_not_started(tmp_path: Path) -> None:
    embedded.start(tmp_path)
    embedded.stop(tmp_path)
    (tmp_path / "bus" / "growing.json").write_text('{"stage": "copying", "port": 0}')
    assert growth.must_grow(tmp_path, 3)
    with pytest.raises(ServerFailed, match="finish it with `consort bus start --nodes`"):
        embedded.start(tmp_path)
    assert embedded.status(tmp_path) is None
