"""The bus on this machine: started when it is needed, found when it is there.

It is the `nats-server` of the wheel, in a folder of its own, on loopback ports that stay
the same while they are free, so that clients come back to it after a restart: one server,
or a cluster of three or five. Two locks of the operating system, which a dying process
lets go of, see to it that there is one bus per folder and that the last user stops it.

A cluster is there when most of its nodes are: with fewer it stores nothing. It is whole when
all are, and `start` makes it whole.

Must not know what runs on the bus.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

from consort_bus.cluster import SIZES, ClusterPlan
from consort_bus.credentials import Credentials
from consort_bus.errors import KeysUnusable, ServerFailed
from consort_bus.keys import Authority
from consort_bus.launch import (
    STOP_LIMIT,
    await_nodes,
    end_all,
    end_gently,
    locked,
    note_kept,
    spawn_missing,
    start_cluster,
    start_single,
)
from consort_bus.layout import Layout, place_of
from consort_bus.server_process import Embedded, Node, Place, find_binary

__all__ = [
    "DEFAULT_FOLDER",
    "Embedded",
    "Node",
    "credentials_for",
    "find_binary",
    "kill_node",
    "nodes",
    "running",
    "start",
    "start_node",
    "status",
    "stop",
]

DEFAULT_FOLDER = Path(".consort")


def start(
    folder: Path | str = DEFAULT_FOLDER,
    *,
    nodes: int | None = None,
    keep: bool = True,
    sync_always: bool = False,
    time_limit: float = 15.0,
    binary: Path | None = None,
) -> Embedded:
    """The bus of a folder, started unless it runs already; two starters at once get one bus.

    It lives in a session of its own: neither Ctrl-C in the terminal nor the end of this process
    ends it. With `keep` it runs until `stop`; without, until the last block of `running` ends.
    `sync_always` makes each write reach the disk before it is acknowledged, as a cluster does
    always. `nodes` is for a folder's first start, or to add some; without it the bus has those that
    it had. Nodes that died are started again; one that hangs is left alone while most others answer.
    `time_limit` in seconds. Raises ServerFailed, with the end of a server's log, and KeysUnusable.
    """
    shared = _prepared(folder)
    give_up = time.monotonic() + time_limit
    with locked(shared.bus / "lock", time_limit):
        layout = _with_nodes(Layout.of(folder), nodes)
        if keep or not layout.any_runs:
            note_kept(shared, keep)
        program = binary or find_binary()
        if layout.plan is not None:
            return start_cluster(layout, program, give_up)
        return start_single(layout, sync_always, program, give_up, keep)


def start_node(folder: Path | str, name: str, *, time_limit: float = 15.0) -> Node:
    """Starts one node of a folder's bus unless it runs; waits until it answers. Raises ServerFailed."""
    layout = Layout.of(folder)
    with locked(layout.shared.bus / "lock", time_limit):
        place = place_of(layout, name)
        give_up = time.monotonic() + time_limit
        if layout.plan is None:
            server = start_single(layout, False, find_binary(), give_up, keep=layout.shared.kept.exists())
            return server.nodes[0]
        layout, _ = spawn_missing(layout, [place], find_binary())
        await_nodes(layout, [place], give_up, wanted=1)
        return layout.node(place)


def kill_node(folder: Path | str, name: str, *, time_limit: float = STOP_LIMIT) -> bool:
    """Ends one node at once, as a power cut would; whether it ran. For trying what happens then."""
    layout = Layout.of(folder)
    place = place_of(layout, name)
    return end_all([place], (signal.SIGKILL,), time_limit)


def nodes(folder: Path | str = DEFAULT_FOLDER) -> list[Node]:
    """The nodes of a folder's bus, running or not; none before the first start."""
    layout = Layout.of(folder)
    if not layout.shared.bus.is_dir():
        return []
    return [layout.node(place) for place in layout.places]


def stop(folder: Path | str = DEFAULT_FOLDER, *, time_limit: float = STOP_LIMIT) -> bool:
    """Ends the bus of a folder, gently first; whether there was one. Raises ServerFailed."""
    layout = Layout.of(folder)
    if not layout.shared.bus.is_dir():
        return False
    with locked(layout.shared.bus / "lock", time_limit):
        layout.shared.kept.unlink(missing_ok=True)
        return end_gently(layout.places, time_limit)


