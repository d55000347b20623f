"""The shipped example, disturbed in every way that a process can be: the report is the same to the byte."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from system_kit import Child, System
from test_sharing import fact_of

from consort_shared.entries import Granted, Waiting
from consort_shared.plan.source import load_checked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "market-analysis"
AGENTS = ("researcher", "analyst", "surveyor", "writer", "checker")


async def test_killing_each_process_of_the_example_changes_nothing(system: System) -> None:
    """C5, C6, S4, S8, S16: five programs that know only the bus; one comes late and the run waits, saying for what.

    Then the same again under kills: five times the orchestrator, once each agent while it has a task.
    """
    plan = load_checked(EXAMPLE / "plan.yaml")
    inputs: dict[str, Any] = {"sources": str(EXAMPLE / "sources")}
    orchestrator = system.orchestrator()
    agents = {name: system.agent(name, module=None) for name in AGENTS if name != "checker"}
    quiet = await system.client.submit(plan, inputs)
    await fact_of(system, quiet, Waiting, skill="check.facts")
    agents["checker"] = system.agent("checker", module=None)
    wanted = await system.client.result(quiet, timeout=90)

    run = await system.client.submit(plan, inputs)
    killed: set[str] = set()
    deaths = 0
    async with asyncio.timeout(150):
        async for logged in system.client.watch(run):
            if deaths < 5:
                orchestrator = _again(system, orchestrator)
                deaths += 1
            for fact in logged.entry.facts:
                if isinstance(fact, Granted) and fact.agent not in killed:
                    killed.add(fact.agent)
                    agents[fact.agent].kill()
                    agents[fact.agent] = system.agent(fact.agent, module=None)
    assert killed == set(AGENTS)
    assert deaths == 5
    assert await system.client.result(run, timeout=90) == wanted
    accepted = await system.accepted_once(run)
    assert sorted(accepted) == sorted(await system.accepted_once(quiet))
    _sound(wanted)


def _again(system: System, child: Child) -> Child:
    child.kill()
    return system.orchestrator()


def _sound(result: Any) -> None:
    """Four stages, in one report that answers, cites and shows its limits."""
    report = result["report"]
    for heading in ("## Summary", "## Limits of the data"):
        assert heading in report
    for figure in ("62 of 105", "16 of 114", "41 of 65", "49 of 114", "36"):
        assert figure in report, figure
    assert len(result["artefacts"]) == 4
