"""What expressions in a plan mean in a run: every form of reference, alone and inside others."""

from __future__ import annotations

from typing import Any

import pytest
from driving import Driver, inline, stored

from consort_orchestrator.core import NeedArtefacts, Phase, Run, Said, World, decide
from consort_shared.messages import Done, Output, Report, Submit
from consort_shared.values import STORED, Json

STORED_LIST = [f"v{number}" for number in range(30)]


def filled(driver: Driver, path: str) -> Json:
    """A task's inputs, with results put in their holes."""
    granted = driver.granted(path)
    value: Json = dict(granted.inputs)
    for hole in granted.holes:
        output = driver.node(hole.prior).output
        assert output is not None
        assert output.ref is None
        at: Json = value
        for part in hole.at[:-1]:
            at = at[part]
        found = output.value
        for part in hole.path:
            found = found[part]
        at[hole.at[-1]] = found
    return value


def z(given: dict[str, Any], *needs: str, **rest: Any) -> dict[str, Any]:
    return {"skill": "s.z", "needs": list(needs), "with": given, **rest}


def test_inputs_and_constants() -> None:
    given = {
        "whole": "${{ inputs.x }}",
        "part": "${{ inputs.x.a[1] }}",
        "text": "a${{ inputs.x.a[0] }}b",
        "n": 3,
    }
    given |= {"sum": "${{ inputs.x.a[0] + 1 }}", "list": [{"deep": "${{ inputs.x }}"}, None]}
    driver = Driver().start({"z": z(given)}, {"inputs": {"x": {}}}, x={"a": [1, 2]})
    assert driver.granted("z").inputs == {
        "whole": {"a": [1, 2]},
        "part": 2,
        "text": "a1b",
        "n": 3,
        "sum": 2,
        "list": [{"deep": {"a": [1, 2]}}, None],
    }
    assert driver.granted("z").holes == ()


def test_a_result_alone_is_a_hole_and_inside_an_expression_a_value() -> None:
    given = {"whole": "${{ steps.a.output }}", "in": {"part": ["${{ steps.a.output.x }}"]}}
    given |= {"text": "x is ${{ steps.a.output.x }}"}
    driver = Driver().start({"a": {"skill": "s.a"}, "z": z(given, "a")})
    driver.done("a", {"x": [1]})
    assert driver.granted("z").inputs == {"whole": None, "in": {"part": [None]}, "text": "x is [1]"}
    assert filled(driver, "z") == {"whole": {"x": [1]}, "in": {"part": [[1]]}, "text": "x is [1]"}


def test_a_part_that_is_not_there_fails_the_step_by_name() -> None:
    driver = Driver().start({"a": {"skill": "s.a"}, "z": z({"p": "${{ steps.a.output.nope }}"}, "a")})
    driver.done("a", {"x": 1})
    assert driver.outcome[2] == "step `z` failed: nothing at .nope; there are: x"


def test_a_skipped_step_is_null_even_in_parts() -> None:
    given = {"whole": "${{ steps.a.output }}", "part": "${{ steps.a.output.x.y }}"}
    driver = Driver().start({"a": {"skill": "s.a", "if": "1 > 2"}, "z": z(given, "a", join="ended")})
    assert driver.granted("z").inputs == {"whole": None, "part": None}


def test_a_step_under_way_is_null() -> None:
    """With `join: any`: a block's result is there when the block is done, never in part."""
    body = {"x": {"skill": "s.x"}, "y": {"skill": "s.y", "needs": ["x"]}}
    steps = {"a": {"skill": "s.a"}, "b": {"steps": body}}
    driver = Driver().start({**steps, "z": z({"b": "${{ steps.b.output }}"}, "a", "b", join="any")})
    driver.done("b.x", 1)
    driver.done("a")
    assert driver.granted("z").inputs == {"b": None}


