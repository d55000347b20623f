"""Plans that come while a run goes on: what may be returned, and blocks whose steps come from a result."""

from __future__ import annotations

from typing import Any

import pytest
from driving import Driver, inline, make_plan, stored

from consort_orchestrator.core import NeedArtefacts, Phase
from consort_shared.card import AgentCard, SkillCard
from consort_shared.entries import Closed, Failure, Granted, Opened
from consort_shared.messages import Done, Pause, Resume, Retry
from consort_shared.plan.check import check
from consort_shared.plan.goals import plan_for_goal
from consort_shared.plan.model import Plan
from consort_shared.values import Json

RETRY = {"attempts": 3, "wait": 0}
STEPS: dict[str, Any] = {
    "plan": {
        "skill": "plan",
        "returns": "plan",
        "retry": RETRY,
        "with": {"goal": "${{ inputs.goal }}", "offers": "${{ offers }}"},
    },
    "work": {
        "plan": "${{ steps.plan.output }}",
        "needs": ["plan"],
        "with": {"goal": "${{ inputs.goal }}", "n": 3},
    },
    "last": {"skill": "tell", "needs": ["work"], "with": {"said": "${{ steps.work.output }}"}},
}
REST: dict[str, Any] = {"inputs": {"goal": {"default": "tea"}}}
MADE: dict[str, Any] = {
    "name": "made",
    "inputs": {"goal": {"type": "string"}},
    "steps": {
        "one": {"skill": "make", "with": {"text": "${{ inputs.goal }}"}},
        "two": {"skill": "make", "needs": ["one"], "with": {"text": "${{ steps.one.output.text }}"}},
    },
    "output": {"both": ["${{ steps.one.output.text }}", "${{ steps.two.output }}"]},
}
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def card(name: str, *skills: str) -> AgentCard:
    made = tuple(
        SkillCard(name=s, input_schema=TEXT if s == "make" else None, output_schema=TEXT) for s in skills
    )
    return AgentCard(name=name, description=f"is {name}", skills=made)


def driver(steps: dict[str, Any] | None = None, rest: dict[str, Any] | None = None) -> Driver:
    going = Driver()
    going.cards = [card("ann", "plan", "make", "tell"), card("bob", "make")]
    return going.start(steps or STEPS, rest or REST)


def with_steps(**steps: Any) -> dict[str, Any]:
    return {"name": "made", "steps": steps}


def test_a_plan_is_planned_and_carried_out() -> None:
    """S15, A3: what is on offer goes out with the task, the answer becomes the steps of a block."""
    going = driver()
    offers = going.granted("plan").inputs["offers"]
    assert [(offer["skill"], [agent["name"] for agent in offer["agents"]]) for offer in offers] == [
        ("make", ["ann", "bob"]),
        ("plan", ["ann"]),
        ("tell", ["ann"]),
    ]
    assert offers[0]["input"] == TEXT
    going.done("plan", MADE)
    opened = going.facts(Opened)[0]
    assert (opened.path, opened.inputs) == ("work", {"goal": "tea"})
    assert opened.plan == Plan.model_validate(MADE)
    assert going.granted("work.one").inputs == {"text": "tea"}
    assert [prior.path for prior in going.granted("work.one").handoff.priors] == ["plan"]
    going.done("work.one", {"text": "1"})
    going.done("work.two", {"text": "2"})
    assert going.granted("last").inputs == {"said": {"both": ["1", {"text": "2"}]}}
    going.done("last", "all")
    assert going.outcome == ("completed", {"last": "all"}, "")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("a poem", "the result is text, not a plan"),
        (None, "the result is null, not a plan"),
        ({"name": "x"}, "`steps` is missing"),
        (
            with_steps(
                a={"skill": "make", "needs": ["b"], "with": {"text": ""}}, b={"skill": "tell", "needs": ["a"]}
            ),
            "cycle",
        ),
        (
            with_steps(a={"skill": "mak", "with": {"text": ""}}),
            "steps.a.skill: no agent offers `mak`; did you mean `make`?",
        ),
        (with_steps(a={"skill": "make"}), "steps.a.with: skill `make` needs the input `text`"),
        (
            with_steps(a={"skill": "make", "with": {"text": "${{ steps.work.output }}"}}),
            "there is no step `work`",
        ),
        (with_steps(**{f"s{n}": {"skill": "tell"} for n in range(51)}), "steps: 51 steps; at most 50"),
        ({**with_steps(a={"skill": "tell"}), "inputs": {"far": {}}}, "inputs.far: nobody gives this input"),
        (
            {**with_steps(a={"skill": "tell"}), "timeout": 5},
            "timeout: a plan inside a run has no time of its own",
        ),
        (with_steps(a={"skill": "tell", "extra": 1}), "unknown key `extra`"),
    ],
)
def test_a_bad_plan_goes_back_with_the_reasons(answer: Json, why: str) -> None:
    """S15: cycles, unknown skills, missing inputs and too many steps are refused with the place."""
    going = driver()
    going.done("plan", answer)
    failure = going.facts(Failure)[0]
    assert failure.kind == "bad-plan"
    assert why in failure.message
    assert going.granted("plan").attempt == 2
    assert why in going.granted("plan").trouble
    task = going.node("plan").task
    going.done("plan", MADE)
    assert going.phase("work") is Phase.OPEN
    assert task != going.node("work.one").task


