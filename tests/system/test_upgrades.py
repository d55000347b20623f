"""Every process is replaced while work goes on: nothing is lost or done twice. What is too new stands still."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from system_kit import Child, System, until

from consort_bus import subjects
from consort_bus.append import Fence
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.envelope import CONTENT_TYPE, OrchestratorSeal
from consort_bus.leading import leader_last
from consort_bus.reading import read
from consort_bus.subjects import EntrySubject
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, pack

pytestmark = pytest.mark.slow

CHAIN: dict[str, Any] = {
    "steps": {
        "one": {"skill": "text.make", "with": {"name": "a", "pause": 0.05}},
        "two": {
            "skill": "text.extend",
            "needs": ["one"],
            "with": {"text": "${{ steps.one.output.text }}", "by": "x", "pause": 0.05},
        },
        "three": {"skill": "effect.once", "needs": ["two"], "with": {"name": "rolling"}},
    },
    "output": "${{ steps.two.output.text }}",
}


def ready(child: Child) -> bool:
    return "is ready" in child.log.read_text()


async def test_a_rolling_restart_of_every_process_under_load(system: System) -> None:
    """J8: each process is told to stop and replaced, while runs keep coming."""
    orchestrators = [system.orchestrator("one"), system.orchestrator("two")]
    agents = [system.agent("worker"), system.agent("worker")]
    runs: list[str] = []
    stop = asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            runs.append(await system.run(CHAIN))
            await asyncio.sleep(0.05)

    loading = asyncio.create_task(load())
    await until(lambda: len(runs) > 10 and all(ready(child) for child in (*orchestrators, *agents)))
    for _ in range(2):
        for at, name in enumerate(("one", "two")):
            fresh = system.orchestrator(name)
            await until(lambda fresh=fresh: ready(fresh))
            assert await asyncio.to_thread(orchestrators[at].stop) == 0
            orchestrators[at] = fresh
        for at in range(len(agents)):
            fresh = system.agent("worker")
            await until(lambda fresh=fresh: ready(fresh))
            assert await asyncio.to_thread(agents[at].stop) == 0
            agents[at] = fresh
    stop.set()
    await loading
    for run in runs:
        assert await system.client.result(run, timeout=40) == "made a.x"
        assert set(await system.accepted_once(run)) == {"one", "two", "three"}
        grants = [fact for fact in await system.facts(run) if fact.fact == "granted"]
        assert len(grants) == 3, "a task was given out twice"
    assert len(system.marked("effect-rolling")) == len(runs)
    ids = [line.split()[2] for line in system.marked("effect-rolling")]
    assert len(set(ids)) == len(runs)


async def _append_of_the_future(system: System, run: str, body: bytes) -> None:
    """What an orchestrator of a later version might have written, in its name."""
    creds = Credentials.load(system.creds("orchestrator", "future"))
    async with open_bus(system.url, creds) as bus, Wire(bus.nc, bus) as wire:
        assert creds.mac_key is not None
        tail = await leader_last(wire, subjects.LOG, subjects.run_entries(run))
        assert tail is not None
        subject = str(EntrySubject(run, None, "noted"))
        wrapped = OrchestratorSeal(creds.mac_key).entry(subject, body, {CONTENT_TYPE: MSGPACK}, run, "later")
        await Fence(wire).append(
            subject,
            body,
            wrapped.headers,
            filter_subject=subjects.run_entries(run),
            expected=tail.seq,
            entry_id="later",
        )


@pytest.mark.parametrize(
    ("version", "fact"), [(99, {"fact": "noted"}), (2, {"fact": "teleported", "path": "hold"})]
)
async def test_a_run_of_a_later_version_stands_still_and_nothing_else_does(
    system: System, version: int, fact: dict[str, Any]
) -> None:
    first = system.orchestrator("one")
    system.agent("worker")
    plan: dict[str, Any] = {
        "steps": {
            "hold": {"skill": "text.gate", "with": {"name": "held"}},
            "then": {"skill": "text.make", "needs": ["hold"], "with": {"name": "b"}},
        }
    }
    run = await system.run(plan)
    await until(lambda: system.marked("at-held"))
    assert first.stop() == 0
    entry = {"v": version, "run": run, "n": 2, "at": 0.0, "writer": "later", "prev": "", "facts": [fact]}
    await _append_of_the_future(system, run, pack(entry))
    second = system.orchestrator("two")
    system.let_go("held")
    creds = Credentials.load(system.creds("auditor", "a"))
    async with open_bus(system.url, creds) as bus, Wire(bus.nc, bus) as wire:

        async def letters() -> list[str]:
            where = subjects.dead_of(subjects.INBOX, run)
            return [stored.headers["Consort-Kind"] async for stored in read(wire, subjects.DEAD, where)]

        async with asyncio.timeout(30):
            while await letters() != ["unknown-kind"]:
                await asyncio.sleep(0.05)
    other = await system.run({"steps": {"one": {"skill": "text.make", "with": {"name": "a"}}}})
    await system.client.result(other, timeout=30)
    assert second.running
    assert f"run {run} stands still" in second.log.read_text()
