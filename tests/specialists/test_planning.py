"""Plans that are computed from a goal and from what is on offer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from consort_agents import Context, SkillError
from consort_agents.specialists import analyst, checker, planner, researcher, surveyor, writer
from consort_agents.specialists.chaining import MOST
from consort_agents.specialists.fitting import Part, fits, holds
from consort_agents.specialists.planning import Missing, compute_plan
from consort_shared.card import AgentCard, SkillCard
from consort_shared.errors import PlanError
from consort_shared.offers import offers_of, skills_of
from consort_shared.plan.planned import in_words, planned
from consort_shared.values import Json

MARKET = [module.agent.card for module in (researcher, analyst, surveyor, writer, checker, planner)]
QUESTION = "Which systems lead, where is the market moving, and what does none of them do well?"
REPORT = "Write a report on the market"


def recipes() -> list[dict[str, Json]]:
    return planner.recipes(Context.offline())


def made(
    goal: str, cards: list[AgentCard], inputs: dict[str, Json], trouble: str = "", known: Any = ()
) -> dict[str, Json]:
    """A plan that is fit to be carried out by just these agents."""
    plan = compute_plan(goal, offers_of(cards), inputs, trouble, known)
    planned(plan, skills=skills_of(cards), given={"goal", *inputs}, max_steps=50)
    return plan


def offer(
    name: str, takes: dict[str, Any], gives: Any, description: str = "", optional: tuple[str, ...] = ()
) -> AgentCard:
    schema = {
        "type": "object",
        "properties": takes,
        "required": [name for name in takes if name not in optional],
    }
    card = SkillCard(name=name, description=description, input_schema=schema, output_schema=gives)
    return AgentCard(name=name.replace(".", "-"), skills=(card,))


TEXT = {"type": "string"}


def thing(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": dict.fromkeys(names, TEXT), "required": list(names)}


@pytest.mark.slow
def test_a_recipe_that_has_to_do_with_the_goal() -> None:
    """A3, S15"""
    plan = made(QUESTION, MARKET, {"sources": "x"}, known=recipes())
    assert plan["name"] == "market-analysis"
    assert plan["inputs"]["question"]["default"] == QUESTION


def test_a_recipe_needs_all_its_skills_and_inputs() -> None:
    with pytest.raises(
        Missing, match=r"`market-analysis` cannot be used: it wants the input `sources` \(path of"
    ):
        compute_plan(QUESTION, offers_of(MARKET), {}, "", recipes())
    plan = made(f"{QUESTION} {REPORT}", MARKET[:4], {"folder": "x", "sources": "x"}, known=recipes())
    assert plan["name"] == "towards write.report"


@pytest.mark.slow
def test_two_populations_two_plans() -> None:
    """S12: the same goal, other agents, another plan, both fit to be carried out."""
    few = made(REPORT, [MARKET[0], MARKET[3]], {"folder": "x"})
    many = made(REPORT, MARKET[:4], {"folder": "x"})
    assert list(few["steps"]) == ["gather", "report"]
    assert list(many["steps"]) == ["gather", "trends", "gaps", "report"]
    assert many["steps"]["report"]["with"]["trends"] == "${{ steps.trends.output.trends }}"


def test_two_goals_two_sequences() -> None:
    """S7: the same agents do other steps for another goal, and nobody wrote a branch."""
    steps = [
        list(made(goal, MARKET, {"folder": "x"})["steps"])
        for goal in (REPORT, "Gather what the folder holds", "Count growth and spread, and what leads")
    ]
    assert steps[1] == ["gather"]
    assert steps[2] == ["gather", "trends"]
    assert len(steps[0]) == 4


def test_the_same_goal_and_offers_give_the_same_plan() -> None:
    """A3: whatever the order in which the agents are named."""
    assert made(REPORT, MARKET[:4], {"folder": "x"}) == made(REPORT, MARKET[3::-1], {"folder": "x"})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(
        Missing, match=r"`research\.gather` needs the input `folder`: no other skill gives it"
    ):
        made(REPORT, MARKET, {})
    with pytest.raises(Missing, match="nothing that is on offer has to do with the goal; there are `analyse"):
        made("bake bread", MARKET, {})
    with pytest.raises(Missing, match="nothing is on offer to plan with"):
        made("bake bread", [], {})
    with pytest.raises(Missing, match="nothing is on offer to plan with"):
        made("plan something", [planner.agent.card], {})


def test_what_was_refused_is_avoided() -> None:
    """S15: told why, it leaves out what cannot be."""
    trouble = "bad-plan: the plan `market-analysis` cannot be carried out:\n"
    trouble += "steps.gaps.skill: no agent offers `analyse.gaps`"
    plan = made(REPORT, MARKET, {"folder": "x", "sources": "x"}, trouble, recipes())
    assert list(plan["steps"]) == ["gather", "trends", "report"]
    other = made(
        REPORT, MARKET, {"folder": "x", "sources": "x"}, "timeout: no report within 900 s", recipes()
    )
    assert other["name"] == "market-analysis"


def test_results_go_where_they_fit() -> None:
    cards = [
        offer("tea.brew", {"leaves": thing("sort"), "water": thing("warmth")}, thing("cup"), "brews tea"),
        offer(
            "tea.pick", {"topic": TEXT}, {"type": "object", "properties": {"leaves": thing("sort", "age")}}
        ),
        offer("kettle.boil", {"goal": TEXT}, thing("warmth")),
        offer("kettle.cool", {"goal": TEXT}, thing("cold")),
    ]
    plan = made("brew tea", cards, {})
    assert plan["steps"]["brew"]["with"] == {
        "leaves": "${{ steps.pick.output.leaves }}",
        "water": "${{ steps.boil.output }}",
    }
    assert set(plan["steps"]) == {"brew", "pick", "boil"}


def test_nothing_is_made_of_itself() -> None:
    """Hens and eggs: without a given one there is no plan, with one there is."""
    cards = [
        offer("farm.hen", {"egg": thing("shell")}, {"type": "object", "properties": {"hen": thing("beak")}}),
        offer("farm.egg", {"hen": thing("beak")}, {"type": "object", "properties": {"egg": thing("shell")}}),
    ]
    with pytest.raises(Missing):
        made("a hen for the farm", cards, {})
    assert list(made("a hen for the farm", cards, {"egg": {"shell": "brown"}})["steps"]) == ["hen"]
    assert list(made("a hen for the farm", cards, {"hen": {"beak": "red"}})["steps"]) == ["egg", "hen"]


def test_a_text_comes_from_another_skill_before_it_is_the_goal() -> None:
    cards = [
        offer("page.sum", {"text": TEXT}, TEXT, "sums up a page"),
        offer("page.fetch", {"query": TEXT}, {"type": "object", "properties": {"text": TEXT}}),
    ]
    assert made("sum up the page", cards, {})["steps"]["sum"]["with"] == {
        "text": "${{ steps.fetch.output.text }}"
    }
    assert made("sum up the page", cards[:1], {})["steps"]["sum"]["with"] == {"text": "${{ inputs.goal }}"}


def test_a_goal_is_never_taken_for_an_expression() -> None:
    plan = made("sum up ${{ inputs.secret }}", [offer("page.sum", {"text": TEXT}, TEXT, "sums up")], {})
    assert plan["inputs"]["goal"]["default"] == "sum up ${{ inputs.secret }}"


@pytest.mark.slow
def test_many_offers_are_no_trouble() -> None:
    """Chains have an end, also where everything seems to fit everything."""
    many = [
        offer(f"s{n}.make", {"a": thing("x"), f"b{n}": thing("x")}, thing("x"), "makes it") for n in range(60)
    ]
    with pytest.raises(Missing):
        made("make it", many, {})
    chain = [
        offer(f"c{n}.do", {f"i{n + 1}": TEXT}, {"type": "object", "properties": {f"i{n}": TEXT}})
        for n in range(60)
    ]
    with pytest.raises(Missing, match=f"more than {MOST} steps"):
        made("c0 do", chain, {})


@pytest.mark.parametrize(
    ("given", "wanted", "fit"),
    [
        ({"type": "integer"}, {"type": "number"}, True),
        ({"type": "number"}, {"type": "integer"}, False),
        (thing("a", "b"), thing("a"), True),
        (thing("a"), thing("a", "b"), False),
        (thing("a", "b"), {**thing("a"), "additionalProperties": False}, False),
        ({"type": "array", "items": thing("a")}, {"type": "array", "items": thing("a")}, True),
        ({"type": "array", "items": TEXT}, {"type": "array", "items": thing("a")}, False),
        ({"anyOf": [thing("a"), {"type": "null"}]}, thing("a"), True),
        ({"$ref": "#/$defs/X", "$defs": {"X": thing("a")}}, thing("a"), True),
        ({"$ref": "#/$defs/X", "$defs": {"X": {"$ref": "#/$defs/X"}}}, thing("a"), False),
        (TEXT, {"type": "string", "enum": ["a"]}, False),
        (TEXT, {}, True),
    ],
)
def test_what_fits(given: Any, wanted: Any, fit: bool) -> None:
    assert fits(Part.of(given), Part.of(wanted)) is fit


def test_recipes_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A recipe that is no plan is left out, and the log says why; one's own hides that of the package."""
    monkeypatch.setenv(planner.RECIPES, str(tmp_path))
    (tmp_path / "bread.yaml").write_text(
        "name: bread\ngoal: bake good bread\nsteps: {a: {skill: oven.bake}}\n"
    )
    (tmp_path / "market.json").write_text('{"name": "market-analysis", "steps": {"a": {"skill": "s"}}}')
    (tmp_path / "broken.yaml").write_text("name: broken\nsteps: {a: {skil: s}}\n")
    (tmp_path / "notes.txt").write_text("none")
    with caplog.at_level(logging.WARNING):
        found = {recipe["name"]: recipe for recipe in recipes()}
    assert set(found) == {"bread", "market-analysis"}
    assert found["market-analysis"]["steps"] == {"a": {"skill": "s"}}
    assert "broken.yaml is left out" in caplog.text
    monkeypatch.setenv(planner.RECIPES, str(tmp_path / "none"))
    recipes()
    assert "which is no folder" in caplog.text