def test_every_fault_is_told_at_once() -> None:
    going = driver()
    going.done("plan", with_steps(a={"skill": "x"}, b={"skill": "y", "needs": ["c"]}))
    message = going.facts(Failure)[0].message
    assert message.startswith("the plan `made` cannot be carried out:\n")
    assert len(message.splitlines()) == 4


def test_one_that_never_mends_ends_the_run_with_the_reasons() -> None:
    """S15"""
    going = driver()
    for _ in range(3):
        going.done("plan", with_steps(a={"skill": "x"}))
    state, _, why = going.outcome
    assert state == "failed"
    assert "bad-plan" in why
    assert "no agent offers `x`" in why


@pytest.mark.slow
def test_a_plan_of_ten_thousand_steps_is_refused() -> None:
    going = driver()
    going.done("plan", with_steps(**{f"s{n}": {"skill": "tell"} for n in range(10_001)}))
    assert "10001 steps; at most 50 are allowed here" in going.facts(Failure)[0].message


def test_the_same_report_again_changes_nothing() -> None:
    going = driver()
    task = going.node("plan").task
    going.done("plan", "no plan")
    assert going.report("plan", Done(output=inline("no plan")), task) == ()


def test_a_stored_plan_is_fetched_and_judged() -> None:
    output = stored(MADE)
    with pytest.raises(NeedArtefacts):
        driver().done("plan", output)
    going = driver()
    going.blobs[output.digest] = MADE
    going.done("plan", output)
    assert going.phase("work") is Phase.OPEN


def test_the_steps_of_a_plan_see_nothing_around_it() -> None:
    """An inner step has the name of an outer one, and items of a loop outside are none of its business."""
    inner = with_steps(
        plan={"skill": "tell"},
        work={"skill": "tell", "needs": ["plan"], "with": {"x": "${{ steps.plan.output }}"}},
    )
    going = driver()
    going.done("plan", inner)
    going.done("work.plan", "inner")
    granted = going.granted("work.work")
    assert [hole.prior for hole in granted.holes] == ["work.plan"]
    going.done("work.work", "w")
    assert going.granted("last").inputs == {"said": {"work": "w"}}


def test_large_results_go_through_by_reference() -> None:
    going = driver()
    going.done("plan", MADE)
    going.done("work.one", {"text": "1"})
    output = stored({"text": "2"})
    going.done("work.two", output)
    granted = going.granted("last")
    assert granted.inputs == {"said": {"both": ["1", None]}}
    assert [(hole.at, hole.prior, hole.path) for hole in granted.holes] == [
        (("said", "both", 1), "work.two", ())
    ]


def test_part_of_what_a_plan_gives() -> None:
    steps = {
        **STEPS,
        "last": {"skill": "tell", "needs": ["work"], "with": {"t": "${{ steps.work.output.both[1].text }}"}},
    }
    going = driver(steps)
    going.done("plan", MADE)
    going.done("work.one", {"text": "1"})
    going.done("work.two", {"text": "2"})
    assert going.granted("last").inputs == {"t": "2"}


def test_an_output_that_has_no_value_fails_the_block() -> None:
    going = driver()
    going.done("plan", {**MADE, "output": "${{ steps.two.output.text.far }}"})
    going.done("work.one", {"text": "1"})
    going.done("work.two", {"text": "2"})
    assert going.facts(Closed)[0].why.startswith("output: ")
    assert going.outcome[0] == "failed"


