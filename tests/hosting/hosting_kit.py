"""A bus with tool hosts as processes, and agents that call them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from consort_agents.hosting.remote import Calls
from consort_agents.hosting.shared import SharedTools
from consort_agents.tools.definition import Caller, Tool, ToolAnswer
from consort_bus import embedded, topology
from consort_bus.connection import Bus, open_bus
from consort_bus.publish import Publisher
from consort_bus.toolbox import Toolbox
from consort_bus.toolhosts import HostAdmission
from consort_bus.wire import Wire
from consort_orchestrator.cli.tool_files import approving, defined_by
from consort_shared.ids import new_run_id
from consort_shared.tooling import Approved, ToolReply

HERE = Path(__file__).parent
LIMIT = 30.0
EVERYBODY = [{"tool": "*"}]
SHORT_LEASE = timedelta(seconds=4)


def tools_file(folder: Path, name: str = "shop", **content: Any) -> Path:
    """A file with the tools of the workshop, each `function` by its name."""
    functions = content.pop("functions", ["look", "pay", "book", "big", "hang", "broken", "secret_length"])
    entries = [
        {"function": f"workshop:{one}"}
        if isinstance(one, str)
        else {**one, "function": f"workshop:{one['function']}"}
        for one in functions
    ]
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"tools": entries, "allow": EVERYBODY, **content}))
    return path


@dataclass
class HostProcess:
    """A process of a tool host."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    async def ready(self) -> None:
        await until(lambda: b"is ready" in self.log.read_bytes() or not self.running)
        assert self.running, self.log.read_text()


@dataclass
class Site:
    """A bus, the hosts that a test starts on it, and what they leave behind."""

    folder: Path
    url: str
    hosts: list[HostProcess] = field(default_factory=list)

    @property
    def marks(self) -> Path:
        return self.folder / "marks"

    def marked(self, name: str) -> list[str]:
        path = self.marks / name
        return path.read_text().splitlines() if path.exists() else []

    def go(self, name: str) -> None:
        (self.marks / f"go-{name}").touch()

    def creds(self, role: str, name: str) -> Path:
        path = self.folder / f"{role}-{name}.creds"
        if not path.exists():
            embedded.credentials_for(self.folder, role, name).save(path)
        return path

    @asynccontextmanager
    async def connected(self, role: str, name: str) -> AsyncIterator[tuple[Bus, Wire]]:
        credentials = embedded.credentials_for(self.folder, role, name)
        async with open_bus(self.url, credentials) as bus, Wire(bus.nc, bus) as wire:
            yield bus, wire

    async def approve(self, file: Path) -> Approved:
        """Approve what a file defines now; its calls come again after a short silence."""
        defined = await defined_by(file)
        async with self.connected("provisioner", "setup") as (bus, wire):
            hand = HostAdmission(bus, wire)
            approved, revision = await hand.toolbox.approved(defined.host)
            document = approving(defined, approved, "test")
            await hand.admit(document, revision)
            await topology.create_consumer(bus, topology.host_consumer(defined.host, SHORT_LEASE))
        return document

    def host(
        self, file: Path, *, env: dict[str, str] | None = None, options: tuple[str, ...] = ()
    ) -> HostProcess:
        """Start a process of the host of a file."""
        log = self.folder / f"host-{len(self.hosts)}.log"
        environment = {
            **os.environ,
            "CONSORT_SERVER": self.url,
            "MARKS": str(self.marks),
            "PYTHONPATH": str(HERE),
            "NO_COLOR": "1",
            **(env or {}),
        }
        with log.open("wb") as out:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "consort_agents.hosting",
                    *options,
                    "--creds",
                    str(self.creds("toolhost", file.stem)),
                    str(file),
                ],
                env=environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )
        found = HostProcess(process, log)
        self.hosts.append(found)
        return found

    async def opened(self, file: Path, **more: Any) -> HostProcess:
        """Approve a file and start its host."""
        await self.approve(file)
        host = self.host(file, **more)
        await host.ready()
        return host

    @asynccontextmanager
    async def agent(self, name: str = "ann") -> AsyncIterator[Desk]:
        """An agent's process, as far as shared tools go."""
        async with self.connected("agent", name) as (bus, wire):
            calls = Calls(bus, wire)
            async with calls.hearing():
                shared = SharedTools(Toolbox(wire, Publisher(wire)), calls)
                yield Desk(name, bus, wire, calls, shared)


@dataclass
class Desk:
    """What an agent has at hand in these tests."""

    name: str
    bus: Bus
    wire: Wire
    calls: Calls
    shared: SharedTools

    async def tool(self, name: str) -> Tool:
        [found] = await self.shared.resolve([name])
        return found

    async def call(self, name: str, arguments: dict[str, Any], **caller: Any) -> ToolAnswer:
        """Call a shared tool by `host.tool`."""
        found = await self.tool(name)
        return await found.call(arguments, caller_of(self.name, **caller))


def caller_of(
    agent: str, *, run: str = "", wait: float = LIMIT, task: str = "1-0", call_id: str = ""
) -> Caller:
    return Caller(
        run=run or new_run_id(),
        task=task,
        step="step",
        agent=agent,
        call_id=call_id,
        deadline=time.time() + wait,
    )


async def until(holds: Callable[[], object], limit: float = LIMIT) -> None:
    """Wait for a fact."""
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


async def replies(site: Site, run: str) -> list[ToolReply]:
    """The answers of a run, as an operator reads them."""
    from consort_bus.toolbox import replies_of

    async with site.connected("operator", "me") as (_, wire):
        return [reply async for reply in replies_of(wire, run)]