def test_the_skill_says_what_is_missing() -> None:
    [skill] = planner.agent.skills.values()
    inputs = {"goal": "bake bread", "offers": offers_of(MARKET), "inputs": {}}
    with pytest.raises(SkillError, match="no plan for this goal: nothing that is on offer"):
        skill.function(**skill.arguments(inputs, Context.offline()))
    inputs = {"goal": REPORT, "offers": offers_of(MARKET), "inputs": {"folder": "x"}}
    assert skill.function(**skill.arguments(inputs, Context.offline()))["steps"]


def test_many_faults_are_told_in_part() -> None:
    steps = {f"s{n}": {"skill": "far.away"} for n in range(30)}
    with pytest.raises(PlanError) as caught:
        planned({"name": "x", "steps": steps}, skills={})
    assert in_words(caught.value).endswith("\nand 10 more")


@pytest.mark.parametrize(
    ("value", "wanted", "fit"),
    [
        (["a"], {"type": "array", "items": TEXT}, True),
        (["a"], {"type": "array", "items": thing("a")}, False),
        ([{"a": "x"}, None], {"type": "array", "items": {"anyOf": [thing("a"), {"type": "null"}]}}, True),
        ({"a": 1}, thing("a"), False),
        (True, {"type": "integer"}, False),
        ("b", {"type": "string", "enum": ["a"]}, False),
        (None, TEXT, False),
        (None, {}, True),
    ],
)
def test_what_holds(value: Any, wanted: Any, fit: bool) -> None:
    assert holds(value, Part.of(wanted)) is fit


def test_what_was_handed_in_and_does_not_fit_is_not_used() -> None:
    cards = [offer("page.sum", {"page": thing("body")}, TEXT, "sums up a page")]
    with pytest.raises(Missing, match="what was handed in as `page` does not fit its schema"):
        made("sum up the page", cards, {"page": "tea"})
    cards.append(
        offer("page.fetch", {"topic": TEXT}, {"type": "object", "properties": {"page": thing("body")}})
    )
    assert list(made("sum up the page", cards, {"page": "tea"})["steps"]) == ["fetch", "sum"]


@pytest.mark.parametrize(
    "value", [{"name": "x" * 300_000}, {"steps": [{}]}, {"a": float("nan")}, {"name": []}]
)
def test_odd_values_are_no_plans(value: Any) -> None:
    with pytest.raises(PlanError):
        planned(value, skills={}, max_steps=50)


def test_a_bottomless_value_is_no_plan() -> None:
    value: Any = {}
    for _ in range(50_000):
        value = {"steps": value}
    with pytest.raises(PlanError, match="nested too deep"):
        planned(value, skills={}, max_steps=50)
