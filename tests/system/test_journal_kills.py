"""Processes of agents die, freeze and are replaced in the midst of expensive calls: none is paid for twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from system_kit import Child, System, until

from consort_bus import embedded
from consort_bus.connection import open_bus
from consort_bus.leading import read_whole
from consort_bus.subjects import JOURNAL, journal_of_run
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, decode
from consort_shared.journal import Record, record_adapter

pytestmark = pytest.mark.slow


def step(skill: str, **inputs: Any) -> dict[str, Any]:
    return {"steps": {"it": {"skill": skill, "with": inputs}}, "output": "${{ steps.it.output }}"}


def asked(system: System) -> list[str]:
    """What was really asked for, in order."""
    return [line.split()[2] for line in system.marked("asked")]


def pids(system: System) -> list[str]:
    return [line.split()[0] for line in system.marked("asked")]


async def records(system: System, run: str) -> list[Record]:
    credentials = embedded.credentials_for(system.folder, "auditor", "look")
    async with open_bus(system.url, credentials) as bus, Wire(bus.nc, bus) as wire:
        found = [one async for one in read_whole(wire, JOURNAL, journal_of_run(run))]
    return [decode(record_adapter, one.data, MSGPACK) for one in found]


def doomed(system: System, place: str, **env: str) -> Child:
    return system.agent("caller", "callers.py", env={"CONSORT_FAILPOINT": place, **env})


async def died(child: Child) -> None:
    await until(lambda: not child.running, 20)


async def test_twelve_calls_killed_twice_are_twelve_requests(system: System) -> None:
    """S6, invariant 7: killed (-9) after the 7th answer, and again after the 9th; the result is the undisturbed one."""
    system.orchestrator()
    run = await system.run(step("call.chain", count=12))
    await died(doomed(system, "call-answered:7"))
    await died(doomed(system, "call-answered:2"))
    system.agent("caller", "callers.py")
    expected = [f"q{n}" for n in range(1, 13)]
    assert await system.client.result(run, timeout=60) == expected
    assert asked(system) == expected
    assert len(set(pids(system))) == 3
    assert await system.accepted_once(run) == ["it"]


@pytest.mark.parametrize(
    ("place", "twice"), [("call-begun:4", 0), ("call-made:4", 1), ("call-answered:4", 0)]
)
@pytest.mark.parametrize(
    "skill",
    [
        "call.chain",
        pytest.param("call.plain", marks=pytest.mark.long),
        pytest.param("call.isolated", marks=pytest.mark.long),
    ],
)
async def test_a_process_dies_around_a_call(system: System, place: str, twice: int, skill: str) -> None:
    """Only what was made and not put on record is made again, with the same idempotency key."""
    system.orchestrator()
    run = await system.run(step(skill, count=6))
    await died(doomed(system, place))
    system.agent("caller", "callers.py")
    expected = [f"q{n}" for n in range(1, 7)]
    assert await system.client.result(run, timeout=60) == expected
    told = asked(system)
    assert sorted(set(told)) == expected
    # of plain functions the value is the first call, and `call-begun` is passed on behalf of a child process
    assert len(told) <= 6 + (1 if twice or skill == "call.isolated" else 0)
    keys = {line.split()[2]: set() for line in system.marked("asked")}
    for line in system.marked("asked"):
        keys[line.split()[2]].add(line.split()[3])
    assert all(len(found) == 1 for found in keys.values())
    assert len({line.split()[2] for line in system.marked("start")}) <= 1


async def test_ten_calls_at_once_killed_in_their_midst(system: System) -> None:
    system.orchestrator()
    run = await system.run(step("call.many", count=10))
    first = system.agent("caller", "callers.py")
    await until(lambda: len(system.marked("asked")) == 10)
    async with asyncio.timeout(20):
        while sum(one.record == "answered" for one in await records(system, run)) < 5:
            await asyncio.sleep(0.02)
    first.kill()
    system.let_go("call")
    system.agent("caller", "callers.py")
    assert await system.client.result(run, timeout=60) == [f"q{n}" for n in range(10)]
    assert sorted(asked(system)[10:]) == [f"q{n}" for n in range(1, 10, 2)]


async def test_a_frozen_process_that_comes_back_makes_no_further_call(system: System) -> None:
    """A zombie: taken for dead, another has gone on; thawed, it stops at its next record."""
    system.orchestrator()
    run = await system.run(step("call.chain", count=6, gate_at=3))
    first = system.agent("caller", "callers.py")
    await until(lambda: len(system.marked("asked")) == 3)
    first.freeze()
    second = system.agent("caller", "callers.py")
    await until(lambda: len(system.marked("asked")) == 4)
    assert asked(system)[3] == "q3"
    system.let_go("call")
    first.thaw()
    assert await system.client.result(run, timeout=60) == [f"q{n}" for n in range(1, 7)]
    await until(lambda: "a task is let go of" in first.log.read_text(errors="replace"))
    by_first = [
        what for what, pid in zip(asked(system), pids(system), strict=True) if pid == str(first.process.pid)
    ]
    assert by_first == ["q1", "q2", "q3"]
    assert asked(system)[4:] == ["q4", "q5", "q6"]
    assert first.stop() == 0
    assert second.stop() == 0


async def test_a_zombie_does_not_end_the_task_of_who_went_on(system: System) -> None:
    """It does not acknowledge: when the other one dies too, the task comes again."""
    system.orchestrator()
    run = await system.run(step("call.chain", count=4, gate_at=2))
    first = system.agent("caller", "callers.py")
    await until(lambda: len(system.marked("asked")) == 2)
    first.freeze()
    second = system.agent("caller", "callers.py")
    await until(lambda: len(system.marked("asked")) == 3)
    second.freeze()
    system.let_go("call")
    first.thaw()
    await until(lambda: "a task is let go of" in first.log.read_text(errors="replace"))
    second.kill()
    assert await system.client.result(run, timeout=60) == [f"q{n}" for n in range(1, 5)]
    assert sorted(set(asked(system))) == [f"q{n}" for n in range(1, 5)]


async def test_changed_code_fails_the_task_and_names_the_call(system: System) -> None:
    system.orchestrator()
    run = await system.run(step("call.changed"))
    first = system.agent("caller", "callers.py")
    await until(lambda: len(system.marked("asked")) == 3)
    first.kill()
    system.agent("caller", "callers.py", env={"VERSION": "2"})
    with pytest.raises(Exception, match=r"call 2, model m, now differs in messages\[0\]"):
        await system.client.result(run, timeout=60)
    assert len(system.marked("asked")) == 3
    assert "journal-diverged" in str(await system.facts(run))


async def test_changed_code_starts_over_where_policy_says_so(system: System) -> None:
    system.orchestrator()
    run = await system.run(step("call.changed"))
    first = system.agent("caller", "callers.py")
    await until(lambda: len(system.marked("asked")) == 3)
    first.kill()
    system.let_go("call")
    system.agent("caller", "callers.py", env={"VERSION": "2", "DIVERGENCE": "restart"})
    assert await system.client.result(run, timeout=60) == ["same", "version 2", "last"]
    assert [one.record for one in await records(system, run)].count("restarted") == 1


async def test_large_answers_are_replayed_from_artefacts(system: System) -> None:
    system.orchestrator()
    run = await system.run(step("call.large"))
    await died(doomed(system, "call-answered:2"))
    system.agent("caller", "callers.py")
    assert await system.client.result(run, timeout=60) == 3 * 200_002
    assert asked(system) == ["q0", "q1", "q2"]
