"""`python -m benchmarks.answering`: how soon a question is answered when steps ask a model.

Runs of five steps, each of which asks the scripted model once with the answer of the step before,
from their submission to the arrival of their result: one at a time, then sixteen at once. The
model itself takes next to nothing, so what is measured is everything around it: two durable
writes for each hand-off, two for each call in the journal, and the work on them.
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
from statistics import median, quantiles
from typing import Any

import uvloop

from benchmarks.processes import consort_side
from benchmarks.thinker import SKILL
from consort_bus import topology
from consort_bus.client import Client, connect
from consort_bus.connection import open_bus
from consort_bus.embedded import credentials_for, running
from consort_shared.lifeline import Lifeline
from consort_shared.plan.model import Plan

STEPS, AT_ONCE = 5, 16
SCRIPT = 'rules:\n  - when: {}\n    answer: "Forty-two, or so it seems, for everything considered."\n'


def plan() -> Plan:
    steps: dict[str, Any] = {"s1": {"skill": SKILL, "with": {"text": "What is the answer?"}}}
    for at in range(2, STEPS + 1):
        told = f"${{{{ steps.s{at - 1}.output }}}}"
        steps[f"s{at}"] = {"skill": SKILL, "needs": [f"s{at - 1}"], "with": {"text": told}}
    return Plan.model_validate({"name": "answering", "steps": steps})


async def timed(client: Client, runs: int, at_once: int) -> list[float]:
    """Seconds of each run."""
    room, chain = asyncio.Semaphore(at_once), plan()

    async def one() -> float:
        async with room:
            since = time.perf_counter()
            await client.result(await client.submit(chain, {}), timeout=60)
            return time.perf_counter() - since

    return list(await asyncio.gather(*(one() for _ in range(runs))))


async def measure(runs: int) -> dict[str, Any]:
    """Figures for each load. Raises ConsortError."""
    found: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="consort-bench-")))
        script = folder / "rules.yaml"
        script.write_text(SCRIPT, encoding="utf-8")
        server = await stack.enter_async_context(running(folder))
        life = stack.enter_context(Lifeline())
        async with open_bus(server.url, credentials_for(folder, "provisioner", "bench")) as bus:
            await topology.ensure(bus)
        client = await stack.enter_async_context(
            connect(server.url, credentials_for(folder, "client", "bench"))
        )
        environment = {"CONSORT_MODEL": f"scripted:{script}"}
        await stack.enter_async_context(
            consort_side(server, life, environment, agent=("benchmarks.thinker:agent", "thinker"))
        )
        await timed(client, 5, 1)  # what is loaded with the first call is loaded
        for at_once in (1, AT_ONCE):
            seconds = await timed(client, runs, at_once)
            found[f"{at_once} at a time"] = {
                "runs": runs,
                "milliseconds_median": round(1e3 * median(seconds), 1),
                "milliseconds_p95": round(1e3 * quantiles(seconds, n=20)[-1], 1),
                "milliseconds_max": round(1e3 * max(seconds), 1),
                "milliseconds_per_step": round(1e3 * median(seconds) / STEPS, 2),
            }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answering", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    print(json.dumps(uvloop.run(measure(parser.parse_args().runs)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
