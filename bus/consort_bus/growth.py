"""Making a cluster of a single server that holds data.

A server that becomes a node of a cluster forgets the streams it had alone. So they are
copied away first and brought back to the cluster, with a copy on each node. Nobody else can
reach the server while it is copied, so nothing is stored that the copy would lack, and what
the single server held is kept beside the cluster's nodes.

A mark in the folder tells how far it got: while it is there, nobody can start the bus, and
doing it again goes on from there.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from consort_bus import backup, topology
from consort_bus.cluster import ClusterPlan, port_is_free
from consort_bus.connection import open_bus
from consort_bus.credentials import write_secret
from consort_bus.embedded import credentials_for
from consort_bus.errors import ServerFailed
from consort_bus.launch import end_gently, locked, note_kept, start_cluster, start_single
from consort_bus.layout import GROWING, Layout
from consort_bus.server_process import Embedded, Place, find_binary

__all__ = ["SINGLE", "grow", "must_grow"]

SINGLE = "single"
"""What the single server held, in the bus's folder: its data, and the copy that the cluster was made from."""
_CONNECT = 20.0


def must_grow(folder: Path | str, nodes: int) -> bool:
    """Whether a bus with so many nodes can only be had by `grow`."""
    layout = Layout.of(folder)
    return nodes > 1 and (layout.grows or (layout.plan is None and layout.has_data))


def grow(folder: Path | str, nodes: int, *, time_limit: float = 60.0) -> Embedded:
    """Makes the single server of a folder a cluster of `nodes`, with all its data, and leaves it running.

    Must not be called from a running event loop. `time_limit` in seconds, for each start. Raises
    ServerFailed and other BusErrors; then nothing is lost, and calling it again goes on.
    """
    place = Layout.of(folder).shared
    with locked(place.bus / "growing.lock", time_limit):
        if not (place.bus / GROWING).exists():
            _note(place, "copying", _port_of(place))
        stage, port = _noted(place)
        if stage == "copying":
            _copy_away(place, time_limit)
            _note(place, "copied", port)
        with locked(place.bus / "lock", time_limit):
            plan = ClusterPlan.load(place.bus) or _first_plan(nodes, port)
            plan.save(place.bus)
            note_kept(place, True)
            server = start_cluster(Layout(place, plan), find_binary(), time.monotonic() + time_limit)
        asyncio.run(_bring_back(server, place.bus / SINGLE / "copy", min(3, len(plan.nodes))))
        (place.bus / GROWING).unlink()
        return server


def _copy_away(place: Place, time_limit: float) -> None:
    """From a port that nobody knows; afterwards the data lies beside the copy."""
    kept = place.bus / SINGLE
    with locked(place.bus / "lock", time_limit):
        end_gently([place])
        if (kept / "jetstream").is_dir():
            raise ServerFailed(f"{kept} holds the data of another single server; move it away first")
        shutil.rmtree(kept, ignore_errors=True)
        place.port.unlink(missing_ok=True)
        give_up = time.monotonic() + time_limit
        server = start_single(Layout(place, None), False, find_binary(), give_up, keep=True)
    try:
        asyncio.run(_copy(server, kept / "copy"))
    finally:
        with locked(place.bus / "lock", time_limit):
            end_gently([place])
    (place.bus / "jetstream").replace(kept / "jetstream")


async def _copy(server: Embedded, target: Path) -> None:
    setup = credentials_for(server.folder, "provisioner", "setup")
    async with open_bus(server.url, setup, patience=_CONNECT) as bus:
        await backup.backup(bus, target, pause=False)
    await asyncio.to_thread(backup.load, target)


async def _bring_back(server: Embedded, source: Path, replicas: int) -> None:
    setup = credentials_for(server.folder, "provisioner", "setup")
    async with open_bus(server.url, setup, patience=_CONNECT) as bus:
        await topology.ensure(bus, replicas)  # and so waits until the nodes have found each other
        await backup.restore(bus, source, overwrite=True, replicas=replicas)
        await topology.ensure(bus, replicas)


def _first_plan(nodes: int, port: int) -> ClusterPlan:
    """The first node listens where the single server did, so that clients find it."""
    plan = ClusterPlan.new(nodes)
    if not port or not port_is_free(port):
        return plan
    first, *others = plan.nodes
    return replace(plan, nodes=(replace(first, port=port), *others))


def _port_of(place: Place) -> int:
    with suppress(OSError, ValueError):
        return int(place.port.read_text(encoding="ascii"))
    return 0


def _note(place: Place, stage: str, port: int) -> None:
    write_secret(place.bus / GROWING, json.dumps({"stage": stage, "port": port}) + "\n")


def _noted(place: Place) -> tuple[str, int]:
    try:
        data = json.loads((place.bus / GROWING).read_text(encoding="ascii"))
        return str(data["stage"]), int(data["port"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ServerFailed(f"{place.bus / GROWING} cannot be read: {exc}") from exc
