"""A nats-server of a test's own, which it may kill, freeze and start again on the same port and store."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from nats.aio.client import Client
from nats.js import api

from consort_bus.errors import AccessDenied
from standing_still import freeze

CONFIG = """
listen: 127.0.0.1:{port}
server_name: test
max_payload: {max_payload}
jetstream {{ store_dir: "{folder}/js", max_mem: 64M, max_file: 2G }}
"""


class Server:
    def __init__(self, folder: Path, max_payload: int = 1024 * 1024) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.folder = folder
        self.url = f"nats://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        config = CONFIG.format(port=self.port, folder=folder, max_payload=max_payload)
        (folder / "server.conf").write_text(config)

    def start(self) -> Server:
        program = shutil.which(
            "nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        )
        assert program is not None
        command = [program, "-c", str(self.folder / "server.conf"), "-l", str(self.folder / "log")]
        self._process = subprocess.Popen(command)
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
                return self
            except OSError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.01)
        raise AssertionError("nats-server did not start")

    def kill(self) -> None:
        """As a power cut would, but for what the system still holds for the disk."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        freeze(self._process.pid)
        os.waitpid(self._process.pid, os.WUNTRACED)  # until it has stopped

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Events:
    """What a connection tells, as `consort_bus.connection.Bus` would pass it on."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], Awaitable[None]]] = []

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        self._callbacks.append(callback)

    def on_refusal(self, alarm: Callable[[AccessDenied], None]) -> None:
        pass

    async def reconnected(self) -> None:
        for callback in self._callbacks:
            await callback()


async def connect(url: str, ping_seconds: float = 5.0) -> tuple[Client, Events]:
    """A bare connection with the settings that the bus uses, and its events."""
    nc, events = Client(), Events()

    async def ignore(_: Exception) -> None:
        pass

    await nc.connect(
        url,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.05,  # type: ignore[arg-type]
        ping_interval=ping_seconds,  # type: ignore[arg-type] # fractions work
        max_outstanding_pings=2,
        pending_size=-1,
        reconnected_cb=events.reconnected,
        error_cb=ignore,
    )
    return nc, events


async def add_stream(nc: Client, name: str, subjects: str, **options: object) -> None:
    config = api.StreamConfig(name=name, subjects=[subjects], allow_direct=True)
    await nc.jetstream().add_stream(config, **options)
