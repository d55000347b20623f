"""Starting and ending the servers of a folder's bus, and waiting until they answer.

Whoever calls holds the folder's lock. Decides nothing about whether a bus is wanted.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from consort_bus.errors import ServerFailed
from consort_bus.layout import Layout
from consort_bus.server_process import (
    CHOSEN_BY_SERVER,
    Embedded,
    Place,
    answering,
    free_port_of,
    log_tail_of,
    running_pid,
    spawn,
    write_config,
)

__all__ = [
    "await_nodes",
    "end_all",
    "end_gently",
    "locked",
    "note_kept",
    "spawn_missing",
    "start_cluster",
    "start_single",
]

STOP_LIMIT = 10.0

_POLL = 0.01


def note_kept(place: Place, keep: bool) -> None:
    if keep:
        place.kept.touch()
    else:
        place.kept.unlink(missing_ok=True)


def start_single(layout: Layout, sync_always: bool, program: Path, give_up: float, keep: bool) -> Embedded:
    place = layout.shared
    found = running_pid(place)
    if found is not None:
        if _await_ready(place, found, give_up, started=False):
            return _answered(layout, started=False)
        note_kept(place, keep)  # it was about to end
    for port in (free_port_of(place), CHOSEN_BY_SERVER):
        write_config(place, port, sync_always)
        if _await_ready(place, spawn(place, program), give_up, started=True):
            return _answered(layout, started=True)
        if "address already in use" not in log_tail_of(place):
            break
    raise ServerFailed(f"the server of {place.folder} ended at once", log_tail_of(place))


def start_cluster(layout: Layout, program: Path, give_up: float) -> Embedded:
    layout, started = spawn_missing(layout, layout.places, program)
    await_nodes(layout, started or layout.places, give_up, wanted=len(started) or layout.majority)
    return _answered(layout, started=bool(started))


def _answered(layout: Layout, *, started: bool) -> Embedded:
    found = layout.answering(started, whole=False)
    if found is None:
        raise ServerFailed(f"the bus of {layout.shared.folder} ended as soon as it was started")
    return found


def spawn_missing(layout: Layout, places: Sequence[Place], program: Path) -> tuple[Layout, list[Place]]:
    """Starts those of the nodes that do not run; the layout with the ports that they got, and which they are."""
    assert layout.plan is not None
    missing = [place for place in places if running_pid(place) is None]
    plan = layout.plan.with_free_ports([place.node for place in missing])
    if plan != layout.plan:
        plan.save(layout.shared.bus)
    for place in missing:
        place.home.mkdir(exist_ok=True, mode=0o700)
        write_config(place, plan.node(place.node).port, True, plan.config_lines(place.node, place.folder))
    for place in missing:
        spawn(place, program)
    return Layout(layout.shared, plan), missing


def await_nodes(layout: Layout, places: Sequence[Place], give_up: float, *, wanted: int) -> None:
    """Until so many of the nodes answer. Raises ServerFailed unless most of all nodes do at least."""
    while True:
        pids = {place: running_pid(place) for place in places}
        silent = [place for place, pid in pids.items() if pid is None or answering(place, pid) is None]
        if len(places) - len(silent) >= wanted:
            return
        ended = [place for place in silent if pids[place] is None]
        if ended or time.monotonic() > give_up:
            if layout.answering(whole=False) is not None and len(places) < len(layout.places):
                return
            place = (ended or silent)[0]
            what = "ended at once" if ended else f"process {pids[place]}, does not answer"
            raise ServerFailed(f"node {place.node} of {place.folder}, {what}", log_tail_of(place))
        time.sleep(_POLL)


def end_gently(places: Sequence[Place], time_limit: float = STOP_LIMIT) -> bool:
    """Ends servers, by force if they do not hear; whether there were any. Raises ServerFailed."""
    return end_all(places, (signal.SIGTERM, signal.SIGKILL), time_limit)


def end_all(places: Sequence[Place], signs: Sequence[signal.Signals], time_limit: float) -> bool:
    """Ends processes, all of them at once; whether there were any. Raises ServerFailed."""
    alive = {place: pid for place in places if (pid := running_pid(place)) is not None}
    any_there = bool(alive)
    for sign in signs:
        for pid in alive.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)  # a stopped process would not hear the next
                os.kill(pid, sign)
        until = time.monotonic() + time_limit
        while alive and time.monotonic() < until:
            for place in [place for place in alive if running_pid(place) is None]:
                place.pid.unlink(missing_ok=True)
                del alive[place]
            time.sleep(_POLL)
    if alive:
        raise ServerFailed(f"the server, process {next(iter(alive.values()))}, cannot be ended")
    return any_there


def _await_ready(place: Place, pid: int, give_up: float, *, started: bool) -> bool:
    """Whether a server came to answer, and did not end instead. Raises ServerFailed if it does neither."""
    while True:
        url = answering(place, pid)
        if url is not None:
            place.port.write_text(url.rpartition(":")[2], encoding="ascii")
            return True
        if running_pid(place) != pid:
            return False
        if time.monotonic() > give_up:
            if started:
                os.kill(pid, signal.SIGKILL)
            what = f"the server of {place.folder}, process {pid}, does not answer"
            raise ServerFailed(what, log_tail_of(place))
        time.sleep(_POLL)


@contextmanager
def locked(path: Path, time_limit: float) -> Iterator[None]:
    """Only one process at a time; the system lets go when a process dies."""
    give_up = time.monotonic() + time_limit
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise ServerFailed(
                        f"another process is starting or stopping the server: {path}"
                    ) from None
                time.sleep(_POLL)
        yield
