"""How steps, blocks, loops and fans go: starts, joins, retries, failures, ends."""

from __future__ import annotations

from typing import Any

import pytest
from driving import Driver, inline

from consort_orchestrator.core import Candidate, Phase, Said
from consort_shared.entries import (
    Closed,
    Failure,
    Finished,
    Granted,
    Held,
    Noted,
    Refused,
    Shared,
    Skipped,
    Waiting,
)
from consort_shared.messages import Done, Failed, Progress, Report, Wake

ONE: dict[str, Any] = {"a": {"skill": "s.a"}}


def two(join: Any, **rest: Any) -> dict[str, Any]:
    failing = {"skill": "s.a", "retry": {"attempts": 1}}
    return {"a": failing, "b": failing, "z": {"skill": "s.z", "needs": ["a", "b"], "join": join, **rest}}


# --- needs and joins


def test_a_step_starts_when_its_needs_are_done() -> None:
    driver = Driver().start(two("all"))
    assert driver.at_work == ["a", "b"]
    driver.done("a")
    assert driver.at_work == ["b"]
    driver.done("b")
    assert driver.at_work == ["z"]
    driver.done("z", {"x": 1})
    assert driver.outcome == ("completed", {"z": {"x": 1}}, "")


def test_any_starts_with_the_first_and_later_failure_is_absorbed() -> None:
    driver = Driver().start(two("any"))
    driver.done("a")
    assert driver.at_work == ["b", "z"]
    driver.fail("b")
    driver.done("z")
    assert driver.outcome[0] == "completed"


def test_ended_starts_after_failures_and_sees_null() -> None:
    driver = Driver().start(two("ended", **{"with": {"a": "${{ steps.a.output }}"}}))
    driver.fail("a")
    driver.done("b")
    assert driver.granted("z").inputs == {"a": None}
    assert [prior.path for prior in driver.granted("z").handoff.priors] == ["b"]
    driver.done("z")
    assert driver.outcome[0] == "completed"


def test_at_least_is_skipped_once_it_cannot_be() -> None:
    driver = Driver().start(two({"at_least": 2}))
    driver.fail("a")
    (skipped,) = driver.facts(Skipped)
    assert skipped.why == "needs all of 2: `a` failed"
    driver.done("b")
    state, _, why = driver.outcome
    assert state == "failed"
    assert why == "step `a` failed: skill-error: no luck"


def test_a_failure_lets_the_rest_end_first_then_fails_the_run() -> None:
    driver = Driver().start(two("all"))
    driver.fail("a")
    assert driver.phase("z") is Phase.SKIPPED
    assert driver.run.finished is None
    driver.done("b")
    assert driver.outcome[0] == "failed"


def test_skips_propagate_and_a_run_of_skips_completes() -> None:
    driver = Driver().start(
        {
            "a": {"skill": "s.a", "if": "1 > 2"},
            "b": {"skill": "s.b", "needs": ["a"]},
            "c": {"skill": "s.c", "needs": ["b"]},
        }
    )
    assert [fact.path for fact in driver.facts(Skipped)] == ["a", "b", "c"]
    assert driver.outcome == ("completed", {"c": None}, "")


def test_a_condition_that_cannot_be_evaluated_fails_the_step() -> None:
    driver = Driver().start({"a": {"skill": "s.a", "if": "1 / 0 == 1"}})
    assert driver.outcome[0] == "failed"
    assert driver.outcome[2].startswith("step `a` failed: if: expression")


def test_a_failed_block_fails_what_is_around_it() -> None:
    failing = {"skill": "s.a", "retry": {"attempts": 1}}
    driver = Driver().start({"b": {"steps": {"x": failing}}, "c": {"skill": "s.c", "needs": ["b"]}})
    driver.fail("b.x")
    assert driver.outcome[2] == "step `b` failed: step `b.x` failed: skill-error: no luck"


# --- attempts


def test_retries_wait_longer_each_time_and_end() -> None:
    retry = {"attempts": 4, "wait": 2, "factor": 3, "longest": 10}
    driver = Driver().start({"a": {"skill": "s.a", "retry": retry}})
    for wait in (2.0, 6.0, 10.0):
        driver.fail("a")
        (failure,) = driver.facts(Failure)
        assert failure.retry_at == driver.now + wait
        assert driver.run.next_due == driver.now + wait
        assert driver.wait(wait - 0.1) == ()
        driver.wait(0.1)
        assert driver.granted("a").trouble == "skill-error: no luck"
    assert driver.granted("a").attempt == 4
    driver.fail("a")
    assert driver.outcome[0] == "failed"


