"""Profiles changed while real processes work: what is in hand keeps its own, the next task has the new one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scraping import ANY_PORT, get, until_told
from system_kit import System, until

from consort_bus import embedded
from consort_bus.client import connect
from consort_bus.operator import Operator
from consort_shared.entries import Accepted, Granted
from consort_shared.profile import Profile
from consort_shared.usage import Usage

pytestmark = pytest.mark.slow


@asynccontextmanager
async def operating(system: System) -> AsyncIterator[Operator]:
    async with connect(system.url, embedded.credentials_for(system.folder, "operator", "anna")) as client:
        yield Operator.of(client)


def told(name: str, *needs: str, **more: Any) -> dict[str, Any]:
    return {"skill": "persona.tell", "needs": list(needs), "with": {"name": name, **more}}


async def profiles(system: System, run: str) -> dict[str, int]:
    return {fact.path: fact.profile for fact in await system.facts(run) if isinstance(fact, Granted)}


async def test_a_change_counts_from_the_next_task_on_and_entries_say_so(system: System) -> None:
    """S80, S84, J9: two processes of one agent; a task in hand keeps its profile, the next one has the new one."""
    system.orchestrator()
    system.agent("persona")
    system.agent("persona")
    plan = {
        "steps": {"a": told("a", gate=True), "b": told("b", "a", gate=True), "c": told("c", "b")},
        "output": ["${{ steps.a.output }}", "${{ steps.b.output }}", "${{ steps.c.output }}"],
    }
    run = await system.run(plan)
    await until(lambda: system.marked("at-a"))
    async with operating(system) as operator:
        first = await operator.set_profile("persona", Profile(role="the first"))
        assert first.applied.orchestrators == ("main",)
        system.let_go("a")
        await until(lambda: system.marked("at-b"))
        second = await operator.set_profile("persona", Profile(role="the second"), expect=first.revision)
        system.let_go("b")
        result = await system.client.result(run, timeout=30)
        own = result[0][1]
        assert own.startswith("file:")
        assert result == [
            ["its own", own],
            ["the first", str(first.revision)],
            ["the second", str(second.revision)],
        ]
        assert await profiles(system, run) == {"a": 0, "b": first.revision, "c": second.revision}
        back = await operator.set_profile("persona", Profile(role="the first"), back_to=first.revision)
        again = await system.run({"steps": {"a": told("x")}, "output": "${{ steps.a.output }}"})
        assert await system.client.result(again, timeout=30) == ["the first", str(back.revision)]
        await operator.set_profile("persona", None)
        own_again = await system.run({"steps": {"a": told("y")}, "output": "${{ steps.a.output }}"})
        assert await system.client.result(own_again, timeout=30) == ["its own", own]
        assert await profiles(system, own_again) == {"a": 0}


async def test_a_task_that_comes_again_has_the_profile_it_was_granted_under(system: System) -> None:
    """J9: its process is killed, and so is the orchestrator, and the profile changed meanwhile: it is the same task."""
    orchestrator = system.orchestrator()
    doomed = system.agent("persona")
    async with operating(system) as operator:
        await until(lambda: "is ready" in doomed.log.read_text())
        first = await operator.set_profile("persona", Profile(role="the first"))
        run = await system.run({"steps": {"a": told("a", gate=True)}, "output": "${{ steps.a.output }}"})
        await until(lambda: system.marked("at-a"))
        doomed.kill()
        orchestrator.kill()
        second = await operator.set_profile("persona", Profile(role="the second"))
        system.orchestrator()
        system.let_go("a")
        system.agent("persona")
        assert await system.client.result(run, timeout=30) == ["the first", str(first.revision)]
        begun = [line.split(maxsplit=2)[2] for line in system.marked("at-a")]
        assert begun == 2 * [f"1-0 the first {first.revision}"]
        after = await system.run({"steps": {"a": told("b")}, "output": "${{ steps.a.output }}"})
        assert await system.client.result(after, timeout=30) == ["the second", str(second.revision)]


async def test_an_orchestrator_that_starts_knows_the_profiles_before_it_grants(system: System) -> None:
    async with operating(system) as operator:
        set_one = await operator.set_profile("persona", Profile(role="the first"))
    assert set_one.applied.orchestrators == ()
    run = await system.run({"steps": {"a": told("a")}, "output": "${{ steps.a.output }}"})
    system.agent("persona")
    system.orchestrator()
    assert await system.client.result(run, timeout=30) == ["the first", str(set_one.revision)]


async def test_what_work_has_cost_adds_up_in_the_entries(system: System) -> None:
    """What each task used stands with its result, once, though both its process and the orchestrator were killed."""
    orchestrator = system.orchestrator()
    doomed = system.agent("persona")
    costs = {"a": 1_000, "b": 2_500_000, "c": 0}
    steps = {name: told(name, gate=True, cost=cost) for name, cost in costs.items()}
    run = await system.run({"steps": steps})
    await until(lambda: all(system.marked(f"at-{name}") for name in costs))
    doomed.kill()
    system.agent("persona")
    system.let_go("a")
    orchestrator.kill()
    system.orchestrator()
    for name in ("b", "c"):
        system.let_go(name)
    await system.client.result(run, timeout=60)
    used = {fact.path: fact.usage for fact in await system.facts(run) if isinstance(fact, Accepted)}
    assert used == {
        name: Usage(calls=1, input_tokens=100, output_tokens=10, cost=cost) if cost else None
        for name, cost in costs.items()
    }


async def test_figures_tell_what_agents_cost(system: System) -> None:
    """J12: money and tokens by agent, from what attempts report."""
    orchestrator = system.orchestrator(env=ANY_PORT)
    system.agent("persona")
    run = await system.run(
        {"steps": {"a": told("a", cost=1_500_000), "b": told("b", cost=500_000), "c": told("c")}}
    )
    await system.client.result(run, timeout=30)
    await until_told(orchestrator, "/metrics", 200, 'consort_cost_total{gen_ai_agent_name="persona"} 0.002')
    _, text = await get(orchestrator, "/metrics")
    tokens = 'consort_tokens_total{gen_ai_agent_name="persona",gen_ai_token_type="input"} 200.0'
    calls = 'consort_model_calls_total{consort_outcome="answered",gen_ai_agent_name="persona"} 2.0'
    assert tokens in text
    assert calls in text


async def test_planners_see_who_agents_are_now(system: System) -> None:
    """S80: role and goal are among what is on offer, those of the profile that counts at that moment."""
    system.orchestrator()
    system.agent("persona")
    plan = {
        "steps": {
            "see": {"skill": "persona.see", "with": {"offers": "${{ offers }}"}},
            "set": told("gate", "see", gate=True),
            "again": {"skill": "persona.see", "needs": ["set"], "with": {"offers": "${{ offers }}"}},
        },
        "output": ["${{ steps.see.output }}", "${{ steps.again.output }}"],
    }
    run = await system.run(plan)
    await until(lambda: system.marked("at-gate"))
    async with operating(system) as operator:
        await operator.set_profile("persona", Profile(role="another", goal="Be seen."))
    system.let_go("gate")
    own = {"name": "persona", "description": "", "role": "its own"}
    assert await system.client.result(run, timeout=30) == [
        own,
        {**own, "role": "another", "goal": "Be seen."},
    ]
