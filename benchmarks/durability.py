"""`python -m benchmarks.durability`: what it costs that every write is on disk, and on three nodes, before it counts.

The chain and the fan of `python -m benchmarks` on three buses in turn: one node as it is by default,
one node that syncs every write, and three nodes that do. A ratio is taken between the buses of one
repeat. All three nodes share this machine's cores and its disk, which a cluster's do not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
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
from consort_bus.embedded import Embedded, credentials_for, start, stop
from consort_bus.wire import Wire
from consort_shared.lifeline import Lifeline

BUSES: dict[str, dict[str, Any]] = {
    "one node": {},
    "one node, sync always": {"sync_always": True},
    "three nodes, sync always, three copies": {"nodes": 3},
}
FIRST = "one node"


@dataclass(frozen=True, slots=True)
class Place:
    """A bus that is up, and who hands runs in there."""

    server: Embedded
    driver: Driver


async def _open(stack: AsyncExitStack, folder: str, options: dict[str, Any]) -> Place:
    server = await asyncio.to_thread(start, folder, **options)
    stack.push_async_callback(asyncio.to_thread, stop, folder)
    async with open_bus(server.url, credentials_for(folder, "provisioner", "bench"), patience=20) as bus:
        await topology.ensure(bus)
    client = await stack.enter_async_context(connect(server.url, credentials_for(folder, "client", "bench")))
    wire = await stack.enter_async_context(Wire(client.bus.nc, client.bus))
    driver = Driver(client, wire, server.pid)
    await driver.open()
    return Place(server, driver)


async def measure(chosen: Sequence[Workload], repeats: int) -> dict[str, dict[str, list[Measured]]]:
    """By workload and bus, a figure per repeat. Raises ConsortError."""
    found: dict[str, dict[str, list[Measured]]] = {workload.name: {} for workload in chosen}
    async with AsyncExitStack() as stack:
        life = stack.enter_context(Lifeline())
        places = {}
        for name, options in BUSES.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="consort-bench-"))
            places[name] = await _open(stack, folder, options)
        for repeat in range(1, repeats + 1):
            tell(f"repeat {repeat} of {repeats}")
            for name, place in places.items():
                submit = place.driver.to_consort()
                async with consort_side(place.server, life) as side:
                    await place.driver.ready(submit, chosen[0])
                    for workload in chosen:
                        measured = await place.driver.run(side, submit, workload)
                        found[workload.name].setdefault(name, []).append(measured)
                        tell(f"  {name:40}{workload.name:6}{measured.seconds:6.2f} s")
    return found


def figures(found: dict[str, dict[str, list[Measured]]]) -> dict[str, Any]:
    """Times of each bus, and their ratios to the first's."""
    told: dict[str, Any] = {}
    for workload, buses in found.items():
        for name, repeats in buses.items():
            ratios = [mine.seconds / first.seconds for mine, first in zip(repeats, buses[FIRST], strict=True)]
            told[f"{workload}, {name}"] = {
                "seconds_median": round(median(one.seconds for one in repeats), 2),
                "run_ms_median": round(1e3 * median(median(one.durations) for one in repeats), 1),
                "ratio": round(median(ratios), 2),
                "ratio_min": round(min(ratios), 2),
                "ratio_max": round(max(ratios), 2),
                "repeats": len(repeats),
            }
    return told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durability", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    asked = parser.parse_args()
    chosen = [workload for workload in workloads(quick=True) if workload.name != "many"]
    text = json.dumps(figures(uvloop.run(measure(chosen, asked.repeats))), indent=2)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
