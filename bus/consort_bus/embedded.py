"""The server on this machine: started when it is needed, found when it is there.

It is the `nats-server` of the wheel, in a folder of its own, on a loopback port that
the server chooses the first time and keeps while it is free, so that clients come
back to it after a restart. Two locks of the operating system, which a dying process
lets go of, see to it that there is one server per folder and that the last user
stops it.

Must not know what runs on the bus.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

from consort_bus.credentials import Credentials
from consort_bus.errors import KeysUnusable, ServerFailed
from consort_bus.keys import Authority
from consort_bus.server_process import (
    CHOSEN_BY_SERVER,
    Embedded,
    Place,
    answering,
    find_binary,
    free_port_of,
    log_tail_of,
    running_pid,
    spawn,
    write_config,
)

__all__ = [
    "DEFAULT_FOLDER",
    "Embedded",
    "credentials_for",
    "find_binary",
    "running",
    "start",
    "status",
    "stop",
]

DEFAULT_FOLDER = Path(".consort")
_POLL = 0.01
_STOP_LIMIT = 10.0


def start(
    folder: Path | str = DEFAULT_FOLDER,
    *,
    keep: bool = True,
    sync_always: bool = False,
    time_limit: float = 15.0,
    binary: Path | None = None,
) -> Embedded:
    """The server of a folder, started unless it runs already; two starters at once get one server.

    It lives in a session of its own: neither Ctrl-C in the terminal nor the end of this process
    ends it. With `keep` it runs until `stop`; without, until the last block of `running` ends.
    `sync_always` makes each write reach the disk before it is acknowledged. `time_limit` in
    seconds. Raises ServerFailed, with the end of the server's log, and KeysUnusable.
    """
    place = _prepared(folder)
    give_up = time.monotonic() + time_limit
    with _locked(place.bus / "lock", time_limit):
        found = running_pid(place)
        if found is not None:
            ready = _await_ready(place, found, give_up, started=False)
            if ready is not None:  # else it was about to end
                if keep:
                    place.kept.touch()
                return ready
        if keep:
            place.kept.touch()
        else:
            place.kept.unlink(missing_ok=True)
        program = binary or find_binary()
        for port in (free_port_of(place), CHOSEN_BY_SERVER):
            write_config(place, port, sync_always)
            ready = _await_ready(place, spawn(place, program), give_up, started=True)
            if ready is not None:
                return ready
            if "address already in use" not in log_tail_of(place):
                break
        raise ServerFailed(f"the server of {place.folder} ended at once", log_tail_of(place))


def stop(folder: Path | str = DEFAULT_FOLDER, *, time_limit: float = _STOP_LIMIT) -> bool:
    """Ends the server of a folder, gently first; whether there was one. Raises ServerFailed."""
    place = Place(Path(folder).absolute())
    if not place.bus.is_dir():
        return False
    with _locked(place.bus / "lock", time_limit):
        place.kept.unlink(missing_ok=True)
        pid = running_pid(place)
        if pid is None:
            return False
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)  # a stopped process would not hear the next
                os.kill(pid, sign)
            until = time.monotonic() + time_limit
            while time.monotonic() < until:
                if running_pid(place) is None:
                    place.pid.unlink(missing_ok=True)
                    return True
                time.sleep(_POLL)
    raise ServerFailed(f"the server, process {pid}, cannot be ended")


def status(folder: Path | str = DEFAULT_FOLDER) -> Embedded | None:
    """The server of a folder if it runs and answers. Starts and changes nothing."""
    place = Place(Path(folder).absolute())
    pid = running_pid(place)
    return None if pid is None else answering(place, pid, started=False)


@asynccontextmanager
async def running(
    folder: Path | str = DEFAULT_FOLDER, *, sync_always: bool = False, time_limit: float = 15.0
) -> AsyncIterator[Embedded]:
    """The server of a folder for as long as the block lasts, started if need be.

    The last such block to end, in whatever process, stops it, unless it was started to be kept.
    """
    place = await asyncio.to_thread(_prepared, folder)
    users = await asyncio.to_thread(_join, place)
    try:
        yield await asyncio.to_thread(
            start, folder, keep=False, sync_always=sync_always, time_limit=time_limit
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


def _await_ready(place: Place, pid: int, give_up: float, *, started: bool) -> Embedded | None:
    """The server once it answers, or None if it ended instead. Raises ServerFailed if it does neither."""
    while True:
        server = answering(place, pid, started=started)
        if server is not None:
            place.port.write_text(server.url.rpartition(":")[2], encoding="ascii")
            return server
        if running_pid(place) != pid:
            return None
        if time.monotonic() > give_up:
            if started:
                os.kill(pid, signal.SIGKILL)
            what = f"the server of {place.folder}, process {pid}, does not answer"
            raise ServerFailed(what, log_tail_of(place))
        time.sleep(_POLL)


@contextmanager
def _locked(path: Path, time_limit: float) -> Iterator[None]:
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