def test_blocks_fans_and_loops_have_results() -> None:
    steps = {
        "b": {"steps": {"x": {"skill": "s.x"}, "y": {"skill": "s.y", "if": "1 > 2"}}},
        "e": {"skill": "s.e", "for_each": {"items": [1, 2]}},
        "l": {"repeat": {"until": "iteration == 2", "max": 2}, "steps": {"w": {"skill": "s.w"}}},
        "r": {"skill": "s.r", "repeat": {"until": "true", "max": 2}},
    }
    given = {
        "b": "${{ steps.b.output }}",
        "bx": "${{ steps.b.output.x.v }}",
        "e": "${{ steps.e.output }}",
        "e1": "${{ steps.e.output[1].v }}",
        "l": "${{ steps.l.output }}",
        "lw": "${{ steps.l.output.w }}",
        "r": "${{ steps.r.output.v }}",
        "sum": "${{ steps.e.output.map(one, one.v) }}",
    }
    driver = Driver().start({**steps, "z": z(given, *steps)})
    for number, path in enumerate(("b.x", "e[0]", "e[1]", "l[1].w", "l[2].w", "r[1]")):
        driver.done(path, {"v": number})
    assert filled(driver, "z") == {
        "b": {"x": {"v": 0}, "y": None},
        "bx": 0,
        "e": [{"v": 1}, {"v": 2}],
        "e1": 2,
        "l": {"w": {"v": 4}},
        "lw": {"v": 4},
        "r": 5,
        "sum": [1, 2],
    }


def test_an_item_that_is_not_there_fails_by_name() -> None:
    steps = {"e": {"skill": "s.e", "for_each": {"items": [1]}}}
    driver = Driver().start({**steps, "z": z({"p": "${{ steps.e.output[3] }}"}, "e")})
    driver.done("e[0]")
    assert driver.outcome[2] == "step `z` failed: `e` has 1 items, none at [3]"


def test_item_and_index_of_the_nearest_for_each() -> None:
    inner = {
        "skill": "s.i",
        "for_each": {"items": "${{ item }}"},
        "with": {"x": "${{ item }}", "i": "${{ index }}"},
    }
    outer = {"skill": "s.o", "with": {"x": "${{ item[0] }}", "text": "${{ index }}: ${{ item }}"}}
    driver = Driver().start({"e": {"for_each": {"items": [[1], [2, 3]]}, "steps": {"i": inner, "o": outer}}})
    assert driver.granted("e[1].i[1]").inputs == {"x": 3, "i": 1}
    assert driver.granted("e[1].o").inputs == {"x": 2, "text": "1: [2,3]"}


def test_iteration_and_previous_of_a_block() -> None:
    given = {
        "n": "${{ iteration }}",
        "alone": "${{ previous.c.output.bad }}",
        "whole": "${{ previous }}",
        "inside": "${{ previous == null ? 0 : size(previous.c.output.bad) }}",
    }
    body = {"w": {"skill": "s.w", "with": given}, "c": {"skill": "s.c", "needs": ["w"]}}
    until = "size(steps.c.output.bad) == 0"
    driver = Driver().start({"l": {"repeat": {"until": until, "max": 3}, "steps": body}})
    assert driver.granted("l[1].w").inputs == {"n": 1, "alone": None, "whole": None, "inside": 0}
    driver.done("l[1].w", "t")
    driver.done("l[1].c", {"bad": [7, 8]})
    whole = {"w": {"output": "t"}, "c": {"output": {"bad": [7, 8]}}}
    assert filled(driver, "l[2].w") == {"n": 2, "alone": [7, 8], "whole": whole, "inside": 2}
    driver.done("l[2].w", "t")
    driver.done("l[2].c", {"bad": []})
    assert driver.outcome[0] == "completed"


def test_previous_of_a_task() -> None:
    given = {"before": "${{ previous.output.v }}", "whole": "${{ previous }}"}
    step = {"skill": "s.r", "repeat": {"until": "output.v == 2", "max": 3}, "with": given}
    driver = Driver().start({"r": step})
    assert driver.granted("r[1]").inputs == {"before": None, "whole": None}
    driver.done("r[1]", {"v": 1})
    assert filled(driver, "r[2]") == {"before": 1, "whole": {"output": {"v": 1}}}


# --- results stored out of line


def after_stored(step: dict[str, Any], **plan: Any) -> tuple[Driver, Report]:
    """A run in which the first result comes back stored: what was said last, to be judged with care."""
    driver = Driver().start({"a": {"skill": "s.a"}, "z": {"skill": "s.z", "needs": ["a"], **step}}, plan)
    output = stored({"n": 5})
    return driver, Report(task=driver.node("a").task, instance="i", outcome=Done(output=output))


def test_a_stored_result_is_passed_on_unread() -> None:
    driver, report = after_stored({"with": {"p": "${{ steps.a.output.n }}"}})
    driver.tell(report, "agent.ann")
    assert driver.at_work == ["z"]


