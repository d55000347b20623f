"""The five agents as a plan uses them: their cards, the example plans, and the chain through the skills."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from _markets import COFFEE, EXAMPLES, QUESTION

from consort_agents import Context, SkillError
from consort_agents.specialists import analyst, checker, researcher, surveyor, writer
from consort_shared.plan.contracts import SkillInfo
from consort_shared.plan.source import load_checked
from consort_shared.values import INLINE_LIMIT, canonical

AGENTS = (researcher, analyst, surveyor, writer, checker)
MARKETS = {"market-analysis": QUESTION, "coffee-market": COFFEE}


def perform(module: ModuleType, inputs: dict[str, Any], context: Context) -> Any:
    """What the worker does with a task: inputs and result pass through the schemas as JSON."""
    [skill] = module.agent.skills.values()
    result = skill.result(skill.function(**skill.arguments(inputs, context)))
    return json.loads(canonical(result))


@pytest.mark.parametrize("name", MARKETS)
def test_the_plan_fits_the_agents(name: str) -> None:
    skills = {
        skill.name: SkillInfo(skill.input_schema, skill.output_schema)
        for module in AGENTS
        for skill in module.agent.card.skills
    }
    plan = load_checked(EXAMPLES / name / "plan.yaml", skills)
    assert plan.inputs["question"].default == MARKETS[name]
    assert {module.agent.name for module in AGENTS} == {
        "researcher",
        "analyst",
        "surveyor",
        "writer",
        "checker",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", MARKETS)
def test_the_chain_of_skills_ends_in_a_report_that_holds(name: str) -> None:
    context = Context.offline()
    folder = str(EXAMPLES / name / "sources")
    gathered = perform(researcher, {"folder": folder, "question": MARKETS[name]}, context)
    [noted] = context.writes
    assert noted.key == "facts"
    assert noted.value == gathered["facts"]
    trends = perform(analyst, {"facts": gathered["facts"]}, context)
    gaps = perform(surveyor, {"facts": gathered["facts"]}, context)
    written = perform(
        writer,
        {
            "facts": gathered["facts"],
            "trends": trends["trends"],
            "coverage": gaps["coverage"],
            "charts": trends["charts"] + gaps["charts"],
            "draft": None,
            "problems": None,
        },
        context,
    )
    checking = Context.offline(values={"facts": noted.value})
    checked = perform(checker, {"report": written["report"]}, checking)
    assert (checked["ok"], checked["problems"]) == (True, [])
    assert len(written["artefacts"]) >= 4
    for ref in written["artefacts"]:
        assert ref["media_type"] == "image/svg+xml"
        assert f"]({ref['name']})" in written["report"]
        assert context.artefacts.get_sync(ref).startswith(b"<?xml")


def test_bad_sources_are_told_in_a_sentence() -> None:
    with pytest.raises(SkillError, match="no such folder") as caught:
        perform(researcher, {"folder": "/nowhere/at/all"}, Context.offline())
    assert caught.value.retry is False


def test_the_checker_wants_the_facts() -> None:
    with pytest.raises(SkillError, match=r"context: \[facts\]"):
        perform(checker, {"report": "# A"}, Context.offline())
    with pytest.raises(SkillError, match="does not hold facts"):
        perform(checker, {"report": "# A"}, Context.offline(values={"facts": {"x": 1}}))


def test_a_verdict_stays_small_enough_to_decide_on() -> None:
    report = "# A\n\n" + "".join(
        f"There are {number} mills in the {'long ' * 20} valley.\n\n" for number in range(900)
    )
    context = Context.offline(values={"facts": {"question": "A"}})
    checked = perform(checker, {"report": report}, context)
    assert checked["found"] == 900
    assert 0 < len(checked["problems"]) < 900
    assert len(canonical(checked)) < INLINE_LIMIT
