"""`python -m benchmarks.failover_bus`: how long a bus of three nodes stands still when one is lost.

A writer on each node appends to a run of its own, one entry after the other. The node that leads
the log is killed, or frozen, and the figure is the time to the next entry that is acknowledged: for
the writers on the other nodes, who wait for a new leader, and for the one on the lost node, who has
to notice and move first. In the end every acknowledged entry must be there, once and in order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

from consort_bus import checking, embedded, jetstream, subjects, topology
from consort_bus.append import Fence
from consort_bus.connection import Bus, open_bus
from consort_bus.embedded import Embedded, Node
from consort_bus.errors import AppendUnknown
from consort_bus.leading import leader_read
from consort_bus.wire import Wire
from consort_shared.ids import new_run_id

BETWEEN = 0.02
LIMIT = 90.0


class Writer:
    """Appends without end, and remembers when each entry was acknowledged."""

    def __init__(self, bus: Bus, wire: Wire) -> None:
        self.bus = bus
        self.run = new_run_id()
        self.acknowledged: list[tuple[str, float]] = []
        self._wire = wire

    async def write(self) -> None:
        fence, expected, number = Fence(self._wire), 0, 0
        while True:
            name = f"{self.run}:{number}"
            try:
                expected = await fence.append(
                    str(subjects.EntrySubject(self.run, None, "noted")),
                    name.encode(),
                    filter_subject=subjects.run_entries(self.run),
                    expected=expected,
                    entry_id=name,
                    timeout=1.0,
                    patience=LIMIT,
                )
            except AppendUnknown:
                continue  # the same entry again, as whoever loads the run anew would find out
            self.acknowledged.append((name, time.monotonic()))
            number += 1
            await asyncio.sleep(BETWEEN)

    async def next_after(self, moment: float) -> float:
        """Seconds from a moment to the first acknowledgement of what was sent after it."""
        async with asyncio.timeout(LIMIT):
            while True:
                after = [when for _, when in self.acknowledged if when > moment]
                if len(after) > 1:  # the first may have been under way
                    return after[0] - moment if after[0] - moment > 1 else after[1] - moment
                await asyncio.sleep(0.005)

    async def check(self) -> None:
        stored = [
            one.data.decode()
            async for one in leader_read(self._wire, subjects.LOG, subjects.run_entries(self.run))
        ]
        wanted = [name for name, _ in self.acknowledged]
        if stored[: len(wanted)] != wanted or len(stored) > len(wanted) + 1:
            raise AssertionError(f"{len(wanted)} entries were acknowledged, {len(stored)} are stored")


@asynccontextmanager
async def writers(server: Embedded) -> AsyncIterator[Sequence[Writer]]:
    known = embedded.credentials_for(server.folder, "provisioner", "bench")
    async with AsyncExitStack() as stack:
        found = []
        for node in server.nodes:
            bus = await stack.enter_async_context(open_bus(node.url, known))
            found.append(Writer(bus, await stack.enter_async_context(Wire(bus.nc, bus))))
        tasks = [asyncio.create_task(writer.write()) for writer in found]
        try:
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in found:
                await writer.check()


async def measure(folder: Path, rounds: int) -> dict[str, Any]:
    server = embedded.start(folder, nodes=3)
    setup = embedded.credentials_for(folder, "provisioner", "setup")
    try:
        async with open_bus(server.url, setup, patience=20) as bus:
            await topology.ensure(bus)
        figures: dict[str, Any] = {}
        for way in (signal.SIGKILL, signal.SIGSTOP):
            elsewhere: list[float] = []
            there: list[float] = []
            for number in range(rounds):
                async with writers(server) as found:
                    await _once(server, found, way, elsewhere, there)
                print(
                    f"{way.name} {number + 1}/{rounds}: {elsewhere[-1]:.1f} s, {there[-1]:.1f} s",
                    file=sys.stderr,
                )
            figures[way.name] = {"clients_elsewhere": _told(elsewhere), "clients_on_the_node": _told(there)}
        return figures
    finally:
        embedded.stop(folder)


async def _once(
    server: Embedded, found: Sequence[Writer], way: signal.Signals, elsewhere: list[float], there: list[float]
) -> None:
    watcher_creds = embedded.credentials_for(server.folder, "provisioner", "setup")
    async with open_bus(server.url, watcher_creds, patience=20) as bus:
        await _well(bus)
        lost = await _leader(bus, server)
    await asyncio.sleep(1.0)
    assert lost.pid is not None
    at_node = [writer.bus.nc.connected_url.netloc == lost.url.rpartition("/")[2] for writer in found]
    moment = time.monotonic()
    os.kill(lost.pid, way)
    try:
        waits = await asyncio.gather(*(writer.next_after(moment) for writer in found))
    finally:
        if way is signal.SIGSTOP:
            os.kill(lost.pid, signal.SIGCONT)
        else:
            await asyncio.to_thread(embedded.start, server.folder)
    elsewhere.append(max(wait for wait, mine in zip(waits, at_node, strict=True) if not mine))
    there.append(max(wait for wait, mine in zip(waits, at_node, strict=True) if mine))


async def _well(bus: Bus) -> None:
    async with asyncio.timeout(LIMIT):
        while await checking.check(bus, 3):
            await asyncio.sleep(0.2)


async def _leader(bus: Bus, server: Embedded) -> Node:
    answer = json.loads((await bus.request(jetstream.stream_info(subjects.LOG))).data)
    name = answer["cluster"]["leader"].rpartition("-")[2]
    return next(node for node in embedded.nodes(server.folder) if node.name == name)


def _told(waits: Sequence[float]) -> dict[str, float | int]:
    return {"median_s": round(median(waits), 2), "worst_s": round(max(waits), 2), "times": len(waits)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="how often for each way of losing a node")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="consort-failover-") as folder:
        figures = asyncio.run(measure(Path(folder), options.rounds))
    text = json.dumps(figures, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
