"""The client in both cases: hands runs in, hears them end, takes the time.

Both sides are told the end of a run in the same way, by a subscription to entries that end
runs, so that nothing but what happens between submission and last entry differs. What the
server noted as the time of each entry gives the gaps between them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from nats.aio.msg import Msg

from benchmarks import bare
from benchmarks.processes import Side, cpu_of
from benchmarks.shape import Shape
from benchmarks.workloads import TEXT, Workload
from consort_bus import subjects
from consort_bus.client import Client
from consort_bus.publish import Publisher
from consort_bus.reading import read
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, decode
from consort_shared.entries import Finished, entry_adapter
from consort_shared.ids import new_run_id

Submit = Callable[[Workload, str], Awaitable[object]]
ENDED_FILTER = "log.*.entry.*.ended"
_DAY = 86_400 * 10**9
LONGEST = 120.0
"""Seconds after which a workload counts as hung."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One workload on one side, once. Times in seconds."""

    seconds: float
    durations: list[float]
    """of each run, from before its submission to the arrival of its end"""
    gaps: list[float]
    """between one entry of a run and the next, by the server's clock"""
    entries: float
    """per run"""
    cpu: dict[str, float] = field(default_factory=dict)
    """processor time of each process, per step"""


class Driver:
    """Hands in runs of a workload and waits for their ends."""

    def __init__(self, client: Client, wire: Wire, server_pid: int) -> None:
        self._client = client
        self._wire = wire
        self._publisher = Publisher(wire)
        self._server_pid = server_pid
        self._ends: dict[str, asyncio.Future[tuple[float, bytes]]] = {}

    async def open(self) -> None:
        await self._wire.listen(ENDED_FILTER, self._ended)

    def _ended(self, msg: Msg) -> None:
        future = self._ends.get(msg.subject.split(".", 2)[1])
        if future is not None and not future.done():
            future.set_result((time.perf_counter(), msg.data))

    def to_consort(self) -> Submit:
        """Submission by Consort's client."""

        async def submit(workload: Workload, run: str) -> object:
            return await self._client.submit(workload.plan, {"text": TEXT}, run=run)

        return submit

    def to_bare(self, shapes: dict[str, Shape]) -> Submit:
        """Submission of as many bytes by the bare loop's client."""
        who = self._client.bus.identity.name
        bodies = {name: bare.body(at, 0, shape.submission) for at, (name, shape) in enumerate(shapes.items())}

        async def submit(workload: Workload, run: str) -> object:
            return await self._publisher.publish(
                f"in.client.{who}.{run}", bodies[workload.name], timeout=30.0
            )

        return submit

    async def ready(self, submit: Submit, workload: Workload) -> None:
        """Wait until a run goes through."""
        async with asyncio.timeout(30):
            await self.one(submit, workload, new_run_id())

    async def run(self, side: Side, submit: Submit, workload: Workload) -> Measured:
        """Run the workload once, after a warm-up."""
        await self._all(submit, workload, workload.warm_up)
        before = self._cpu(side)
        began = time.perf_counter()
        runs, durations, bodies = await self._all(submit, workload, workload.runs)
        seconds = time.perf_counter() - began
        steps = workload.runs * workload.steps
        cpu = {role: (now - before[role]) / steps for role, now in self._cpu(side).items()}
        if side.name == "consort":
            _check_completed(bodies)
        gaps, entries = await self._gaps(runs[:: max(len(runs) // 50, 1)])
        return Measured(seconds, durations, gaps, entries, cpu)

    def _cpu(self, side: Side) -> dict[str, float]:
        return side.cpu() | {"client": time.process_time(), "server": cpu_of(self._server_pid)}

    async def _all(
        self, submit: Submit, workload: Workload, count: int
    ) -> tuple[list[str], list[float], list[bytes]]:
        runs = [new_run_id() for _ in range(count)]
        waiting = iter(runs)
        found: dict[str, tuple[float, bytes]] = {}

        async def one_after_another() -> None:
            for run in waiting:
                found[run] = await self.one(submit, workload, run)

        async with asyncio.timeout(LONGEST), asyncio.TaskGroup() as group:
            for _ in range(min(workload.in_flight, count)):
                group.create_task(one_after_another())
        return runs, [found[run][0] for run in runs], [found[run][1] for run in runs]

    async def one(self, submit: Submit, workload: Workload, run: str) -> tuple[float, bytes]:
        """One run: how long it took, and the entry that ended it."""
        end: asyncio.Future[tuple[float, bytes]] = asyncio.get_running_loop().create_future()
        self._ends[run] = end
        began = time.perf_counter()
        await submit(workload, run)
        at, last = await end
        del self._ends[run]
        return at - began, last

    async def _gaps(self, runs: Sequence[str]) -> tuple[list[float], float]:
        """Gaps between the entries of some runs, and how many entries each has."""
        gaps: list[float] = []
        entries = 0
        for run in runs:
            times = [
                _nanoseconds(stored.time_text)
                async for stored in read(self._wire, subjects.LOG, subjects.run_entries(run))
            ]
            entries += len(times)
            gaps += [(later - sooner) % _DAY / 1e9 for sooner, later in pairwise(times)]
        return gaps, entries / max(len(runs), 1)


def _check_completed(bodies: Sequence[bytes]) -> None:
    for raw in bodies:
        last = decode(entry_adapter, raw, MSGPACK).facts[-1]
        if not isinstance(last, Finished) or last.state != "completed":
            raise RuntimeError(f"a run did not complete: {last}")


def _nanoseconds(text: str) -> int:
    """Nanoseconds since midnight of an RFC 3339 time in UTC, which `datetime` would cut to microseconds."""
    clock = text.partition("T")[2].rstrip("Z")
    hours, minutes, seconds = clock.split(":")
    whole, _, part = seconds.partition(".")
    return (int(hours) * 3600 + int(minutes) * 60 + int(whole)) * 10**9 + int(part.ljust(9, "0"))
