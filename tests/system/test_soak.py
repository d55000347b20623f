"""Hours of work pressed into minutes: runs without a pause, every process replaced, and nothing grows.

`CONSORT_SOAK_SECONDS` says how long the runs keep coming, 180 by default: first with restarts, then
without, which is measured. So that streams reach their full size in that time, what is kept for a
month is kept for `KEPT` seconds. Runs last a second or so, so that none of them is old enough to be lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
from system_kit import Child, System, until

from consort_bus import embedded, jetstream, subjects
from consort_bus.connection import Bus, open_bus

SECONDS = float(os.environ.get("CONSORT_SOAK_SECONDS", "180"))
KEPT = 25
AGEING = (subjects.LOG, subjects.CONTEXT, subjects.ARTEFACTS)
STEP_LIMIT = 20
WARM_UP = 45.0
"""Seconds in which caches fill and streams reach their size: what a step has to be done in, and `KEPT`."""
WATCHED = 30.0
"""Seconds that are measured at least."""
AT_ONCE = 4
LIMIT_OF_ONE = 60.0
GROWTH_BYTES, GROWTH_SHARE = 10_000_000, 0.1
FILES_MORE = 6
"""Open files more or less that mean nothing, such as a connection that is just being made anew."""

pytestmark = [pytest.mark.soak, pytest.mark.slow, pytest.mark.timeout(SECONDS + 400)]

COMPRESSED = (
    "import consort_bus.topology as t, consort_orchestrator.shell.effects as e; "
    f"[t._STREAMS[s].update(max_age={KEPT * 10**9}) for s in {AGEING!r}]; "
    f"e.FIRED_TIMER_TTL = '{KEPT}s'"
)
"""An orchestrator refuses a bus that is not set up as it should be: this one wants short ages."""

MIXED: dict[str, Any] = {
    "steps": {
        "first": {"skill": "text.make", "timeout": STEP_LIMIT, "with": {"name": "a"}},
        "chain": {
            "skill": "text.extend",
            "needs": ["first"],
            "timeout": STEP_LIMIT,
            "with": {"text": "${{ steps.first.output.text }}", "by": "x"},
        },
        "each": {
            "skill": "text.make",
            "needs": ["first"],
            "timeout": STEP_LIMIT,
            "for_each": {"items": ["x", "y", "z"], "in_flight": 2},
            "with": {"name": "${{ item }}"},
        },
        "both": {
            "skill": "text.join",
            "needs": ["chain", "each"],
            "timeout": STEP_LIMIT,
            "with": {"parts": ["${{ steps.chain.output }}", "${{ steps.each.output[2] }}"]},
        },
        "loop": {
            "needs": ["both"],
            "repeat": {"until": "steps.check.output.ok", "max": 3},
            "steps": {
                "check": {
                    "skill": "count.to",
                    "timeout": STEP_LIMIT,
                    "with": {"number": "${{ iteration }}", "enough": 2},
                }
            },
        },
        "blob": {"skill": "blob.make", "needs": ["first"], "timeout": STEP_LIMIT, "with": {"size": 100_096}},
        "size": {
            "skill": "blob.measure",
            "needs": ["blob"],
            "timeout": STEP_LIMIT,
            "with": {"blob": "${{ steps.blob.output.blob }}"},
        },
    },
    "output": {"text": "${{ steps.both.output.text }}", "size": "${{ steps.size.output }}"},
}
RESULT = {"text": "made a.x + made z", "size": 100_096}
PATHS = {
    "first",
    "chain",
    "each[0]",
    "each[1]",
    "each[2]",
    "both",
    "loop[1].check",
    "loop[2].check",
    "blob",
    "size",
}


@dataclass
class Sample:
    """What there was at one moment: bytes and open files by process, bytes and consumers by stream."""

    memory: dict[str, int]
    files: dict[str, int]
    stored: dict[str, int]
    consumers: dict[str, int]


@dataclass
class Load:
    """Runs without a pause, a few at a time; each is looked at when it has ended."""

    system: System
    ended: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep_coming(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._one_after_another())

    async def _one_after_another(self) -> None:
        while not self.over.is_set():
            run = await self.system.run(MIXED)
            assert await self.system.client.result(run, timeout=LIMIT_OF_ONE) == RESULT
            assert set(await self.system.accepted_once(run)) == PATHS
            self.ended += 1


async def _info(bus: Bus, stream: str) -> dict[str, Any]:
    info: dict[str, Any] = json.loads((await bus.request(jetstream.stream_info(stream))).data)
    return info


async def _age_quickly(bus: Bus) -> None:
    """What is kept for a month is kept for seconds, as an administrator would change it."""
    for stream in AGEING:
        age = KEPT * 10**9
        config = {**(await _info(bus, stream))["config"], "max_age": age, "duplicate_window": age}
        answer = await bus.request(jetstream.stream_update(stream), json.dumps(config).encode())
        assert "error" not in json.loads(answer.data)


async def _sample(bus: Bus, children: list[Child]) -> Sample:
    infos = {stream: (await _info(bus, stream))["state"] for stream in subjects.STREAMS}
    processes = {
        f"{child.name} ({child.process.pid})": psutil.Process(child.process.pid) for child in children
    }
    return Sample(
        {name: process.memory_info().rss for name, process in processes.items()},
        {name: process.num_fds() for name, process in processes.items()},
        {stream: state["bytes"] for stream, state in infos.items()},
        {stream: state["consumer_count"] for stream, state in infos.items()},
    )


def _ready(child: Child) -> bool:
    return "is ready" in child.log.read_text()


async def _replace_each(
    system: System, children: list[Child], load: Load, loading: asyncio.Task[None]
) -> None:
    """Every process once by SIGKILL and once by SIGTERM, and the bus's server too; runs go on between."""
    for kill in (True, False):
        for at, old in enumerate(children):
            if kill:
                await asyncio.to_thread(old.kill)
            else:
                assert await asyncio.to_thread(old.stop) == 0, old.log.read_text()[-2000:]
            fresh = _start(system, old.name)
            await until(lambda fresh=fresh: _ready(fresh), 60)
            children[at] = fresh
            await _goes_on(load, loading)
    await asyncio.to_thread(embedded.stop, system.folder)
    await asyncio.to_thread(embedded.start, system.folder)
    await _goes_on(load, loading)


