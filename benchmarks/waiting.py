"""`python -m benchmarks.waiting`: what runs cost that wait for an agent which is not there.

Hands in many runs of a skill that nobody offers, and when all of them wait, measures the
orchestrator's memory and the processor time that it takes while nothing happens. Then the
agent comes, and the time is taken until all are done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.processes import Side, agent_side, cpu_of, orchestrator_side, peak_of, resident_of
from benchmarks.session import tell
from benchmarks.workloads import SKILL
from consort_bus import jetstream, subjects, topology
from consort_bus.client import Client, connect
from consort_bus.connection import open_bus
from consort_bus.embedded import Embedded, credentials_for, running
from consort_shared.lifeline import Lifeline
from consort_shared.plan.model import Plan

AT_ONCE = 64
QUIET = 20.0
"""Seconds over which the processor time of waiting is measured."""


async def measure(runs: int) -> dict[str, Any]:
    """Set up a bus in a temporary folder, measure, and take it all down. Raises ConsortError."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="consort-bench-"))
        server = await stack.enter_async_context(running(folder))
        life = stack.enter_context(Lifeline())
        setup = open_bus(server.url, credentials_for(folder, "provisioner", "bench"))
        async with setup as bus:
            await topology.ensure(bus)
        client = await stack.enter_async_context(
            connect(server.url, credentials_for(folder, "client", "bench"))
        )
        side = await stack.enter_async_context(orchestrator_side(server, life))
        return await _measured(client, server, life, side, runs)


async def _measured(
    client: Client, server: Embedded, life: Lifeline, side: Side, runs: int
) -> dict[str, Any]:
    pid = side.pids["orchestrator"]
    plan = Plan.model_validate({"name": "waits", "steps": {"one": {"skill": SKILL, "with": {"text": "a"}}}})
    before = resident_of(pid)
    tell(f"handing in {runs} runs")
    began = time.monotonic()
    room = asyncio.Semaphore(AT_ONCE)

    async def hand_in() -> None:
        async with room:
            await client.submit(plan)

    await asyncio.gather(*(hand_in() for _ in range(runs)))
    await _all(client, runs, "waiting")
    taken = time.monotonic() - began
    tell(f"all wait after {taken:.1f} s; measuring for {QUIET:.0f} s")
    highest, used, since = resident_of(pid), cpu_of(pid), time.monotonic()
    while time.monotonic() - since < QUIET:
        await asyncio.sleep(0.5)
        highest = max(highest, resident_of(pid))
    waiting_cpu = (cpu_of(pid) - used) / (time.monotonic() - since)
    settled = resident_of(pid)
    async with agent_side(server, life):
        began, used = time.monotonic(), cpu_of(pid)
        await _all(client, runs, "ended")
        woken = time.monotonic() - began
        woken_cpu = cpu_of(pid) - used
    return {
        "runs": runs,
        "handing_in_s": round(taken, 1),
        "orchestrator_mib_before": round(before, 1),
        "orchestrator_mib_while_waiting": round(highest, 1),
        "orchestrator_mib_settled": round(settled, 1),
        "orchestrator_mib_peak": round(peak_of(pid), 1),
        "orchestrator_cpu_while_waiting_percent": round(100 * waiting_cpu, 2),
        "agent_came_all_done_s": round(woken, 1),
        "agent_came_orchestrator_cpu_s": round(woken_cpu, 1),
    }


async def _all(client: Client, runs: int, kind: str) -> None:
    """Wait until so many runs have an entry of a kind."""
    body = json.dumps({"subjects_filter": f"log.*.entry.*.{kind}"}).encode()
    while True:
        answer = json.loads(
            (await client.bus.request(jetstream.stream_info(subjects.LOG), body, timeout=10)).data
        )
        if answer.get("total", 0) >= runs:
            return
        await asyncio.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    asked = parser.parse_args()
    found = uvloop.run(measure(asked.runs))
    text = json.dumps(found, indent=2)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
