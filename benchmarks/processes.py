"""The two sides as processes, and what they use of the machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.shape import Shape, to_json
from benchmarks.workloads import AGENT, BARE_AGENT
from consort_bus.embedded import Embedded, credentials_for
from consort_shared.lifeline import Lifeline

_TICK = os.sysconf("SC_CLK_TCK")
_STOP = 15.0


@dataclass(frozen=True, slots=True)
class Side:
    """The processes of one side, by what they do."""

    name: str
    pids: Mapping[str, int]

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time so far, user and system, by process."""
        return {role: cpu_of(pid) for role, pid in self.pids.items()}

    def peak(self) -> dict[str, float]:
        """Peak resident memory in MiB, by process."""
        return {role: peak_of(pid) for role, pid in self.pids.items()}


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def peak_of(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"the peak memory of process {pid} is not told here")


def resident_of(pid: int) -> float:
    """Resident memory in MiB now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@asynccontextmanager
async def consort_side(
    server: Embedded,
    life: Lifeline,
    environment: Mapping[str, str] | None = None,
    agent: tuple[str, str] = ("benchmarks.agent:agent", AGENT),
) -> AsyncIterator[Side]:
    """An orchestrator and a worker while the block lasts, with more in their environment."""
    commands = {"orchestrator": orchestrator_command(server), "agent": agent_command(server, *agent)}
    async with _running("consort", commands, life, environment) as side:
        yield side


@asynccontextmanager
async def orchestrator_side(server: Embedded, life: Lifeline) -> AsyncIterator[Side]:
    """An orchestrator alone while the block lasts."""
    async with _running("consort", {"orchestrator": orchestrator_command(server)}, life) as side:
        yield side


@asynccontextmanager
async def agent_side(server: Embedded, life: Lifeline) -> AsyncIterator[Side]:
    """A worker alone while the block lasts."""
    async with _running("consort", {"agent": agent_command(server)}, life) as side:
        yield side


def orchestrator_command(server: Embedded, name: str = "main") -> list[str]:
    """The arguments of the interpreter that make it an orchestrator."""
    return [
        "-m", "consort_orchestrator.cli", "orchestrator", "start", "--name", name, "--server", server.url,
        "--creds", _creds(server, "orchestrator", name), "--log-level", "warning",
    ]  # fmt: skip


def agent_command(
    server: Embedded, reference: str = "benchmarks.agent:agent", name: str = AGENT
) -> list[str]:
    """The arguments of the interpreter that make it the benchmark's agent, or another by reference and name."""
    return [
        "-m", "consort_agents", reference, "--server", server.url,
        "--creds", _creds(server, "agent", name), "--log-level", "warning",
    ]  # fmt: skip


@asynccontextmanager
async def bare_side(server: Embedded, life: Lifeline, shapes: Mapping[str, Shape]) -> AsyncIterator[Side]:
    """The bare loop's two processes while the block lasts."""
    told = to_json(shapes)
    roles = {"orchestrator": "main", "agent": BARE_AGENT}
    commands = {
        role: ["-m", "benchmarks.bare", role, server.url, _creds(server, role, name), told]
        for role, name in roles.items()
    }
    async with _running("bare", commands, life) as side:
        yield side


def _creds(server: Embedded, role: str, name: str) -> str:
    credentials_for(server.folder, role, name)
    return str(server.folder / "keys" / f"{role}.{name}.creds")


@asynccontextmanager
async def _running(
    name: str,
    commands: Mapping[str, Sequence[str]],
    life: Lifeline,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Side]:
    processes: dict[str, asyncio.subprocess.Process] = {}
    try:
        for role, arguments in commands.items():
            processes[role] = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                env={**life.environment(), **(environment or {})},
                pass_fds=(life.reading,),
            )
        yield Side(name, {role: process.pid for role, process in processes.items()})
    finally:
        for process in processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for role, process in processes.items():
            try:
                async with asyncio.timeout(_STOP):
                    code = await process.wait()
            except TimeoutError:
                process.kill()
                code = await process.wait()
            if code:
                sys.stderr.write(f"{name}: the {role} ended with {code}\n")