def status(folder: Path | str = DEFAULT_FOLDER, *, whole: bool = True) -> Embedded | None:
    """The bus of a folder if it runs and answers. Starts and changes nothing.

    Of a cluster all nodes must answer, or, unless it must be `whole`, most.
    """
    layout = Layout.of(folder)
    return None if layout.grows else layout.answering(whole=whole)


@asynccontextmanager
async def running(
    folder: Path | str = DEFAULT_FOLDER,
    *,
    nodes: int | None = None,
    sync_always: bool = False,
    time_limit: float = 15.0,
) -> AsyncIterator[Embedded]:
    """The bus of a folder for as long as the block lasts, started if need be, as by `start`.

    The last such block to end, in whatever process, stops it, unless it was started to be kept.
    """
    place = await asyncio.to_thread(_prepared, folder)
    users = await asyncio.to_thread(_join, place)
    try:
        yield await asyncio.to_thread(
            start, folder, nodes=nodes, keep=False, sync_always=sync_always, time_limit=time_limit
        )
    finally:
        await asyncio.to_thread(_leave, place, users)


def credentials_for(folder: Path | str, role: str, name: str, ttl: timedelta | None = None) -> Credentials:
    """Credentials for the server of a folder, issued once and kept in its `keys`.

    With a `ttl` they are issued anew each time and not kept. Raises InvalidInput, KeysUnusable.
    """
    place = _prepared(folder)
    authority = Authority.load_or_create(place.keys)
    if ttl is not None:
        return authority.issue(role, name, ttl)
    fresh = authority.issue(role, name)  # first, because it refuses names that are no file names
    path = place.keys / f"{role}.{name}.creds"
    if path.exists():
        with suppress(KeysUnusable):
            kept = Credentials.load(path)
            still_valid = kept.expires is None or kept.expires > datetime.now(UTC)
            if authority.issued(kept) and kept.identity == fresh.identity and still_valid:
                return kept
    fresh.save(path)
    return fresh


def _prepared(folder: Path | str) -> Place:
    place = Place(Path(folder).absolute())
    try:
        for part in (place.bus, place.keys):
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = place.bus / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as exc:
        raise ServerFailed(f"{place.folder} cannot be used: {exc}; name another folder") from exc
    return place


def _with_nodes(layout: Layout, count: int | None) -> Layout:
    """The layout with so many nodes. Raises ServerFailed rather than leave data behind."""
    shared, have = layout.shared, len(layout.places)
    if layout.grows:
        raise ServerFailed(
            f"the bus of {shared.folder} was being made a cluster and is not whole; "
            "finish it with `consort bus start --nodes` as before"
        )
    if count is None or count == have:
        return layout
    if count not in SIZES:
        raise ServerFailed(f"a bus has {', '.join(map(str, SIZES))} nodes, not {count}")
    if count < have:
        raise ServerFailed(
            f"the bus of {shared.folder} has {have} nodes and cannot get fewer without losing data; "
            "take `consort bus backup`, and `consort bus restore` it to one in another folder"
        )
    if layout.plan is None and layout.has_data:
        raise ServerFailed(
            f"the bus of {shared.folder} holds data of a single server, which a cluster does not take over; "
            f"`consort bus start --nodes {count}` moves it"
        )
    plan = layout.plan.enlarged(count) if layout.plan else _without_data(shared, ClusterPlan.new(count))
    plan.save(shared.bus)
    return Layout(shared, plan)


def _without_data(place: Place, plan: ClusterPlan) -> ClusterPlan:
    """A single server that stores nothing has to end before a cluster takes its place."""
    end_gently([place])
    return plan


def _join(place: Place) -> TextIO:
    """Until the file is closed, nobody else is the last user."""
    users = (place.bus / "users").open("a")
    fcntl.flock(users, fcntl.LOCK_SH)
    return users


def _leave(place: Place, users: TextIO) -> None:
    """The last one stops the server, and keeps others from joining it meanwhile."""
    users.close()
    with (place.bus / "users").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if not place.kept.exists():
            stop(place.folder)
