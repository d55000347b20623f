"""The shipped example with a model: six processes, the real SDK, a fake of the Messages API on loopback.

What comes out is held against the facts again; whoever is killed, no question is paid for twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from system_kit import Child, System, until
from test_sharing import fact_of

from consort_agents.fake_llm import Fake, load_script, read_script, serving
from consort_agents.specialists.gathering import gather_facts
from consort_agents.specialists.meaning import section_of, with_section
from consort_agents.specialists.verifying import verify
from consort_shared.entries import Failure, Granted, Opened, Waiting
from consort_shared.errors import RunFailed
from consort_shared.plan.source import load_checked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "market-analysis"
QUESTION = "Which systems lead, where is the market moving, and what does none of them do well?"
AGENTS = ("researcher", "analyst", "surveyor", "writer", "checker")
REQUESTS = {"researcher": 3, "analyst": 1, "surveyor": 1, "writer": 3, "checker": 2}
"""What the script is asked: the writer drafts, mends, and drafts again for the judge."""
KEY = "sk-ant-test-key-of-nobody"


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    async with serving(load_script(EXAMPLE / "model.yaml")) as served:
        yield served


def thinking(url: str, **more: str) -> dict[str, str]:
    """The surroundings of an agent whose model is Claude, at this address."""
    return {
        "CONSORT_MODEL": "claude-sonnet-5-5",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": KEY,
        **more,
    }


def start(system: System, names: Sequence[str], env: dict[str, str]) -> dict[str, Child]:
    return {name: system.agent(name, module=None, env=env) for name in names}


def inputs(**more: str) -> dict[str, Any]:
    return {"sources": str(EXAMPLE / "sources"), **more}


def asked_by(fake: Fake) -> Counter[str]:
    return Counter(asking.agent for asking in fake.requests)


def asked_once(fake: Fake) -> None:
    twice = [digest for digest, times in Counter(one.digest for one in fake.requests).items() if times > 1]
    assert twice == []
    assert fake.distinct() == len(fake.requests)


def sound(report: str, question: str, paragraphs: int) -> None:
    """The report holds by our own count, section and all."""
    facts = gather_facts(EXAMPLE / "sources", question)
    assert verify(report, facts).problems == ()
    assert len(section_of(report)) == paragraphs
    assert "4711" not in report


async def test_five_processes_think_through_the_sdk_and_a_killed_one_pays_nothing_twice(
    system: System, fake: Fake
) -> None:
    """S6, S7, C5, J9: two agents die (-9) in the midst of their tasks, after an answer; ten requests, each once."""
    plan = load_checked(EXAMPLE / "plan.yaml")
    question = str(plan.inputs["question"].default)
    system.orchestrator()
    env = thinking(fake.url)
    doomed = {"researcher": "call-answered:4", "writer": "call-answered:2"}
    agents = start(system, [name for name in AGENTS if name not in doomed], env)
    for name, place in doomed.items():
        agents[name] = system.agent(name, module=None, env=thinking(fake.url, CONSORT_FAILPOINT=place))
    run = await system.client.submit(plan, inputs())
    for name in doomed:
        await until(lambda name=name: not agents[name].running, 60)  # type: ignore[misc]
        agents[name] = system.agent(name, module=None, env=env)
    result = await system.client.result(run, timeout=90)
    sound(result["report"], question, 3)
    assert asked_by(fake) == REQUESTS
    asked_once(fake)
    paths = await system.accepted_once(run)
    assert [path for path in sorted(paths) if path.startswith("report[")] == [
        "report[1].check",
        "report[1].write",
        "report[2].check",
        "report[2].write",
    ]
    calls = [asking.body["model"] for asking in fake.requests]
    assert set(calls) == {"claude-sonnet-5-5"}
    logs = "".join(child.log.read_text(errors="replace") for child in system.children)
    assert KEY not in logs


async def test_a_goal_is_planned_by_the_model_badly_at_first(system: System, fake: Fake) -> None:
    """A3, S15: a plan with a cycle and an unknown skill; told so, a good one; its report holds."""
    system.orchestrator()
    start(system, ("planner", *AGENTS), thinking(fake.url))
    await _all_there(system, {"planner", *AGENTS})
    run = await system.client.pursue(QUESTION, inputs())
    result = await system.client.result(run, timeout=90)
    facts = await system.facts(run)
    [bad] = [fact for fact in facts if isinstance(fact, Failure)]
    assert bad.kind == "bad-plan"
    assert "cycle: gather -> report -> gather" in bad.message
    assert "no agent offers `text.translate`" in bad.message
    [opened] = [fact for fact in facts if isinstance(fact, Opened) and fact.plan is not None]
    assert opened.plan is not None
    assert opened.plan.name == "market analysis"
    sound(result["report"], QUESTION, 3)
    assert result["judged"]["score"] == 5
    assert asked_by(fake) == {**REQUESTS, "planner": 2}
    asked_once(fake)
    planned = [asking for asking in fake.requests if asking.agent == "planner"]
    assert all(str(EXAMPLE) not in str(asking.body) for asking in planned)  # values of inputs are not told


TWO = """
rules:
  - when: {agent: planner, user: analyse.gaps}
    answer:
      json:
        name: with a survey
        steps:
          - {name: gather, skill: research.gather, inputs: [{name: folder, value: "${{ inputs.sources }}"}]}
          - name: gaps
            skill: analyse.gaps
            needs: [gather]
            inputs: [{name: facts, value: "${{ steps.gather.output.facts }}"}]
          - name: report
            skill: write.report
            needs: [gather, gaps]
            inputs:
              - {name: facts, value: "${{ steps.gather.output.facts }}"}
              - {name: coverage, value: "${{ steps.gaps.output.coverage }}"}
        output: [{name: report, value: "${{ steps.report.output.report }}"}]
  - when: {agent: planner}
    answer:
      json:
        name: without one
        steps:
          - {name: gather, skill: research.gather, inputs: [{name: folder, value: "${{ inputs.sources }}"}]}
          - name: report
            skill: write.report
            needs: [gather]
            inputs: [{name: facts, value: "${{ steps.gather.output.facts }}"}]
        output: [{name: report, value: "${{ steps.report.output.report }}"}]
