"""The builder says in Python what a file says, and plans survive JSON."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consort_shared.errors import PlanError
from consort_shared.plan import ForEach, Plan, PlanBuilder, Ref, Repeat, Retry, SkillInfo, Undo, expr, loads
from consort_shared.plan.build import index, item, iteration, offers, output, previous

YAML = """
name: market
goal: Know the market
inputs:
  question: {type: string}
  depth: {type: integer, default: 3}
steps:
  gather:
    skill: research.gather
    with: {question: "${{ inputs.question }}", note: "About ${{ inputs.question }}"}
    timeout: 5m
    retry: {attempts: 5, wait: 2}
  trends:
    skill: analyse.trends
    needs: [gather]
    if: inputs.depth > 2
    key: inputs.question
    context: [facts]
    with: {facts: "${{ steps.gather.output.facts }}", n: "${{ size(steps.gather.output.facts) }}"}
  each:
    needs: [gather]
    for_each: {items: "${{ steps.gather.output.rivals }}", in_flight: 4}
    steps:
      look: {skill: research.profile, with: {who: "${{ item.name }}", at: "${{ index }}"}}
  report:
    needs: [each, trends, gather]
    join: ended
    repeat: {until: steps.judge.output.ok, max: 3}
    steps:
      draft:
        skill: write.report
        with:
          trends: "${{ steps.trends.output }}"
          facts: ["${{ steps.gather.output.facts[0] }}"]
          notes: "${{ previous.judge.output.notes }}"
          round: "${{ iteration }}"
      judge: {skill: judge.text, needs: [draft], with: {text: "${{ steps.draft.output.text }}", key: taken}}