def test_a_failed_step_inside_fails_the_run_and_may_be_tried_again() -> None:
    going = driver()
    going.done("plan", MADE)
    going.fail("work.one", retry=False)
    assert going.outcome[0] == "failed"
    going.tell(Retry())
    assert going.phase("work") is Phase.OPEN
    going.done("work.one", {"text": "1"})
    going.done("work.two", {"text": "2"})
    going.done("last", "all")
    assert going.outcome[0] == "completed"


def test_what_a_plan_completed_is_undone_when_the_run_fails() -> None:
    inner = with_steps(
        a={"skill": "tell", "undo": {"skill": "make", "with": {"text": "${{ output }} ${{ inputs.goal }}"}}}
    )
    inner["inputs"] = {"goal": {}}
    going = driver()
    going.done("plan", inner)
    going.done("work.a", "booked")
    going.fail("last", retry=False)
    assert going.granted("work.a!undo").inputs == {"text": "booked tea"}
    going.done("work.a!undo")
    assert "1 step undone" in going.outcome[2]


def test_one_plan_for_each_item() -> None:
    steps = {
        "plans": {
            "skill": "plan",
            "returns": "plan",
            "for_each": {"items": ["a", "b"]},
            "with": {"goal": "${{ item }}"},
        },
        "work": {
            "plan": "${{ item }}",
            "needs": ["plans"],
            "for_each": {"items": "${{ steps.plans.output }}"},
            "with": {"goal": "g${{ index }}"},
        },
        "last": {"skill": "tell", "needs": ["work"], "with": {"said": "${{ steps.work.output }}"}},
    }
    going = driver(steps, {})
    going.done("plans[0]", "none")
    assert going.facts(Failure)[0].kind == "bad-plan"
    going.wait(60)
    going.done("plans[0]", {**MADE, "output": "${{ inputs.goal }}"})
    going.done("plans[1]", with_steps(x={"skill": "tell"}))
    assert going.granted("work[0].one").inputs == {"text": "g0"}
    assert going.phase("work[1].x") is Phase.GRANTED
    going.done("work[1].x", 7)
    going.done("work[0].one", {"text": "1"})
    going.done("work[0].two", {"text": "2"})
    assert going.granted("last").inputs == {"said": ["g0", {"x": 7}]}


def test_planned_again_until_it_is_good() -> None:
    steps = {
        "again": {
            "repeat": {"until": "steps.work.output.ok", "max": 3},
            "steps": {
                "plan": {
                    "skill": "plan",
                    "returns": "plan",
                    "with": {"before": "${{ previous.work.output }}"},
                },
                "work": {"plan": "${{ steps.plan.output }}", "needs": ["plan"]},
            },
        }
    }
    going = driver(steps, {})
    going.done("again[1].plan", {**with_steps(a={"skill": "tell"}), "output": "${{ steps.a.output }}"})
    going.done("again[1].work.a", {"ok": False})
    assert going.granted("again[2].plan").inputs == {"before": {"ok": False}}
    going.done("again[2].plan", with_steps(ok={"skill": "tell"}))
    going.done("again[2].work.ok", True)
    assert going.outcome == (
        "completed",
        {"again": {"plan": with_steps(ok={"skill": "tell"}), "work": {"ok": True}}},
        "",
    )


def test_a_repeated_block_of_one_plan() -> None:
    plan = {
        "name": "r",
        "steps": {"a": {"skill": "tell", "with": {"x": "${{ inputs.before }}"}}},
        "inputs": {"before": {}},
    }
    plan["output"] = "${{ steps.a.output }}"
    steps = {
        "work": {
            "plan": "${{ inputs.p }}",
            "repeat": {"until": "output > 1", "max": 3},
            "with": {"before": "${{ previous.output }}"},
        }
    }
    going = Driver()
    going.cards = [card("ann", "tell")]
    going.start(steps, {"inputs": {"p": {"type": "plan"}}}, p=plan)
    assert going.granted("work[1].a").inputs == {"x": None}
    going.done("work[1].a", 1)
    assert going.granted("work[2].a").inputs == {"x": 1}
    going.done("work[2].a", 2)
    assert going.outcome == ("completed", {"work": 2}, "")