def test_no_wait_means_at_once() -> None:
    driver = Driver().start({"a": {"skill": "s.a", "retry": {"wait": 0}}})
    driver.fail("a")
    assert driver.granted("a").attempt == 2


def test_a_failure_for_good_is_not_tried_again() -> None:
    driver = Driver().start(ONE)
    driver.fail("a", retry=False)
    assert driver.outcome[0] == "failed"


def test_time_is_up_at_the_deadline() -> None:
    driver = Driver().start({"a": {"skill": "s.a", "timeout": 30, "retry": {"wait": 1}}})
    first = driver.node("a").task
    assert driver.wait(29.9) == ()
    driver.wait(0.1)
    (failure,) = driver.facts(Failure)
    assert failure.kind == "timeout"
    assert driver.stopped == [("ann", first)]
    driver.wait(1)
    assert driver.at_work == ["a"]


def test_a_report_that_comes_with_the_deadline_counts() -> None:
    driver = Driver().start({"a": {"skill": "s.a", "timeout": 30}})
    driver.now += 30
    driver.done("a")
    assert driver.outcome[0] == "completed"


def test_a_declined_step_goes_to_another_and_uses_up_no_attempt() -> None:
    driver = Driver(["ann", "bob"]).start({"a": {"skill": "s.a", "retry": {"attempts": 1}}})
    assert driver.granted("a").agent == "ann"
    driver.decline("a")
    assert driver.granted("a").agent == "bob"
    assert driver.node("a").counted == 0
    driver.done("a")
    assert driver.outcome[0] == "completed"


def test_whoever_declined_is_asked_again_when_nobody_else_is_there() -> None:
    driver = Driver().start({"a": {"skill": "s.a", "retry": {"attempts": 2, "wait": 3}}})
    driver.decline("a")
    assert driver.phase("a") is Phase.BACKOFF
    driver.wait(3)
    for _ in range(2):
        assert driver.at_work == ["a"]
        driver.decline("a")
        driver.wait(3)
    assert driver.outcome == ("failed", None, "step `a` failed: declined: busy")


def test_an_agent_that_failed_is_avoided_while_there_is_another() -> None:
    driver = Driver(["ann"]).start({"a": {"skill": "s.a", "retry": {"attempts": 9, "wait": 0}}})
    driver.fail("a")
    driver.fail("a")
    driver.agents = ["ann", "bob"]
    driver.fail("a")
    assert driver.granted("a").agent == "bob"
    assert "1 left out" in driver.granted("a").why
    driver.agents = ["ann"]
    driver.fail("a")
    assert driver.granted("a").agent == "ann"


def test_tasks_of_one_decision_are_spread() -> None:
    driver = Driver(["ann", "bob"]).start({f"s{i}": {"skill": "s.a"} for i in range(6)})
    assert sorted(fact.agent for fact in driver.facts(Granted)) == ["ann"] * 3 + ["bob"] * 3


def test_room_counts_not_tasks() -> None:
    driver = Driver()
    driver.candidates = lambda skill: [Candidate("ann", 1), Candidate("bob", 5, load=1)]
    driver.start({f"s{i}": {"skill": "s.a"} for i in range(5)})
    assert sorted(fact.agent for fact in driver.facts(Granted)) == ["ann"] + ["bob"] * 4


def test_waits_for_an_agent_and_starts_when_one_comes() -> None:
    driver = Driver([]).start(ONE)
    (waiting,) = driver.facts(Waiting)
    assert (waiting.path, waiting.skill) == ("a", "s.a")
    assert driver.wait(1) == ()
    driver.agents = ["ann"]
    driver.tell(Wake(), "timer")
    assert driver.at_work == ["a"]
    assert driver.run.waiting == {}


def test_any_message_finds_the_agent_that_has_come() -> None:
    driver = Driver()
    driver.candidates = lambda skill: [Candidate("ann", 4)] if skill == "s.a" else []
    driver.start({"a": {"skill": "s.a"}, "b": {"skill": "s.b"}})
    driver.candidates = lambda skill: [Candidate("ann", 4)]
    driver.done("a")
    assert driver.at_work == ["b"]


# --- late and double