otherwise: {schema: true}
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("agents", "name"),
    [(("researcher", "writer"), "without one"), (("researcher", "surveyor", "writer"), "with a survey")],
)
async def test_two_populations_have_the_model_make_two_plans_for_one_goal(
    system: System, agents: tuple[str, ...], name: str
) -> None:
    """S12: the model plans from who is there; either plan is valid, and either report holds by our own count.

    The answers made up to fit the schemas of the others say nothing that holds, so nothing of them is left.
    """
    async with serving(read_script(TWO)) as fake:
        system.orchestrator()
        start(system, ("planner", *agents), thinking(fake.url))
        await _all_there(system, {"planner", *agents})
        run = await system.client.pursue(QUESTION, inputs())
        result = await system.client.result(run, timeout=90)
    [opened] = [fact for fact in await system.facts(run) if isinstance(fact, Opened) and fact.plan]
    assert opened.plan is not None
    assert opened.plan.name == name
    facts = gather_facts(EXAMPLE / "sources", "")
    assert verify(result["report"], facts).problems == ()


async def test_each_rejects_tasks_outside_its_capability(system: System, fake: Fake) -> None:
    """S37: a skill that none has goes to nobody; inputs that are not a skill's own are refused; no model is asked."""
    system.orchestrator()
    names = ("planner", *AGENTS, "compliance", "correspondent")
    start(system, names, thinking(fake.url))
    await _all_there(system, set(names))
    foreign = await system.run({"steps": {"it": {"skill": "text.translate", "with": {"text": "tea"}}}})
    await fact_of(system, foreign, Waiting, skill="text.translate")
    skills = ("plan", "research.gather", "analyse.trends", "analyse.gaps", "write.report", "check.facts")
    for skill in (*skills, "comply.screen", "communicate.answer"):
        run = await system.run({"steps": {"it": {"skill": skill, "with": {"translate": "this"}}}})
        with pytest.raises(RunFailed):
            await system.client.result(run, timeout=60)
        [failure] = [fact for fact in await system.facts(run) if isinstance(fact, Failure)]
        assert failure.kind == "bad-input"
    assert not [fact for fact in await system.facts(foreign) if isinstance(fact, Granted)]
    assert fake.requests == []


@pytest.mark.long
async def test_without_a_model_the_report_is_the_computed_one(system: System, fake: Fake) -> None:
    """S36: what a model adds is one section; take it out and the rest is the same to the byte."""
    plan = load_checked(EXAMPLE / "plan.yaml")
    system.orchestrator()
    agents = start(system, AGENTS, {"CONSORT_MODEL": ""})
    plain = await system.client.result(await system.client.submit(plan, inputs()), timeout=90)
    assert section_of(plain["report"]) == []
    for child in agents.values():
        child.stop()
    start(system, AGENTS, thinking(fake.url))
    meant = await system.client.result(await system.client.submit(plan, inputs()), timeout=90)
    assert with_section(meant["report"], []) == plain["report"]
    assert meant["summary"] == plain["summary"]


async def _all_there(system: System, names: set[str]) -> None:
    async with asyncio.timeout(30):
        while not names <= {presence.card.name for presence in await system.client.agents()}:
            await asyncio.sleep(0.05)