output: {text: "${{ steps.report.output.draft.text }}"}
"""


def test_the_same_plan_as_from_yaml() -> None:
    plan = PlanBuilder(
        "market", goal="Know the market", inputs={"question": str, "depth": {"type": int, "default": 3}}
    )
    question = plan.input("question")
    gather = plan.step(
        "gather",
        "research.gather",
        question=question,
        note=f"About {question}",
        timeout="5m",
        retry=Retry(attempts=5, wait=2),
    )
    plan.step(
        "trends",
        "analyse.trends",
        if_="inputs.depth > 2",
        key="inputs.question",
        context=["facts"],
        facts=gather.output["facts"],
        n=expr(f"size({gather.output.facts.path})"),
    )
    each = plan.block("each", for_each=ForEach(items=str(gather.output.rivals), in_flight=4))
    each.step("look", "research.profile", who=item["name"], at=index)
    report = plan.block(
        "report", needs=[each], join="ended", repeat=Repeat(until="steps.judge.output.ok", max=3)
    )
    draft = report.step(
        "draft",
        "write.report",
        trends="${{ steps.trends.output }}",
        facts=[gather.output["facts"][0]],
        notes=previous["judge"]["output"]["notes"],
        round=iteration,
    )
    report.step("judge", "judge.text", text=draft.output["text"], with_={"key": "taken"})
    plan.output({"text": report.output["draft"]["text"]})
    assert plan.build() == loads(YAML).plan


def test_needs_are_inferred_once_and_in_order() -> None:
    plan = PlanBuilder("x")
    a = plan.step("a", "s")
    b = plan.step("b", "s")
    plan.step("c", "s", x=b.output, y=f"{b.output.t} {a.output}", needs=["a"])
    plan.step("d", "s", for_each=a.output, if_=f"{b.output.path} == 1", z=item)
    plan.step("e", "s", for_each=[1, 2], z=item)
    made = plan.build()
    assert made.steps["c"].needs == ("a", "b")
    assert made.steps["d"].needs == ("a", "b")
    assert made.steps["d"].for_each == ForEach(items="${{ steps.a.output }}")
    assert made.steps["e"].for_each == ForEach(items=[1, 2])


def test_what_undoes_a_step_and_the_runs_time() -> None:
    plan = PlanBuilder("x", timeout="1h")
    a = plan.step("a", "s", undo="s.back")
    plan.step(
        "b", "s", undo={"skill": "s.back", "with": {"id": output["id"], "of": a.output}, "timeout": "5m"}
    )
    plan.step("c", "s", undo=Undo(skill="s.back", with_={"x": 1}))
    made = plan.build()
    assert made.timeout == 3600
    assert made.steps["a"].undo == Undo(skill="s.back")
    assert made.steps["b"].needs == ("a",)
    undo = made.steps["b"].undo
    assert undo is not None
    assert undo.with_ == {"id": "${{ output.id }}", "of": "${{ steps.a.output }}"}
    assert undo.timeout == 300
    assert made.steps["c"].undo == Undo(skill="s.back", with_={"x": 1})


def test_faults_are_told_as_for_a_file() -> None:
    plan = PlanBuilder("x")
    plan.step("a", "s", needs=["b"], timeout="soon")
    with pytest.raises(PlanError, match=r"steps.a.timeout: must be a duration"):
        plan.build()
    plan = PlanBuilder("x")
    plan.step("a", "s", needs=["b"], q="${{ 1 + }}")
    with pytest.raises(PlanError, match="there is no step `b`") as caught:
        plan.build()
    assert len(caught.value.faults) == 2
    plan = PlanBuilder("x")
    plan.step("a", "s")
    with pytest.raises(ValueError, match="there is a step `a` already"):
        plan.step("a", "s")
    with pytest.raises(PlanError, match="no agent offers `s`"):
        plan.build({"t": SkillInfo()})


def test_references_are_not_iterable() -> None:
    with pytest.raises(TypeError):
        list(Ref("item"))  # type: ignore[call-overload]
    assert str(Ref("steps", "a", "output")["a b"][0]) == '${{ steps.a.output["a b"][0] }}'


_names = st.sampled_from(["a", "b", "c", "d", "e"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part, max_size=3),
    max_leaves=5,
)
_modifiers = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"for_each": st.fixed_dictionaries({"items": st.lists(_values, max_size=2)})}),
    st.fixed_dictionaries(
        {"repeat": st.fixed_dictionaries({"until": st.text(max_size=5), "max": st.integers(1, 9)})}
    ),
)
_common = st.fixed_dictionaries(
    {},
    optional={
        "needs": st.lists(_names, max_size=3),
        "join": st.sampled_from(["all", "any", "ended", {"at_least": 2}]),
        "if": st.text(max_size=5),
        "title": st.text(max_size=5),
    },
)
_tasks = st.builds(
    lambda common, modifiers, more: {"skill": "a.b", **common, **modifiers, **more},
    _common,
    _modifiers,
    st.fixed_dictionaries(
        {},
        optional={
            "with": st.dictionaries(_names, _values, max_size=3),
            "key": st.just("1"),
            "timeout": st.sampled_from([1, 2.5, "30s", "5m", "200ms", "1h"]),
            "retry": st.fixed_dictionaries(
                {}, optional={"attempts": st.integers(1, 5), "wait": st.just("2s")}
            ),
        },
    ),
)
_steps = st.recursive(
    _tasks,
    lambda inner: st.builds(
        lambda common, modifiers, steps: {**common, **modifiers, "steps": steps},
        _common,
        _modifiers,
        st.dictionaries(_names, inner, min_size=1, max_size=3),
    ),
    max_leaves=4,
)
_plans = st.fixed_dictionaries(
    {
        "name": st.text(min_size=1, max_size=9),
        "steps": st.dictionaries(_names, _steps, min_size=1, max_size=4),
    },
    optional={
        "inputs": st.dictionaries(
            _names, st.sampled_from([{}, {"type": "string"}, {"default": None}, {"default": 2}])
        ),
        "output": _values,
    },
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(_plans)
def test_plans_survive_json(written: dict[str, object]) -> None:
    plan = Plan.model_validate(written)
    text = plan.model_dump_json(by_alias=True, exclude_unset=True)
    assert Plan.model_validate_json(text) == plan
    assert loads(text, format="json").plan == plan


def test_plans_to_come() -> None:
    """What a builder says of a plan that is made while the run goes on is what a file would say."""
    builder = PlanBuilder("goal", inputs={"goal": str, "ready": "plan"})
    made = builder.step(
        "plan",
        "plan",
        returns="plan",
        max_steps=9,
        goal=builder.input("goal"),
        offers=offers,
        retry={"attempts": 2},
    )
    builder.carry_out("work", made.output, goal=builder.input("goal"))
    builder.carry_out("more", builder.input("ready"), needs=[made])
    plan = builder.build()
    assert plan.steps["work"].needs == ("plan",)
    assert plan.steps["work"].plan == "${{ steps.plan.output }}"
    assert plan.steps["plan"].with_["offers"] == "${{ offers }}"
    assert (plan.steps["plan"].returns, plan.steps["plan"].max_steps) == ("plan", 9)
