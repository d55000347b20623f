"""A fleet behind one key: a bus, the fake of the Messages API with a limit, and processes that call."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consort_agents.fake_llm import Fake, read_script, serving
from consort_bus import embedded, topology
from consort_bus.connection import open_bus

ROOT = Path(__file__).parents[1]
KEY = "sk-ant-test-0123456789abcdef"
STARTS_WITHIN = 120.0


@dataclass
class Fleet:
    """What a measurement, or a test, has in hand."""

    folder: Path
    server: str
    fake: Fake
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    began: float = 0.0

    def start(self, whom: Mapping[str, str], seconds: float, at_once: int = 1) -> subprocess.Popen[bytes]:
        """One process for each name, which calls for its run; ended together."""
        for name in whom:
            embedded.credentials_for(self.folder, "agent", name).save(self.folder / f"{name}.creds")
        environment = {
            **os.environ,
            "CONSORT_SERVER": self.server,
            "ANTHROPIC_BASE_URL": self.fake.url,
            "ANTHROPIC_API_KEY": KEY,
        }
        command = [
            sys.executable,
            "-m",
            "benchmarks.limits_caller",
            str(self.folder),
            str(seconds),
            str(at_once),
        ]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*command, *(f"{name}:{run}" for name, run in whom.items())],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        self.names += whom
        return process

    @property
    def log(self) -> Path:
        return self.folder / "callers.log"

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """As `kill -9` does, a process and those that it forked."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    async def go(self) -> None:
        """When all are ready, let them begin."""
        until = time.monotonic() + STARTS_WITHIN
        while not all((self.folder / f"ready-{name}").exists() for name in self.names):
            assert all(process.poll() is None for process in self.processes), self.log.read_text()
            assert time.monotonic() < until, "the fleet does not start"
            await asyncio.sleep(0.05)
        self.began = time.time()
        (self.folder / "go").touch()

    async def done(self, limit: float) -> list[dict[str, Any]]:
        """What each process tells when all have ended."""
        until = time.monotonic() + limit
        while any(process.poll() is None for process in self.processes):
            assert time.monotonic() < until, "the fleet does not end"
            await asyncio.sleep(0.05)
        assert all(process.returncode in (0, -9) for process in self.processes), self.log.read_text()
        told = [self.folder / f"told-{name}.json" for name in self.names]
        return [json.loads(path.read_text()) for path in told if path.exists()]

    def times(self, status: int = 200, agent: str | None = None) -> list[float]:
        """When the fake answered with a status, in seconds from the beginning."""
        return [
            asked.time - self.began
            for asked in self.fake.requests
            if asked.status == status and agent in (None, asked.agent)
        ]


@asynccontextmanager
async def fleet(folder: Path, script: str) -> AsyncIterator[Fleet]:
    """A bus and a fake that plays a script, without processes yet."""
    server = embedded.start(folder)
    try:
        async with open_bus(server.url, embedded.credentials_for(folder, "provisioner", "setup")) as bus:
            await topology.ensure(bus)
        async with serving(read_script(script)) as fake:
            there = Fleet(folder, server.url, fake)
            try:
                yield there
            finally:
                for process in there.processes:
                    there.kill(process)
    finally:
        embedded.stop(folder)


def in_windows(times: Sequence[float], seconds: float) -> int:
    """The most that there were in any window."""
    most, first = 0, 0
    for last, moment in enumerate(times):
        while moment - times[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
