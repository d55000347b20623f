"""`python -m benchmarks.tracing`: what it costs that every process exports spans.

The chain and the fan of `python -m benchmarks` in turn without an endpoint, with one that takes
all spans, and with one that samples a tenth of the runs. A ratio is taken between the turns of
one repeat. The collector, which throws everything away, shares this machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from benchmarks.driver import Driver, Measured
from benchmarks.processes import consort_side
from benchmarks.session import tell
from benchmarks.workloads import Workload, workloads
from consort_bus import topology
from consort_bus.client import connect
from consort_bus.connection import open_bus
from consort_bus.embedded import credentials_for, running
from consort_bus.wire import Wire
from consort_shared.lifeline import Lifeline

OFF, ON, TENTH = "no endpoint", "every span exported", "a tenth of the runs sampled"


def environments(endpoint: str) -> dict[str, dict[str, str]]:
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_METRICS_EXPORTER": "none"}
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    return {OFF: {}, ON: exporting, TENTH: exporting | sampler}


@asynccontextmanager
async def sink() -> AsyncIterator[str]:
    """A collector while the block lasts; its address."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.sink", stdin=pipe, stdout=pipe
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        process.kill()
        await process.wait()


async def measure(chosen: Sequence[Workload], repeats: int) -> dict[str, dict[str, list[Measured]]]:
    """By workload and environment, a figure per repeat. Raises ConsortError."""
    found: dict[str, dict[str, list[Measured]]] = {workload.name: {} for workload in chosen}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="consort-bench-"))
        server = await stack.enter_async_context(running(folder))
        life = stack.enter_context(Lifeline())
        endpoint = await stack.enter_async_context(sink())
        async with open_bus(server.url, credentials_for(folder, "provisioner", "bench")) as bus:
            await topology.ensure(bus)
        client = await stack.enter_async_context(
            connect(server.url, credentials_for(folder, "client", "bench"))
        )
        wire = await stack.enter_async_context(Wire(client.bus.nc, client.bus))
        driver = Driver(client, wire, server.pid)
        await driver.open()
        for repeat in range(1, repeats + 1):
            tell(f"repeat {repeat} of {repeats}")
            for name, environment in environments(endpoint).items():
                submit = driver.to_consort()
                async with consort_side(server, life, environment) as side:
                    await driver.ready(submit, chosen[0])
                    for workload in chosen:
                        measured = await driver.run(side, submit, workload)
                        found[workload.name].setdefault(name, []).append(measured)
                        tell(f"  {name:30}{workload.name:6}{measured.seconds:6.2f} s")
    return found


def figures(found: dict[str, dict[str, list[Measured]]]) -> dict[str, Any]:
    """Times with each environment, and their ratios to that without an endpoint."""
    told: dict[str, Any] = {}
    for workload, by_name in found.items():
        for name, repeats in by_name.items():
            ratios = [mine.seconds / off.seconds for mine, off in zip(repeats, by_name[OFF], strict=True)]
            told[f"{workload}, {name}"] = {
                "seconds_median": round(median(one.seconds for one in repeats), 2),
                "cpu_us_per_step": {
                    role: round(1e6 * median(one.cpu[role] for one in repeats)) for role in repeats[0].cpu
                },
                "ratio": round(median(ratios), 2),
                "ratio_min": round(min(ratios), 2),
                "ratio_max": round(max(ratios), 2),
                "repeats": len(repeats),
            }
    return told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    asked = parser.parse_args()
    chosen = [workload for workload in workloads(quick=False) if workload.name != "many"]
    text = json.dumps(figures(uvloop.run(measure(chosen, asked.repeats))), indent=2)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
