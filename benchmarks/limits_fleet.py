"""A fleet behind one key: a bus, the fake of the Messages API with a limit, and processes that call."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    began: float = 0.0

    def start(self, name: str, run: str, seconds: float, at_once: int = 1) -> None:
        creds = self.folder / f"{name}.creds"
        embedded.credentials_for(self.folder, "agent", name).save(creds)
        environment = {
            **os.environ,
            "CONSORT_SERVER": self.server,
            "ANTHROPIC_BASE_URL": self.fake.url,
            "ANTHROPIC_API_KEY": KEY,
        }
        log = (self.folder / f"{name}.log").open("ab")
        command = [sys.executable, "-m", "benchmarks.limits_caller", name, run, str(creds), str(self.folder)]
        with log:
            self.processes[name] = subprocess.Popen(
                [*command, str(seconds), str(at_once)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def go(self) -> None:
        """When all are ready, let them begin."""
        until = time.monotonic() + STARTS_WITHIN
        while not all((self.folder / f"ready-{name}").exists() for name in self.processes):
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            assert not ended, (self.folder / f"{ended[0]}.log").read_text()
            assert time.monotonic() < until, "the fleet does not start"
            await asyncio.sleep(0.05)
        self.began = time.time()
        (self.folder / "go").touch()

    async def done(self, limit: float) -> list[dict[str, Any]]:
        """What each process tells when all have ended."""
        until = time.monotonic() + limit
        while any(process.poll() is None for process in self.processes.values()):
            assert time.monotonic() < until, "the fleet does not end"
            await asyncio.sleep(0.05)
        failed = [name for name, process in self.processes.items() if process.returncode not in (0, -9)]
        assert not failed, (self.folder / f"{failed[0]}.log").read_text()
        told = [self.folder / f"told-{name}.json" for name in self.processes]
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
                for process in there.processes.values():
                    if process.poll() is None:
                        process.kill()
                    process.wait(10)
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