def test_a_report_said_again_is_no_news() -> None:
    driver = Driver().start({**ONE, "b": {"skill": "s.b", "needs": ["a"]}})
    report = Report(task=driver.node("a").task, instance="i", outcome=Done(output=inline(1)))
    assert driver.tell(report, "agent.ann")
    assert driver.tell(report, "agent.ann") == ()
    assert driver.last.refused == []


@pytest.mark.parametrize("kind", ["failed", "declined"])
def test_a_failure_said_again_is_no_news(kind: str) -> None:
    driver = Driver().start(ONE)
    task = driver.node("a").task
    say = driver.fail if kind == "failed" else driver.decline
    assert say("a")
    again = driver.run.nodes["a"]
    assert again.phase is Phase.BACKOFF
    assert say("a") == ()
    driver.wait(60)
    report = Report(task=task, instance="i", outcome=Failed(kind="skill-error", message="no luck"))
    if kind == "failed":
        assert driver.tell(report, "agent.ann") == ()
    assert driver.at_work == ["a"]


def test_two_reports_of_one_attempt_the_first_counts() -> None:
    driver = Driver().start({**ONE, "b": {"skill": "s.b", "needs": ["a"]}})
    task = driver.node("a").task
    one, other = (Report(task=task, instance="i", outcome=Done(output=inline(n))) for n in (1, 2))
    driver.say(Said("agent.ann", one), Said("agent.ann", other))
    assert driver.node("a").output == inline(1)
    (refused,) = driver.facts(Refused)
    assert refused.why == "the step is done already"
    assert driver.tell(other, "agent.ann") == ()


def test_a_late_report_is_refused_once() -> None:
    driver = Driver().start({"a": {"skill": "s.a", "timeout": 5, "retry": {"wait": 0}}})
    late = Report(task=driver.node("a").task, instance="i", outcome=Done(output=inline(1)))
    driver.wait(5)
    assert driver.at_work == ["a"]
    (refused,) = driver.tell(late, "agent.ann")
    assert isinstance(refused, Refused)
    assert refused.why == "the attempt is over"
    assert driver.tell(late, "agent.ann") == ()
    assert driver.phase("a") is Phase.GRANTED


def test_a_report_on_no_task_is_set_aside() -> None:
    driver = Driver().start(ONE)
    assert driver.tell(Report(task="7-7", instance="i", outcome=Done(output=inline(1))), "agent.ann") == ()
    ((_, why),) = driver.last.refused
    assert why == "there is no task 7-7"


def test_milestones_are_kept_once() -> None:
    driver = Driver().start(ONE)
    half = Progress(task=driver.node("a").task, instance="i", text="half", done=1, total=2)
    assert [type(fact) for fact in driver.tell(half, "agent.ann")] == [Noted]
    assert driver.tell(half, "agent.ann") == ()
    driver.done("a")
    assert driver.tell(half, "agent.ann") == ()


# --- for_each


def each(items: Any, **rule: Any) -> dict[str, Any]:
    return {"e": {"skill": "s.e", "for_each": {"items": items, **rule}, "retry": {"attempts": 1}}}


def test_items_keep_their_bound_and_their_order() -> None:
    driver = Driver().start(each([10, 20, 30, 40], in_flight=2))
    assert driver.at_work == ["e[0]", "e[1]"]
    driver.done("e[1]", "b")
    assert driver.at_work == ["e[0]", "e[2]"]
    for path, value in (("e[2]", "c"), ("e[0]", "a"), ("e[3]", "d")):
        driver.done(path, value)
    assert driver.outcome == ("completed", {"e": ["a", "b", "c", "d"]}, "")


def test_no_items_is_done_at_once() -> None:
    assert Driver().start(each([])).outcome == ("completed", {"e": []}, "")


def test_what_is_no_list_fails() -> None:
    driver = Driver().start(each("${{ inputs.x }}"), {"inputs": {"x": {}}}, x={"a": 1})
    assert driver.outcome[2] == "step `e` failed: for_each.items is a mapping, not a list"


def test_lost_items_are_null_up_to_the_bound() -> None:
    driver = Driver().start(each([1, 2, 3], tolerate=1))
    driver.fail("e[1]")
    driver.done("e[0]", "a")
    driver.done("e[2]", "c")
    assert driver.outcome == ("completed", {"e": ["a", None, "c"]}, "")


