"""`python -m benchmarks.failover`: how long work stands still when a process dies or freezes.

A run of one step is handed in every twentieth of a second. In the middle of it an orchestrator
(one of two) or an agent's process (one of two) is killed, or frozen for a while; the figure is
the longest that any run took. Each is done several times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from benchmarks.processes import agent_command, orchestrator_command
from benchmarks.session import tell
from benchmarks.workloads import SKILL
from consort_bus import topology
from consort_bus.client import Client, connect
from consort_bus.connection import open_bus
from consort_bus.embedded import Embedded, credentials_for, running
from consort_shared.lifeline import Lifeline
from consort_shared.plan.model import Plan

EVERY, BEFORE, AFTER = 0.05, 1.0, 6.0
PLAN = Plan.model_validate({"name": "one", "steps": {"one": {"skill": SKILL, "with": {"text": "a"}}}})


@dataclass(slots=True)
class Fleet:
    """Two orchestrators and two processes of one agent."""

    server: Embedded
    life: Lifeline
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, name: str) -> None:
        role, _, which = name.partition("-")
        command = (
            orchestrator_command(self.server, which) if role == "orchestrator" else agent_command(self.server)
        )
        self.processes[name] = await asyncio.create_subprocess_exec(
            sys.executable, *command, env=self.life.environment(), pass_fds=(self.life.reading,)
        )

    async def stop(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
        await asyncio.gather(*(process.wait() for process in self.processes.values()))


async def longest(client: Client, harm: Callable[[], None]) -> float:
    """The longest that a run took, in seconds, of those handed in before and after the harm."""
    tasks: list[asyncio.Task[float]] = []

    async def one() -> float:
        began = time.monotonic()
        await client.result(await client.submit(PLAN), timeout=60)
        return time.monotonic() - began

    began, done = time.monotonic(), False
    while time.monotonic() - began < BEFORE + AFTER:
        tasks.append(asyncio.create_task(one()))
        await asyncio.sleep(EVERY)
        if not done and time.monotonic() - began > BEFORE:
            harm()
            done = True
    return max(await asyncio.gather(*tasks))


async def measure(times: int) -> dict[str, Any]:
    """Raises ConsortError."""
    found: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="consort-bench-"))
        server = await stack.enter_async_context(running(folder))
        life = stack.enter_context(Lifeline())
        async with open_bus(server.url, credentials_for(folder, "provisioner", "bench")) as bus:
            await topology.ensure(bus)
        client = await stack.enter_async_context(
            connect(server.url, credentials_for(folder, "client", "bench"))
        )
        fleet = Fleet(server, life)
        stack.push_async_callback(fleet.stop)
        names = ["orchestrator-a", "orchestrator-b", "agent-1", "agent-2"]
        for name in names:
            await fleet.start(name)
        found["nothing"] = [await longest(client, lambda: None)]
        for turn in range(times):
            for kind in ("orchestrator", "agent"):
                name = names[turn % 2] if kind == "orchestrator" else names[2 + turn % 2]
                for sign in (signal.SIGKILL, signal.SIGSTOP):
                    process = fleet.processes[name]
                    took = await longest(client, partial(process.send_signal, sign))
                    what = f"{kind} {'killed' if sign is signal.SIGKILL else 'frozen'}"
                    found.setdefault(what, []).append(took)
                    tell(f"{what}: {took:.2f} s")
                    if sign is signal.SIGKILL:
                        await process.wait()
                        await fleet.start(name)
                    else:
                        process.send_signal(signal.SIGCONT)
                    await longest(client, lambda: None)  # until all is shared evenly again
    return {
        what: {"median_s": round(median(took), 2), "worst_s": round(max(took), 2), "times": len(took)}
        for what, took in found.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failover", description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    asked = parser.parse_args()
    text = json.dumps(uvloop.run(measure(asked.times)), indent=2)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