async def _goes_on(load: Load, loading: asyncio.Task[None]) -> None:
    """Until some more runs have ended right; one that went wrong ends the wait."""
    before = load.ended
    await until(lambda: loading.done() or load.ended >= before + AT_ONCE, 90)
    if loading.done():
        await loading


def _start(system: System, name: str) -> Child:
    kind, _, which = name.partition("-")
    return system.orchestrator(which, shim=COMPRESSED) if kind == "orchestrator" else system.agent(which)


async def test_work_without_end_with_every_process_replaced_and_nothing_that_grows(system: System) -> None:
    """S68, S110: all runs right, and memory, open files, consumers and streams are flat."""
    creds = embedded.credentials_for(system.folder, "provisioner", "setup")
    async with open_bus(system.url, creds) as bus:
        await _age_quickly(bus)
        names = ["orchestrator-one", "orchestrator-two", "agent-worker", "agent-worker", "agent-other"]
        children = [_start(system, name) for name in names]
        load = Load(system)
        began = time.monotonic()
        loading = asyncio.create_task(load.keep_coming())
        try:
            await until(lambda: all(_ready(child) for child in children), 60)
            await _goes_on(load, loading)
            await _replace_each(system, children, load, loading)
            await _for(WARM_UP, loading)
            samples = await _watched(bus, children, max(began + SECONDS - time.monotonic(), WATCHED), loading)
        finally:
            load.over.set()
        await loading
        _flat(samples)
        await _left_over(bus)
        for child in children:
            assert await asyncio.to_thread(child.stop) == 0
    _tell(load, samples, time.monotonic() - began)


async def _watched(
    bus: Bus, children: list[Child], seconds: float, loading: asyncio.Task[None]
) -> list[Sample]:
    samples: list[Sample] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        samples.append(await _sample(bus, children))
        await _for(seconds / 24, loading)
    return samples


async def _for(seconds: float, loading: asyncio.Task[None]) -> None:
    """Let the work go on so long; a run that goes wrong ends the wait."""
    done, _ = await asyncio.wait({loading}, timeout=max(seconds, 0.0))
    for task in done:
        await task


def _flat(samples: list[Sample]) -> None:
    """The last quarter of the samples beside the first."""
    quarter = len(samples) // 4
    early, late = samples[:quarter], samples[-quarter:]
    for process in samples[0].memory:
        before = statistics.median(sample.memory[process] for sample in early)
        after = statistics.median(sample.memory[process] for sample in late)
        assert after <= before * (1 + GROWTH_SHARE) + GROWTH_BYTES, f"{process}: {before} to {after} bytes"
        files = [sample.files[process] for sample in samples]
        assert max(files) - min(files) <= FILES_MORE, f"{process}: {files} open files"
    for stream in subjects.STREAMS:
        assert len({sample.consumers[stream] for sample in samples}) == 1, f"consumers of {stream}"
        before = max(sample.stored[stream] for sample in early)
        after = max(sample.stored[stream] for sample in late)
        assert after <= before * 1.6 + 200_000, f"{stream}: {before} to {after} bytes"


async def _left_over(bus: Bus) -> None:
    """Nothing is, once the last run has ended."""
    async with asyncio.timeout(30):
        while (await _info(bus, subjects.INBOX))["state"]["messages"]:
            await asyncio.sleep(0.1)
    assert (await _info(bus, subjects.DEAD))["state"]["messages"] == 0
    async with asyncio.timeout(KEPT * 4):  # a timer fires when its step would have been late, and ages then
        while any([(await _info(bus, name))["state"]["messages"] for name in (*AGEING, subjects.TIMERS)]):
            await asyncio.sleep(0.5)


def _tell(load: Load, samples: list[Sample], seconds: float) -> None:
    first, last = samples[0], samples[-1]
    print(f"\n{load.ended} runs in {seconds:.0f} s")
    for name, size in first.memory.items():
        print(f"{name}: {size / 1e6:.1f} to {last.memory[name] / 1e6:.1f} MB, {last.files[name]} files")
    for stream, size in first.stored.items():
        print(f"{stream}: {size} to {last.stored[stream]} bytes, {last.consumers[stream]} consumers")
