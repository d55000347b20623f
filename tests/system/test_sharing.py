"""Agents come, share the work, go, and come back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from system_kit import System, until

from consort_bus import embedded
from consort_bus.connection import open_bus
from consort_bus.jetstream import stream_info
from consort_bus.subjects import INBOX
from consort_shared.entries import Accepted, Granted, Waiting

pytestmark = pytest.mark.slow


def many(count: int, pause: float) -> dict[str, Any]:
    items = [f"i{n}" for n in range(count)]
    return {
        "steps": {
            "all": {
                "skill": "text.make",
                "for_each": {"items": items, "in_flight": 16},
                "with": {"name": "${{ item }}", "pause": pause},
            }
        }
    }


async def test_second_process_of_an_agent_shares_the_work_at_once(system: System) -> None:
    system.orchestrator()
    first = system.agent("worker", slots=2)
    run = await system.run(many(40, 0.1))
    await until(lambda: len(system.marked("make")) >= 4)
    second = system.agent("worker", slots=2)
    await system.client.result(run, timeout=60)
    pids = [int(line.split()[0]) for line in system.marked("make")]
    assert set(pids) == {first.process.pid, second.process.pid}
    assert len(await system.accepted_once(run)) == 40
    assert len(pids) == 40


async def test_agents_of_another_name_with_the_skill_share_too(system: System) -> None:
    system.orchestrator()
    system.agent("worker")
    system.agent("other")
    await until_agents(system, {"worker", "other"})
    run = await system.run(many(40, 0.02))
    await system.client.result(run, timeout=60)
    agents = {fact.agent for fact in await system.facts(run) if isinstance(fact, Granted)}
    assert agents == {"worker", "other"}


async def test_a_run_waits_for_a_missing_agent_and_says_for_what(system: System) -> None:
    """S8, S84: the run waits, names the skill, and goes on when the agent comes; nothing else is touched."""
    system.orchestrator()
    agent = system.agent("worker")
    await until_agents(system, {"worker"})
    assert agent.stop() == 0
    run = await system.run(many(1, 0))
    waiting = await fact_of(system, run, Waiting)
    assert waiting.skill == "text.make"
    assert [summary.state for summary in await system.client.runs()] == ["waiting"]
    system.agent("worker")
    await fact_of(system, run, Granted)
    await system.client.result(run, timeout=20)


async def test_independent_steps_overlap_and_dependent_ones_do_not(system: System) -> None:
    """S19: eight independent tasks are at work at the same time; of a chain each starts after the one before."""
    system.orchestrator()
    system.agent("worker")
    names = [f"g{n}" for n in range(8)]
    fan: dict[str, Any] = {"steps": {name: {"skill": "text.gate", "with": {"name": name}} for name in names}}
    run = await system.run(fan)
    await until(lambda: all(system.marked(f"at-{name}") for name in names))
    assert await system.accepted_once(run) == []
    for name in names:
        system.let_go(name)
    await system.client.result(run, timeout=30)
    chain: dict[str, Any] = {
        "steps": {
            "a": {"skill": "text.make", "with": {"name": "a", "pause": 0.2}},
            "b": {"skill": "text.make", "needs": ["a"], "with": {"name": "b", "pause": 0.2}},
            "c": {"skill": "text.make", "needs": ["b"], "with": {"name": "c", "pause": 0.2}},
        }
    }
    await system.client.result(await system.run(chain), timeout=30)
    starts = {line.split()[2]: float(line.split()[1]) for line in system.marked("make")}
    assert starts["b"] - starts["a"] >= 0.2
    assert starts["c"] - starts["b"] >= 0.2


async def test_a_hundred_tasks_are_in_flight_at_the_same_time(system: System) -> None:
    """S105: each of the hundred returns only when all hundred are at work."""
    system.orchestrator()
    system.agent("crowd")
    plan: dict[str, Any] = {
        "steps": {
            "meet": {
                "skill": "meet",
                "for_each": {"items": list(range(100)), "in_flight": 100},
                "with": {"count": 100},
            }
        }
    }
    assert await system.client.result(await system.run(plan), timeout=30) == {"meet": ["met"] * 100}


async def test_stopping_the_orchestrator_stops_progress_and_loses_nothing(system: System) -> None:
    """S4, S42: what agents and clients say while no orchestrator is up is judged when one is."""
    orchestrator = system.orchestrator()
    system.agent("worker")
    plan: dict[str, Any] = {
        "steps": {
            "gate": {"skill": "text.gate", "with": {"name": "g"}},
            "after": {"skill": "text.make", "needs": ["gate"], "with": {"name": "after"}},
            "told": {"skill": "milestone.tell"},
        }
    }
    run = await system.run(plan)
    await until(lambda: system.marked("at-g"))
    await fact_of(system, run, Accepted, path="told")
    assert orchestrator.stop() == 0
    entries = len(await system.client.entries(run))
    late = await system.run(many(2, 0))
    before = await unjudged(system)
    system.let_go("g")
    async with asyncio.timeout(20):  # until the gate's report lies in the inbox
        while await unjudged(system) == before:
            await asyncio.sleep(0.02)
    assert len(await system.client.entries(run)) == entries
    assert not system.marked("make")
    system.orchestrator()
    await system.client.result(run, timeout=30)
    await system.client.result(late, timeout=30)
    assert {"gate", "after", "told"} == set(await system.accepted_once(run))


async def test_draining_an_agent_hands_nothing_back_twice(system: System) -> None:
    system.orchestrator()
    first = system.agent("worker", slots=2)
    run = await system.run(many(12, 0.15))
    await until(lambda: len(system.marked("make")) >= 3)
    system.agent("worker", slots=2)
    assert first.stop() == 0
    await system.client.result(run, timeout=30)
    assert len(system.marked("make")) == len(await system.accepted_once(run)) == 12


async def unjudged(system: System) -> int:
    """How many messages lie in the inbox."""
    async with open_bus(system.url, embedded.credentials_for(system.folder, "provisioner", "setup")) as bus:
        told = json.loads((await bus.request(stream_info(INBOX))).data)
    return int(told["state"]["messages"])


async def until_agents(system: System, names: set[str]) -> None:
    async with asyncio.timeout(20):
        while not names <= {presence.card.name for presence in await system.client.agents()}:
            await asyncio.sleep(0.02)


async def fact_of(system: System, run: str, kind: type[Any], **wanted: Any) -> Any:
    """The first fact of a kind, with those values, as soon as it is on the log."""
    async with asyncio.timeout(30):
        async for logged in system.client.watch(run):
            for fact in logged.entry.facts:
                if isinstance(fact, kind) and all(getattr(fact, key) == wanted[key] for key in wanted):
                    return fact
    raise AssertionError(f"no {kind.__name__}")