def test_a_lost_block_item_is_null_too() -> None:
    body = {"x": {"skill": "s.x"}, "y": {"skill": "s.y", "needs": ["x"], "retry": {"attempts": 1}}}
    driver = Driver().start({"e": {"for_each": {"items": [1, 2], "tolerate": 1}, "steps": body}})
    for path in ("e[0].x", "e[1].x"):
        driver.done(path, 1)
    driver.fail("e[0].y")
    driver.done("e[1].y", 2)
    assert driver.outcome == ("completed", {"e": [None, {"x": 1, "y": 2}]}, "")


def test_more_lost_items_end_it_without_starting_others() -> None:
    driver = Driver().start(each([1, 2, 3, 4], tolerate=1, in_flight=2))
    driver.fail("e[0]")
    driver.fail("e[1]")
    assert driver.at_work == ["e[2]"]
    driver.done("e[2]")
    assert driver.outcome[2] == (
        "step `e` failed: 2 of 4 items failed, 1 tolerated; [0]: skill-error: no luck"
    )
    assert "e[3]" not in driver.run.nodes


# --- repeat


def loop(until: str, **rule: Any) -> dict[str, Any]:
    return {"r": {"skill": "s.r", "repeat": {"until": until, "max": 2, **rule}}}


def test_repeats_until_it_holds() -> None:
    driver = Driver().start(loop("output == 'good'", max=5))
    driver.done("r[1]", "bad")
    driver.done("r[2]", "good")
    assert driver.outcome == ("completed", {"r": "good"}, "")


def test_repeats_no_more_than_its_bound() -> None:
    driver = Driver().start(loop("output == 'good'"))
    driver.done("r[1]", "bad")
    driver.done("r[2]", "bad")
    (closed,) = driver.facts(Closed)
    assert not closed.done
    assert "after 2 iterations" in driver.outcome[2]


def test_an_exhausted_loop_may_keep_the_last_result() -> None:
    driver = Driver().start(loop("output == 'good'", exhausted="accept"))
    driver.done("r[1]", "bad")
    driver.done("r[2]", "better")
    assert driver.outcome == ("completed", {"r": "better"}, "")


def test_an_until_that_cannot_be_evaluated_fails() -> None:
    driver = Driver().start(loop("output.missing == 1"))
    driver.done("r[1]", {})
    assert driver.outcome[2].startswith("step `r` failed: repeat.until: expression")


def test_a_failed_iteration_fails_the_loop() -> None:
    driver = Driver().start(loop("output == 1"))
    driver.fail("r[1]", retry=False)
    assert driver.outcome[2] == "step `r` failed: iteration 1: skill-error: no luck"


# --- keys


def test_a_key_is_done_once_and_its_result_shared() -> None:
    keyed = {"skill": "s.k", "key": "'same'"}
    driver = Driver().start({"a": keyed, "b": keyed, "c": {**keyed, "needs": ["a"]}})
    assert driver.at_work == ["a"]
    (held,) = driver.facts(Held)
    assert (held.path, held.source, held.key) == ("b", "a", "same")
    driver.done("a", 7)
    assert [(fact.path, fact.source) for fact in driver.facts(Shared)] == [("b", "a"), ("c", "a")]
    assert driver.run.held == {}
    assert driver.outcome == ("completed", {"b": 7, "c": 7}, "")


def test_a_shared_failure_fails() -> None:
    keyed = {"skill": "s.k", "key": "'same'", "retry": {"attempts": 1}}
    driver = Driver().start({"a": keyed, "b": keyed})
    driver.fail("a")
    assert driver.phase("b") is Phase.FAILED
    assert driver.node("b").why == "shares the result of a, which failed: skill-error: no luck"


def test_keys_may_come_from_items() -> None:
    steps = each(["x", "y", "x"])
    steps["e"] |= {"key": "item"}
    driver = Driver().start(steps)
    assert driver.at_work == ["e[0]", "e[1]"]
    driver.done("e[0]", 1)
    driver.done("e[1]", 2)
    assert driver.outcome == ("completed", {"e": [1, 2, 1]}, "")


def test_keys_that_are_no_text_are_told_apart_by_value() -> None:
    steps = each([{"b": 1, "a": 2}, {"a": 2, "b": 1}, True])
    steps["e"] |= {"key": "item"}
    driver = Driver().start(steps)
    assert list(driver.run.keys) == ['{"a":2,"b":1}', "true"]


def test_the_run_ends_with_one_fact() -> None:
    driver = Driver().start(ONE)
    driver.done("a")
    assert len(driver.facts(Finished)) == 1
