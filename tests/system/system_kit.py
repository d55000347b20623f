"""A whole system of real processes, for tests that start, stop and kill them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from consort_bus import embedded, topology
from consort_bus.client import Client, connect
from consort_bus.connection import open_bus
from consort_shared.entries import Accepted, Fact
from consort_shared.plan.model import Plan
from standing_still import freeze

HERE = Path(__file__).parent
LIMIT = 30.0


@dataclass
class Child:
    """One process of the system."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def freeze(self) -> None:
        freeze(self.process.pid)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        return self.process.poll() is None


@dataclass
class System:
    """A bus, and the processes that a test adds to it."""

    folder: Path
    url: str
    client: Client
    children: list[Child] = field(default_factory=list)

    @property
    def marks(self) -> Path:
        return self.folder / "marks"

    def marked(self, name: str) -> list[str]:
        path = self.marks / name
        return path.read_text().splitlines() if path.exists() else []

    def let_go(self, name: str) -> None:
        (self.marks / f"go-{name}").touch()

    def creds(self, role: str, name: str) -> str:
        path = self.folder / f"{role}-{name}.creds"
        if not path.exists():
            embedded.credentials_for(self.folder, role, name).save(path)
        return str(path)

    def orchestrator(self, name: str = "main", *, env: dict[str, str] | None = None, shim: str = "") -> Child:
        """An orchestrator; `shim` is Python that its process runs first."""
        arguments = ["consort_orchestrator.cli", "orchestrator", "start", "--name", name]
        arguments += ["--creds", self.creds("orchestrator", name)]
        return self._start(f"orchestrator-{name}", arguments, env, shim)

    def agent(
        self,
        name: str,
        module: str | None = "cast.py",
        *,
        slots: int | None = None,
        env: dict[str, str] | None = None,
        shim: str = "",
    ) -> Child:
        """An agent of the cast, or without a module an installed one; `shim` is Python that its process runs first."""
        more = ["--slots", str(slots)] if slots else []
        which = f"{HERE / module}:{name}" if module else name
        arguments = ["consort_agents", which, "--creds", self.creds("agent", name), *more]
        return self._start(f"agent-{name}", arguments, env, shim)

    def _start(self, name: str, arguments: list[str], env: dict[str, str] | None, shim: str) -> Child:
        log = self.folder / f"{name}-{len(self.children)}.log"
        environment = {**os.environ, "CONSORT_SERVER": self.url, "MARKS": str(self.marks), "NO_COLOR": "1"}
        environment |= env or {}
        command = ["-m", *arguments]
        if shim:
            run = f"import runpy, sys; sys.argv = sys.argv[1:]; {shim}; runpy.run_module(sys.argv[0], None, '__main__')"
            command = ["-c", run, *arguments]
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, *command],
                env=environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    async def run(self, plan: dict[str, object], inputs: dict[str, object] | None = None) -> str:
        return await self.client.submit(Plan.model_validate({"name": "test", **plan}), inputs or {})

    async def run_as(self, run: str, plan: dict[str, object]) -> str:
        return await self.client.submit(Plan.model_validate({"name": "test", **plan}), {}, run=run)

    async def facts(self, run: str) -> list[Fact]:
        return [fact for logged in await self.client.entries(run) for fact in logged.entry.facts]

    async def accepted_once(self, run: str) -> list[str]:
        """The paths whose outcome was accepted; asserts that none was accepted twice."""
        paths = [fact.path for fact in await self.facts(run) if isinstance(fact, Accepted)]
        assert len(paths) == len(set(paths)), paths
        return paths


async def until(holds: Callable[[], object], limit: float = LIMIT) -> None:
    """Wait for a fact."""
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    folder = tmp_path / "consort"
    server = embedded.start(folder)
    (folder / "marks").mkdir()
    async with open_bus(server.url, embedded.credentials_for(folder, "provisioner", "setup")) as bus:
        await topology.ensure(bus)
    async with connect(server.url, embedded.credentials_for(folder, "client", "me")) as client:
        there = System(folder, server.url, client)
        try:
            yield there
        finally:
            for child in there.children:
                if child.running:
                    child.thaw()
                    child.process.kill()
                    child.process.wait(10)
            embedded.stop(folder)