def test_plans_inside_plans_have_an_end() -> None:
    """A planner that always plans again is told so where it is too deep, and mends it."""
    again = {
        "plan": {"skill": "plan", "returns": "plan", "retry": RETRY},
        "work": {"plan": "${{ steps.plan.output }}", "needs": ["plan"]},
    }
    going = driver()
    path = ""
    for _ in range(3):
        going.done(f"{path}plan", with_steps(**again))
        path += "work."
    going.done(f"{path}plan", with_steps(**again))
    assert "steps.work.plan: plans are nested more than 4 deep" in going.facts(Failure)[0].message
    going.done(f"{path}plan", with_steps(a={"skill": "tell"}))
    going.done(f"{path}work.a", 1)
    going.done("last", 2)
    assert going.outcome[0] == "completed"


def test_an_input_may_be_a_plan() -> None:
    steps = {"work": {"plan": "${{ inputs.p }}"}}
    rest = {"inputs": {"p": {"type": "plan"}}}
    going = Driver().start(steps, rest, p={"name": "x", "steps": {"a": {"skil": "s"}}})
    assert "inputs.p.steps.a.skil: unknown key `skil`" in going.outcome[2]
    going = Driver().start(steps, rest, p=with_steps(a={"skill": "tell"}))
    assert going.at_work == ["work.a"]


def test_what_waits_for_a_skill_of_the_plan_goes_on_when_it_is_there() -> None:
    going = driver()
    offered = {"plan", "tell"}
    going.candidates, there = (lambda skill: there(skill) if skill in offered else []), going.candidates
    going.done("plan", MADE)
    assert going.phase("work.one") is Phase.WAITING
    offered.add("make")
    going.wait(1)
    assert going.facts(Granted)[0].path == "work.one"


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (
            {"a": {"plan": "${{ steps.b.output }}", "needs": ["b"]}, "b": {"skill": "s"}},
            "step `b` gives no plan",
        ),
        ({"a": {"plan": "steps.b.output"}}, "must be one reference"),
        (
            {"a": {"plan": "${{ steps.b.output }}"}, "b": {"skill": "s", "returns": "plan"}},
            "`a` does not need `b`",
        ),
        ({"a": {"plan": "${{ inputs.n }}"}}, "the input `n` is no plan"),
        (
            {"a": {"plan": "${{ steps.b.status }}", "needs": ["b"]}, "b": {"skill": "s", "returns": "plan"}},
            "gives no plan",
        ),
        ({"a": {"skill": "s", "if": "size(offers) > 1"}}, "`offers` is known only in the `with` of a task"),
    ],
)
def test_what_can_be_seen_at_the_door_is_refused_there(steps: dict[str, Any], why: str) -> None:
    plan = Plan.model_validate(
        {"name": "x", "inputs": {"n": {"type": "string", "default": ""}}, "steps": steps}
    )
    assert why in " ".join(map(str, check(plan)))


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"skill": "s", "plan": "${{ inputs.p }}"}, "either `skill` or `steps`, or `plan`"),
        ({"plan": "${{ inputs.p }}", "timeout": 1}, "`timeout` and `retry` belong to a step with a `skill`"),
        ({"plan": "${{ inputs.p }}", "returns": "plan"}, "`returns` belongs to a step with a `skill`"),
        ({"skill": "s", "max_steps": 3}, "`max_steps` belongs to a step with `returns: plan`"),
        ({"plan": "${{ inputs.p }}", "key": "k"}, "`key`, `context` and `undo` belong"),
    ],
)
def test_keys_that_do_not_go_together(step: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make_plan({"a": step})


def test_a_planner_may_be_asked_again_after_the_run_failed() -> None:
    """It is told why the plan before was refused, and has all its attempts anew."""
    going = driver()
    for _ in range(3):
        going.done("plan", "no plan")
    assert going.outcome[0] == "failed"
    going.tell(Retry())
    assert "the result is text" in going.granted("plan").trouble
    going.done("plan", MADE)
    assert going.phase("work") is Phase.OPEN


def test_a_pause_holds_back_the_steps_of_a_plan() -> None:
    going = driver()
    going.tell(Pause())
    going.done("plan", MADE)
    assert going.phase("work") is Phase.PENDING
    going.tell(Resume())
    assert going.at_work == ["work.one"]


def test_a_goal_is_text_whatever_it_says() -> None:
    plan = plan_for_goal("print ${{ inputs.n }}", {"n": 1})
    assert check(plan) == []
    going = Driver()
    going.cards = [card("ann", "plan")]
    going.submit(plan, n=1)
    assert going.granted("plan").inputs["goal"] == "print ${{ inputs.n }}"
    assert going.granted("plan").inputs["inputs"] == {"n": 1}
