"""The bare loop: the same durable writes and deliveries as Consort, and nothing else.

Two processes on the streams, consumers and rights that Consort uses. Per run:

    client        submission          -> INBOX, acknowledged by the stream
    orchestrator  first entry         -> LOG, fenced by compare-and-set; a copy per task granted;
                                         then the submission is acknowledged
    agent         report              -> INBOX, acknowledged by the stream; then the task is acknowledged
    orchestrator  entry for whatever reports have arrived for the run meanwhile -> LOG, fenced;
                  copies where Consort makes copies; then the reports are acknowledged

Messages are opaque bytes of the sizes that Consort's have (`shape`). The first two say which
workload and stage they are about. There is no model, no code, no header but those of the
fence, no state but the position in the run, no timer, no second try: what comes again is
passed over, and a refused fence ends the process. The transport is the one that Consort
uses, on the same event loop.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass, field
from datetime import timedelta

import uvloop

from benchmarks.shape import Shape, from_json
from benchmarks.workloads import BARE_AGENT
from consort_bus import subjects
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.publish import Publisher, parse_ack
from consort_bus.pull import Delivery, Pull
from consort_bus.topology import PRIORITY_GROUP, agent_consumer, create_consumer
from consort_bus.wire import Wire
from consort_shared.lifeline import hold_on

BATCH = 64
_PATIENCE = 30.0
"""Seconds for one write, because nothing is tried twice."""
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_UNDER = "Nats-Expected-Last-Subject-Sequence-Subject"
_FILLER = bytes(1 << 20)


def body(workload: int, stage: int, size: int) -> bytes:
    """A message of that size."""
    return bytes((workload, stage)) + _FILLER[: max(size - 2, 0)]


@dataclass(slots=True)
class _Run:
    """Where a run stands."""

    id: str
    tail: int = 0
    stage: int = 0
    left: int = 0
    queue: list[Delivery] = field(default_factory=list)
    busy: bool = False


class BareOrchestrator:
    """Writes the next entry of a run for whatever has arrived for it."""

    def __init__(self, wire: Wire, shapes: dict[str, Shape]) -> None:
        self._wire = wire
        self._publisher = Publisher(wire)
        self._shapes = list(shapes.values())
        self._runs: dict[str, _Run] = {}
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, delivery: Delivery) -> None:
        if delivery.delivered > 1:
            return
        run_id = delivery.subject.rpartition(".")[2]
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = _Run(run_id)
        run.queue.append(delivery)
        if not run.busy:
            run.busy = True
            task = self._loop.create_task(self._work(run))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._loop.call_exception_handler(
                {"message": "the bare loop failed", "exception": task.exception()}
            )
            self._loop.stop()

    async def _work(self, run: _Run) -> None:
        while run.queue:
            batch, run.queue = run.queue, []
            await self._judge(run, batch)
        run.busy = False

    async def _judge(self, run: _Run, batch: list[Delivery]) -> None:
        kind = batch[0].data[0]
        shape = self._shapes[kind]
        if run.tail == 0:
            size, granted = shape.first, 0
        else:
            run.left -= len(batch)
            size = shape.stages[run.stage].entry * len(batch)
            granted = run.stage + 1 if run.left == 0 else -1
        addressee, word = "-", "noted"
        if granted == len(shape.stages):
            word = "ended"
        elif granted >= 0:
            word = "granted"
            run.stage, run.left = granted, shape.stages[granted].width
            if not shape.stages[granted].copied:
                addressee = BARE_AGENT
        answer = await self._wire.request(
            f"log.{run.id}.entry.{addressee}.{word}",
            body(kind, run.stage, size),
            headers={_EXPECTED: str(run.tail), _UNDER: f"log.{run.id}.entry.>"},
            timeout=_PATIENCE,
        )
        run.tail = parse_ack("", answer.data, size).seq
        if word == "granted" and addressee == "-":
            await self._copies(run, kind, granted, shape)
        for delivery in batch:
            delivery.ack()
        if word == "ended":
            del self._runs[run.id]

    async def _copies(self, run: _Run, kind: int, stage: int, shape: Shape) -> None:
        copy = body(kind, stage, shape.stages[stage].copy)
        publish = self._publisher.publish_nowait
        for pending in [
            await publish(
                f"log.{run.id}.copy.{BARE_AGENT}.{stage}-{at}", copy, {_EXPECTED: "0"}, timeout=_PATIENCE
            )
            for at in range(shape.stages[stage].width)
        ]:
            await pending


class BareAgent:
    """Reports on every task at once."""

    def __init__(self, wire: Wire, shapes: dict[str, Shape]) -> None:
        self._wire = wire
        self._shapes = list(shapes.values())
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, delivery: Delivery) -> None:
        if delivery.delivered > 1:
            return
        task = self._loop.create_task(self._report(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self, delivery: Delivery) -> None:
        run = delivery.subject.split(".", 2)[1]
        kind, stage = delivery.data[0], delivery.data[1]
        report = body(kind, stage, self._shapes[kind].stages[stage].report)
        answer = await self._wire.request(f"in.agent.{BARE_AGENT}.{run}", report, timeout=_PATIENCE)
        parse_ack("", answer.data, len(report))
        delivery.ack()


async def serve(role: str, server: str, credentials: str, shapes: dict[str, Shape]) -> None:
    """One of the two processes, until SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    hold_on(lambda: loop.call_soon_threadsafe(stop.set), patience=10)
    async with open_bus(server, Credentials.load(credentials)) as bus, Wire(bus.nc, bus) as wire:
        if role == "orchestrator":
            await create_consumer(bus, agent_consumer(BARE_AGENT, timedelta(seconds=10), 10_000))
            orchestrator = BareOrchestrator(wire, shapes)
            pulls = [
                Pull(
                    wire,
                    subjects.INBOX,
                    subjects.shard_consumer_name(shard),
                    orchestrator.take,
                    batch=BATCH,
                    group=PRIORITY_GROUP,
                )
                for shard in range(subjects.SHARDS)
            ]
        else:
            consumer = subjects.agent_consumer_name(BARE_AGENT)
            pulls = [Pull(wire, subjects.LOG, consumer, BareAgent(wire, shapes).take, batch=BATCH)]
        running = [asyncio.create_task(pull.run()) for pull in pulls]
        await stop.wait()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2], sys.argv[3], from_json(sys.argv[4])))
