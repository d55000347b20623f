"""A whole session: one server, both sides in turn, repeat by repeat.

A side's processes are started for its turn and stopped after it, because both use the same
streams and consumers; each workload is warmed up before it is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.driver import Driver, Measured, Submit
from benchmarks.processes import Side, bare_side, consort_side, peak_of
from benchmarks.shape import Shape, shape_of
from benchmarks.workloads import Workload
from consort_bus import jetstream, subjects, topology
from consort_bus.client import connect
from consort_bus.connection import Bus, open_bus
from consort_bus.embedded import Embedded, credentials_for, running
from consort_bus.topology import PRIORITY_GROUP
from consort_bus.wire import Wire
from consort_shared.ids import new_run_id
from consort_shared.lifeline import Lifeline

SIDES = ("bare", "consort")


@dataclass(slots=True)
class Results:
    """What was measured: by workload and side a figure per repeat; memory in MiB, the highest of all repeats."""

    measured: dict[str, dict[str, list[Measured]]] = field(default_factory=dict)
    peaks: dict[str, dict[str, float]] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)


class Session:
    """Everything that lasts from the first repeat to the last."""

    def __init__(self, server: Embedded, setup: Bus, wire: Wire, driver: Driver, life: Lifeline) -> None:
        self._server = server
        self._setup = setup
        self._wire = wire
        self._driver = driver
        self._life = life

    async def record_shapes(self, workloads: Sequence[Workload]) -> dict[str, Shape]:
        """Let Consort do a few runs of each workload, and see what they look like on the bus."""
        submit = self._driver.to_consort()
        shapes = {}
        async with self._turn("consort", {}, workloads[0]):
            for workload in workloads:
                runs = [new_run_id() for _ in range(3)]
                for run in runs:
                    await self._driver.one(submit, workload, run)
                shapes[workload.name] = await shape_of(self._wire, workload, runs)
        return shapes

    async def repeat(self, workloads: Sequence[Workload], results: Results) -> None:
        """Each side once."""
        for name in SIDES:
            async with self._turn(name, results.shapes, workloads[0]) as (side, submit):
                for workload in workloads:
                    measured = await self._driver.run(side, submit, workload)
                    results.measured.setdefault(workload.name, {}).setdefault(name, []).append(measured)
                    tell(f"  {name:8}{workload.name:6}{measured.seconds:6.2f} s")
                kept = results.peaks.setdefault(name, {})
                for role, peak in side.peak().items():
                    kept[role] = max(kept.get(role, 0.0), peak)
        results.peaks["both"] = {"server": peak_of(self._server.pid)}

    @asynccontextmanager
    async def _turn(
        self, name: str, shapes: dict[str, Shape], first: Workload
    ) -> AsyncIterator[tuple[Side, Submit]]:
        """One side's processes, ready. The inbox's consumers forget whom they served before."""
        if name == "bare":
            processes, submit = bare_side(self._server, self._life, shapes), self._driver.to_bare(shapes)
        else:
            processes, submit = consort_side(self._server, self._life), self._driver.to_consort()
        async with processes as side:
            await self._driver.ready(submit, first)
            yield side, submit
        await asyncio.gather(*(self._unpin(shard) for shard in range(subjects.SHARDS)))

    async def _unpin(self, shard: int) -> None:
        subject = jetstream.consumer_unpin(subjects.INBOX, subjects.shard_consumer_name(shard))
        await self._setup.request(subject, json.dumps({"group": PRIORITY_GROUP}).encode())


async def measure(workloads: Sequence[Workload], repeats: int) -> Results:
    """Set up a server in a temporary folder, measure, and take it all down. Raises ConsortError."""
    results = Results()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="consort-bench-"))
        server = await stack.enter_async_context(running(folder))
        life = stack.enter_context(Lifeline())
        setup = await stack.enter_async_context(
            open_bus(server.url, credentials_for(folder, "provisioner", "bench"))
        )
        await topology.ensure(setup)
        client = await stack.enter_async_context(
            connect(server.url, credentials_for(folder, "client", "bench"))
        )
        wire = await stack.enter_async_context(Wire(client.bus.nc, client.bus))
        driver = Driver(client, wire, server.pid)
        await driver.open()
        session = Session(server, setup, wire, driver, life)
        tell("recording what Consort's messages look like")
        results.shapes = await session.record_shapes(workloads)
        for number in range(1, repeats + 1):
            tell(f"repeat {number} of {repeats}")
            await session.repeat(workloads, results)
    return results


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
