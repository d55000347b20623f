"""Goals without a plan, with real processes: planned, refused, mended, carried out, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from system_kit import System, until

from consort_shared.entries import Accepted, Failure, Granted, Opened
from consort_shared.errors import RunFailed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SOURCES = Path(__file__).parents[2] / "examples" / "market-analysis" / "sources"
REPORT = "Write a report on the market"


async def test_a_plan_with_a_cycle_and_an_unknown_skill_is_mended_when_told(system: System) -> None:
    """S15, A3: the planner hears each fault with its place, and what it makes then is carried out."""
    system.orchestrator()
    system.agent("worker")
    system.agent("careless", "planners.py")
    system.let_go("plan")
    run = await system.client.pursue("make it so")
    assert await system.client.result(run, timeout=60) == "made make it so.it"
    facts = await system.facts(run)
    [failure] = [fact for fact in facts if isinstance(fact, Failure) and fact.kind == "bad-plan"]
    assert "steps.first.needs: cycle: first -> second -> first" in failure.message
    assert "no agent offers `text.translate`" in failure.message
    [opened] = [fact for fact in facts if isinstance(fact, Opened)]
    assert opened.plan is not None
    assert list(opened.plan.steps) == ["first", "second"]
    assert "text.make" in system.marked("offered")[-1]


async def test_kill_planner_and_orchestrator_while_it_is_planned(system: System) -> None:
    """S15, C5: killed at any of it, the goal is planned and carried out once."""
    first = system.orchestrator("main")
    system.agent("worker")
    planner = system.agent("careless", "planners.py")
    run = await system.client.pursue("carry on")
    await until(lambda: system.marked("planned"))
    planner.kill()
    first.kill()
    system.orchestrator("other")
    second = system.agent("careless", "planners.py")
    await until(lambda: len(system.marked("planned")) > 1)
    system.let_go("plan")
    await until(lambda: system.marked("told"))
    second.kill()
    system.agent("careless", "planners.py")
    assert await system.client.result(run, timeout=90) == "made carry on.it"
    assert sorted(await system.accepted_once(run)) == ["plan", "work.first", "work.second"]
    assert [fact.path for fact in await system.facts(run) if isinstance(fact, Opened)] == ["work"]


async def test_one_that_never_mends_fails_with_the_reasons(system: System) -> None:
    """S15"""
    system.orchestrator()
    system.agent("stubborn", "planners.py")
    run = await system.client.pursue("speak of tea")
    with pytest.raises(RunFailed, match="the result is text, not a plan"):
        await system.client.result(run, timeout=60)
    grants = [fact for fact in await system.facts(run) if isinstance(fact, Granted)]
    assert [grant.attempt for grant in grants] == [1, 2, 3]


@pytest.mark.parametrize(
    "agents", [("researcher", "writer"), ("researcher", "analyst", "surveyor", "writer")]
)
@pytest.mark.long
async def test_two_populations_make_two_plans_for_one_goal(system: System, agents: tuple[str, ...]) -> None:
    """S12, S7: nobody wrote these steps down; who is there decides them, and either way there is a report."""
    system.orchestrator()
    for name in agents:
        system.agent(name, module=None)
    async with asyncio.timeout(30):
        while {presence.card.name for presence in await system.client.agents()} != set(agents):
            await asyncio.sleep(0.05)
    system.agent("planner", module=None)
    run = await system.client.pursue(REPORT, {"folder": str(SOURCES)})
    result = await system.client.result(run, timeout=90)
    assert "## Limits of the data" in result["report"]
    by = {fact.path: fact.agent for fact in await system.facts(run) if isinstance(fact, Accepted)}
    assert set(by.values()) == {*agents, "planner"}
    assert len(by) == len(agents) + 1
