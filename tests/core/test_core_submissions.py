"""What becomes of a submission, of what is none, and of strangers' messages on the log."""

from __future__ import annotations

from typing import Any

from driving import CLIENT, Driver, make_plan

from consort_orchestrator.core import Foreign, Forged, Phase, Said, Unreadable
from consort_shared.entries import Ending, Granted, Refused, Submitted
from consort_shared.messages import Cancel, Submit, Wake
from consort_shared.plan.model import Plan

PLAN = make_plan({"a": {"skill": "s.a"}}, inputs={"x": {"type": "integer"}, "y": {"default": 1}})


def nested(depth: int) -> Plan:
    step: dict[str, Any] = {"skill": "s.a"}
    for level in range(depth):
        step = {"steps": {f"s{level}": step}}
    return Plan.model_validate({"name": "deep", "steps": {"top": step}})


def test_inputs_get_their_defaults() -> None:
    driver = Driver()
    driver.submit(PLAN, x=3)
    assert driver.run.inputs == {"x": 3, "y": 1}
    assert driver.run.client == CLIENT


def test_a_bad_plan_is_refused_with_every_reason() -> None:
    driver = Driver()
    bad = Plan.model_validate({"name": "bad", "steps": {"a": {"skill": "s.a", "needs": ["b", "c"]}}})
    driver.submit(bad)
    state, _, why = driver.outcome
    assert state == "failed"
    assert "there is no step `b`" in why
    assert "there is no step `c`" in why


def test_a_cycle_is_refused() -> None:
    driver = Driver()
    steps = {"a": {"skill": "s.a", "needs": ["b"]}, "b": {"skill": "s.b", "needs": ["a"]}}
    driver.submit(Plan.model_validate({"name": "bad", "steps": steps}))
    assert "cycle: a -> b -> a" in driver.outcome[2]


def test_a_plan_nested_too_deep_is_refused() -> None:
    driver = Driver()
    driver.submit(nested(60))
    assert "nested 61 deep" in driver.outcome[2]


def test_wrong_inputs_are_refused_with_the_reason() -> None:
    driver = Driver()
    driver.submit(PLAN, x="three", z=1)
    state, _, why = driver.outcome
    assert state == "failed"
    assert "inputs.x: is text" in why
    assert "the plan has no input `z`" in why
    assert driver.phase("a") is Phase.CANCELLED


def test_the_same_submission_again_changes_nothing() -> None:
    driver = Driver()
    driver.submit(PLAN, x=3)
    assert driver.submit(PLAN, x=3) == ()
    assert driver.submit(PLAN, x=3, y=1) == ()
    assert driver.last.refused == []


def test_another_submission_of_a_run_that_exists_is_refused() -> None:
    driver = Driver()
    driver.submit(PLAN, x=3)
    other = make_plan({"b": {"skill": "s.b"}})
    for said in (
        Said("client.you", Submit(plan=PLAN, inputs={"x": 3})),
        Said(CLIENT, Submit(plan=PLAN, inputs={"x": 4})),
        Said(CLIENT, Submit(plan=PLAN, inputs={"x": "no"})),
        Said(CLIENT, Submit(plan=PLAN, inputs={"x": 3}, goal="another")),
        Said(CLIENT, Submit(plan=other)),
    ):
        assert driver.say(said) == ()
        ((refused, why),) = driver.last.refused
        assert refused is said
        assert why.startswith("the run exists already")


def test_a_refused_submission_said_again_is_no_news() -> None:
    driver = Driver()
    driver.submit(PLAN, x="three")
    assert driver.submit(PLAN, x="three") == ()
    assert driver.last.refused == []


def test_what_is_no_plan_ends_the_run_it_names() -> None:
    driver = Driver()
    driver.tell(Unreadable("no plan"))
    assert driver.outcome == ("failed", None, "no plan")
    assert len(driver.last.refused) == 1
    assert driver.tell(Unreadable("no plan")) == ()
    assert driver.tell(Cancel()) == ()


def test_what_is_no_plan_does_not_end_a_run_that_exists() -> None:
    driver = Driver()
    driver.submit(PLAN, x=3)
    assert driver.tell(Unreadable("no plan"), "client.you") == ()
    assert driver.at_work == ["a"]


def test_before_a_submission_there_is_nothing() -> None:
    driver = Driver()
    assert driver.tell(Cancel()) == ()
    assert driver.last.refused[0][1] == "there is no such run"
    assert driver.tell(Wake(), "timer") == ()


def test_a_strangers_message_is_recorded_once() -> None:
    driver = Driver()
    driver.submit(PLAN, x=3)
    foreign = Foreign(77, "no orchestrator wrote it")
    (refused,) = driver.tell(foreign, "log")
    assert isinstance(refused, Refused)
    assert (refused.what, refused.stream, refused.seq) == ("log", "LOG", 77)
    assert driver.tell(foreign, "log") == ()


def test_a_strangers_message_makes_no_run_and_keeps_none_from_beginning() -> None:
    driver = Driver()
    assert driver.tell(Foreign(77, "no orchestrator wrote it"), "log") == ()
    assert driver.tell(Forged(5, "no code"), "agent.ann") == ()
    driver.submit(PLAN, x=3)
    assert driver.at_work == ["a"]


def test_a_strangers_message_in_the_last_decision_hides_no_stop() -> None:
    driver = Driver()
    driver.submit(PLAN, x=3)
    task = driver.node("a").task
    facts = driver.say(Said(CLIENT, Cancel()), Said("log", Foreign(78, "foreign")))
    assert [type(fact) for fact in facts] == [Ending, Refused]
    assert driver.stopped == [("ann", task)]


def test_forged_messages_are_recorded_once_each_and_no_more_than_some() -> None:
    driver = Driver()
    driver.submit(PLAN, x=3)
    (refused,) = driver.tell(Forged(5, "no code"), "agent.ann")
    assert isinstance(refused, Refused)
    assert (refused.what, refused.stream, refused.seq, refused.sender) == ("forged", "INBOX", 5, "agent.ann")
    assert driver.tell(Forged(5, "no code"), "agent.ann") == ()
    kept = [driver.tell(Forged(seq, "no code"), "agent.ann") for seq in range(6, 40)]
    assert sum(map(len, kept)) == 15
    driver.done("a")
    assert driver.tell(Forged(50, "no code"), "agent.ann") == ()
    assert driver.tell(Foreign(5, "no orchestrator wrote it"), "log") != ()


def test_several_messages_are_one_decision() -> None:
    driver = Driver()
    facts = driver.say(
        Said(CLIENT, Submit(plan=PLAN, inputs={"x": 1})),
        Said("log", Foreign(1, "foreign")),
        Said(CLIENT, Cancel()),
    )
    assert [type(fact) for fact in facts] == [Submitted, Granted, Refused, Ending]
