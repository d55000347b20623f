"""A planner with a model: what it is told, what it makes of the answer, and when it computes after all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _markets import QUESTION
from _thinking import desk

from consort_agents import Context
from consort_agents.specialists import analyst, checker, planner, researcher, surveyor, writer
from consort_agents.specialists.offers_in_words import in_words
from consort_agents.specialists.plan_drafting import Drafted, plan_of
from consort_agents.thinking.shaping import Misfit, shape_of
from consort_shared.errors import PlanError
from consort_shared.offers import offers_of, skills_of
from consort_shared.plan.planned import in_words as refusal
from consort_shared.plan.planned import planned

CARDS = [module.agent.card for module in (researcher, analyst, surveyor, writer, checker, planner)]
INPUTS = {"sources": "/home/ann/secret-folder"}
BAD_PLAN = "bad-plan: the plan `a hasty plan` cannot be carried out:\nsteps.gather.needs: cycle"


def ask(context: Context, inputs: Any = INPUTS, cards: Any = CARDS) -> dict[str, Any]:
    made: dict[str, Any] = planner.plan(QUESTION, offers_of(cards), context, inputs)
    return made


def sound(plan: dict[str, Any]) -> None:
    planned(plan, skills=skills_of(CARDS), given={"goal", *INPUTS}, max_steps=50)


def test_a_plan_with_a_cycle_and_an_unknown_skill_is_mended_when_told() -> None:
    """S15, A3: the script of the example plans badly at first; told the reasons it plans well."""
    there = desk()
    hasty = ask(there.context(planner))
    with pytest.raises(PlanError) as caught:
        sound(hasty)
    told = refusal(caught.value, hasty["name"])
    assert "cycle: gather -> report -> gather" in told
    assert "no agent offers `text.translate`" in told
    context = there.context(planner)
    context.attempt, context.trouble = 2, f"bad-plan: {told}"
    mended = ask(context)
    sound(mended)
    assert list(mended["steps"]) == ["gather", "trends", "gaps", "report"]
    assert mended["steps"]["report"]["repeat"] == {"until": "${{ steps.check.output.ok }}", "max": 3}
    assert there.model.told()["trouble"] == context.trouble


def test_the_model_sees_what_is_on_offer_in_few_words_and_no_value_of_an_input() -> None:
    """Names and types of inputs, skills with fields, agents with roles; nothing that may be secret, no schemas."""
    there = desk()
    ask(there.context(planner))
    [request] = there.model.asked
    assert "secret-folder" not in request.model_dump_json()
    told = there.model.told()
    assert told["inputs"] == [{"name": "goal", "type": "text"}, {"name": "sources", "type": "text"}]
    assert "plan" not in [offer["skill"] for offer in told["offers"]]
    [check] = [offer for offer in told["offers"] if offer["skill"] == "check.facts"]
    assert check["agents"][0]["role"] == "the critic of a report"
    assert check["takes"]["report"].startswith("text, required")
    assert check["gives"]["ok"].startswith("true or false")
    assert len(json.dumps(in_words(offers_of(CARDS)))) < 8_000 < len(json.dumps(offers_of(CARDS))) / 5


@pytest.mark.slow
def test_after_two_refused_plans_it_is_computed() -> None:
    """A model that plans badly does not keep a goal from being reached where a plan can be computed."""
    there = desk()
    context = there.context(planner)
    context.attempt, context.trouble = 3, BAD_PLAN
    made = ask(context)
    sound(made)
    assert there.model.asked == []
    assert made["name"] == "market-analysis"


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    ["rules: [{fail: {status: 401}}]", 'rules: [{answer: "First, gather."}]'],
    ids=["no-key", "talks"],
)
def test_a_model_that_is_of_no_use_leaves_it_to_the_recipe(script: str) -> None:
    with_it = ask(desk(script).context(planner))
    assert with_it == ask(Context.offline())
    sound(with_it)


def test_where_nothing_can_be_computed_the_model_is_asked_again() -> None:
    there = desk()
    context = there.context(planner)
    context.attempt, context.trouble = 3, BAD_PLAN.replace("a hasty plan", "market-analysis")
    made = ask(context, {}, CARDS[1:])  # nobody gathers, so no recipe and no chain
    assert made["name"] == "market analysis"
    assert len(there.model.asked) == 1


def test_the_form_of_a_drafted_plan_is_small_and_told_apart_from_none() -> None:
    shape = shape_of(Drafted)
    assert len(json.dumps(shape.schema)) < 4_000
    with pytest.raises(Misfit, match="either `skill` or `steps`"):
        shape.read('{"name": "a", "steps": [{"name": "b"}]}')
    with pytest.raises(Misfit, match="the name 'b'"):
        shape.read('{"name": "a", "steps": [{"name": "b", "skill": "s"}, {"name": "b", "skill": "s"}]}')
    with pytest.raises(Misfit):
        shape.read('{"name": "a", "steps": []}')
    drafted = shape.read(
        '{"name": "a", "steps": [{"name": "b", "skill": "s", "when": "${{ true }}", "context": ["facts"],'
        ' "for_each": {"items": "${{ inputs.list }}"}, "inputs": [{"name": "x", "value": "${{ item }}"}]}]}'
    )
    plan = plan_of(drafted, "do it", {"list": [1]})
    assert plan["inputs"] == {"goal": {"type": "string", "default": "do it"}, "list": {}}
    assert plan["steps"]["b"] == {
        "skill": "s",
        "if": "${{ true }}",
        "for_each": {"items": "${{ inputs.list }}"},
        "context": ["facts"],
        "with": {"x": "${{ item }}"},
    }
    planned(plan, given={"goal", "list"})
