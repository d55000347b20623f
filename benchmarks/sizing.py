"""`python -m benchmarks.sizing`: what the processes of a system need, for choosing machines.

Starts a bus, an orchestrator, the five specialists and the benchmark's agent; measures memory and
processor time while nothing happens, after the market analysis, and after chains of steps; and how
many bytes of disk a step leaves behind, as the server counts them and as the folder has them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.processes import agent_command, cpu_of, orchestrator_command, resident_of
from benchmarks.session import tell
from benchmarks.workloads import CHAIN, TEXT
from consort_bus import jetstream, topology
from consort_bus.client import Client, connect
from consort_bus.connection import open_bus
from consort_bus.embedded import Embedded, credentials_for, running
from consort_shared.lifeline import Lifeline
from consort_shared.plan.source import load_checked

SPECIALISTS = ("researcher", "analyst", "surveyor", "writer", "checker")
EXAMPLE = Path(__file__).parents[1] / "examples" / "market-analysis"
QUIET = 15.0
"""Seconds over which the processor time of doing nothing is measured."""


async def measure(runs: int) -> dict[str, Any]:
    """Set up a system in a temporary folder, measure, and take it all down. Raises ConsortError."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="consort-sizing-")))
        server = await stack.enter_async_context(running(folder))
        life = stack.enter_context(Lifeline())
        async with open_bus(server.url, credentials_for(folder, "provisioner", "bench")) as bus:
            await topology.ensure(bus)
        client = await stack.enter_async_context(
            connect(server.url, credentials_for(folder, "client", "bench"))
        )
        pids = {"server": server.pid, **await stack.enter_async_context(_processes(server, life))}
        return await _measured(client, folder, pids, runs)


async def _measured(client: Client, folder: Path, pids: dict[str, int], runs: int) -> dict[str, Any]:
    while len(await client.agents()) < len(SPECIALISTS) + 1:
        await asyncio.sleep(0.1)
    tell(f"all are there; measuring for {QUIET:.0f} s")
    used, since = {name: cpu_of(pid) for name, pid in pids.items()}, time.monotonic()
    await asyncio.sleep(QUIET)
    span = time.monotonic() - since
    idle = {name: round(100 * (cpu_of(pid) - used[name]) / span, 2) for name, pid in pids.items()}
    resting = _resident(pids)
    await client.result(
        await client.submit(load_checked(EXAMPLE / "plan.yaml"), {"sources": str(EXAMPLE / "sources")})
    )
    worked = _resident(pids)
    tell(f"{runs} chains of {CHAIN.steps} steps, one after the other")
    stored, disk = await _stored(client), _on_disk(folder)
    for _ in range(runs):
        await client.result(await client.submit(CHAIN.plan, {"text": TEXT}))
    steps = runs * CHAIN.steps
    return {
        "mib_idle": resting,
        "mib_after_the_market_analysis": worked,
        "mib_after_chains": _resident(pids),
        "cpu_idle_percent": idle,
        "steps": steps,
        "bytes_stored_per_step": round((await _stored(client) - stored) / steps),
        "bytes_on_disk_per_step": round((_on_disk(folder) - disk) / steps),
    }


def _resident(pids: dict[str, int]) -> dict[str, float]:
    return {name: round(resident_of(pid), 1) for name, pid in pids.items()}


async def _stored(client: Client) -> int:
    return int(json.loads((await client.bus.request(jetstream.stream_info("LOG"))).data)["state"]["bytes"])


def _on_disk(folder: Path) -> int:
    """What the data takes of the disk, in blocks of the file system."""
    return sum(
        path.stat().st_blocks * 512 for path in (folder / "bus" / "jetstream").rglob("*") if path.is_file()
    )


@asynccontextmanager
async def _processes(server: Embedded, life: Lifeline) -> AsyncIterator[dict[str, int]]:
    commands = {"orchestrator": orchestrator_command(server), "bench": agent_command(server)}
    for name in SPECIALISTS:
        credentials_for(server.folder, "agent", name)
        creds = server.folder / "keys" / f"agent.{name}.creds"
        commands[name] = ["-m", "consort_agents", name, "--server", server.url, "--creds", str(creds)]
    started = {
        name: await asyncio.create_subprocess_exec(
            sys.executable, *command, env=life.environment(), pass_fds=(life.reading,)
        )
        for name, command in commands.items()
    }
    try:
        yield {name: process.pid for name, process in started.items()}
    finally:
        for process in started.values():
            process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(process.wait() for process in started.values()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    asked = parser.parse_args()
    text = json.dumps(uvloop.run(measure(asked.runs)), indent=2)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