@pytest.mark.parametrize(
    "step",
    [
        {"if": "steps.a.output.n > 3"},
        {"with": {"p": "n is ${{ steps.a.output.n }}"}},
        {"for_each": {"items": "${{ [steps.a.output.n] }}"}},
        {"key": "steps.a.output.n"},
    ],
    ids=["if", "with", "for_each", "key"],
)
def test_a_stored_result_is_asked_for_when_a_decision_depends_on_it(step: dict[str, Any]) -> None:
    driver, report = after_stored(step)
    run, world = driver.run, World(driver.now, "abc", driver.candidates)
    with pytest.raises(NeedArtefacts) as need:
        decide(run, [Said("agent.ann", report)], world)
    (ref,) = need.value.refs
    again, _ = after_stored(step)
    again.blobs = {ref.artefact: {"n": 5}}
    again.tell(report, "agent.ann")
    assert again.at_work in (["z"], ["z[0]"])


def test_all_that_is_missing_is_asked_for_at_once() -> None:
    steps = {
        "e": {"skill": "s.e", "for_each": {"items": STORED_LIST, "in_flight": 100}},
        "f": {"skill": "s.f"},
        "z": z({"n": "${{ size(steps.e.output) + steps.f.output }}"}, "e", "f"),
    }
    driver = Driver().start(steps)
    driver.done("f", stored(1))
    for number, value in enumerate(STORED_LIST[:-1]):
        driver.done(f"e[{number}]", stored(value))
    last = len(STORED_LIST) - 1
    with pytest.raises(NeedArtefacts) as need:
        driver.done(f"e[{last}]", stored(STORED_LIST[last]))
    assert len(need.value.refs) == len(STORED_LIST) + 1


def test_the_runs_result_names_what_is_stored_and_holds_its_parts() -> None:
    output = {
        "whole": "${{ steps.a.output }}",
        "part": "${{ steps.b.output.n }}",
        "list": ["${{ steps.c.output }}"],
    }
    steps = {name: {"skill": "s.a"} for name in "abc"}
    driver = Driver().start(steps, {"output": output})
    ref = stored({"n": 1}).ref
    assert ref is not None
    driver.blobs = {ref.artefact: {"n": 1}}
    driver.done("a", stored({"n": 1}))
    driver.done("b", stored({"n": 1}))
    driver.done("c", 3)
    kept = {STORED: ref.model_dump(mode="json")}
    assert driver.outcome == ("completed", {"whole": kept, "part": 1, "list": [3]}, "")


def test_parts_of_many_stored_results_are_asked_for_at_once() -> None:
    names = [f"s{number}" for number in range(25)]
    output = [f"${{{{ steps.{name}.output.n }}}}" for name in names]
    driver = Driver().start({name: {"skill": "s.a"} for name in names}, {"output": output})
    for number, name in enumerate(names[:-1]):
        driver.done(name, stored({"n": number}))
    with pytest.raises(NeedArtefacts) as need:
        driver.done(names[-1], stored({"n": 24}))
    assert len(need.value.refs) == 25


def test_an_output_that_cannot_be_evaluated_fails_the_run() -> None:
    driver = Driver().start({"a": {"skill": "s.a"}}, {"output": "${{ steps.a.output.nope }}"})
    driver.done("a", {"x": 1})
    assert driver.outcome == ("failed", None, "output: nothing at .nope; there are: x")


def test_without_an_output_the_last_steps_results() -> None:
    driver = Driver().start(
        {"a": {"skill": "s.a"}, "b": {"skill": "s.b", "needs": ["a"]}, "c": {"skill": "s.c"}}
    )
    for name in "acb":
        driver.done(name, name)
    assert driver.outcome == ("completed", {"b": "b", "c": "c"}, "")


def test_results_are_not_changed_by_those_who_use_them() -> None:
    given = {"p": "${{ steps.b.output }}", "t": "${{ size(steps.b.output.x) }}"}
    driver = Driver().start({"b": {"steps": {"x": {"skill": "s.x"}}}, "z": z(given, "b")})
    driver.done("b.x", [1, 2])
    assert driver.node("b.x").output == inline([1, 2])
    assert filled(driver, "z") == {"p": {"x": [1, 2]}, "t": 2}


def test_a_run_made_of_one_message_needs_no_stored_value() -> None:
    run = Run("0" * 32)
    plan = Driver().start({"a": {"skill": "s.a"}}).run.plan
    assert plan is not None
    decision = decide(run, [Said("client.me", Submit(plan=plan))], World(1.0, "n", lambda skill: []))
    assert run.nodes["a"].phase is Phase.WAITING
    assert decision.facts
    assert isinstance(inline(1), Output)
