"""What work has cost, as the core keeps it: added up from reports, once each, for the step and for the run."""

from __future__ import annotations

import pytest
from driving import Driver, inline

from consort_orchestrator.core import Candidate, portrait
from consort_shared.codec import JSON, decode, encode
from consort_shared.entries import Accepted, Failure, Granted, Refused
from consort_shared.errors import DecodeError
from consort_shared.messages import Declined, Done, Failed, Outcome, Report, agent_message
from consort_shared.usage import MOST, NOTHING, Usage

ONE = {"a": {"skill": "s.a", "retry": {"attempts": 3, "wait": 0}}}
SOME = Usage(calls=2, input_tokens=900, output_tokens=100, cost=4_200)
MORE = Usage(calls=1, input_tokens=50, unpriced=1)


def says(
    driver: Driver, path: str, outcome: Outcome, usage: Usage | None, task: str = "", by: str = "i1"
) -> None:
    node = driver.node(path)
    told = Report(task=task or node.task, instance=by, outcome=outcome, usage=usage)
    driver.tell(told, f"agent.{node.agent}")


def test_every_attempt_that_reported_counts_once() -> None:
    driver = Driver().start({**ONE, "b": {"skill": "s.b"}})
    first = driver.node("a").task
    failed = Failed(kind="skill-error", message="no luck")
    says(driver, "a", failed, SOME)
    assert driver.facts(Failure)[0].usage == SOME
    says(driver, "a", failed, SOME, task=first)  # said again: no news, and no cost
    says(driver, "a", Declined(why="busy"), MORE)
    says(driver, "a", Done(output=inline(1)), SOME)
    assert driver.facts(Accepted)[0].usage == SOME
    assert driver.node("a").usage == SOME + MORE + SOME
    assert driver.run.usage == driver.node("a").usage
    assert driver.node("b").usage is NOTHING
    shown = portrait(driver.run)
    assert shown["usage"] == {
        "calls": 5,
        "input_tokens": 1850,
        "output_tokens": 200,
        "cost": 8400,
        "unpriced": 1,
    }
    assert "usage" not in shown["steps"]["b"]


def test_a_report_that_does_not_count_was_paid_for_all_the_same() -> None:
    driver = Driver().start({**ONE, "b": {"skill": "s.b"}})
    first = driver.node("a").task
    driver.report("a", Failed(kind="skill-error", message="no luck"))
    says(driver, "a", Done(output=inline(1)), SOME, task=first)
    assert driver.facts(Refused)[0].usage == SOME
    says(driver, "a", Done(output=inline(1)), SOME, task=first)
    assert driver.run.usage == SOME == driver.node("a").usage


def test_work_without_models_leaves_entries_as_they_are() -> None:
    driver = Driver().start(ONE)
    assert b"profile" not in encode(driver.granted("a"))
    says(driver, "a", Done(output=inline(1)), None)
    [accepted] = driver.facts(Accepted)
    assert b"usage" not in encode(accepted)
    assert "usage" not in portrait(driver.run)
    other = Driver().start(ONE)
    says(other, "a", Done(output=inline(1)), Usage())
    assert encode(other.facts(Accepted)[0]) == encode(accepted)


def test_only_what_was_used_takes_place_on_the_wire() -> None:
    body = encode(Usage(calls=1, cost=5) + Usage(cost=7))
    assert body == encode(Usage(calls=1, cost=12))
    assert b"tool_calls" not in body
    assert (Usage(cost=MOST) + Usage(cost=1)).cost == MOST


def test_a_task_is_granted_under_the_profile_of_that_moment() -> None:
    """J9: what is set while a task is under way counts from the next one on, also from its next attempt on."""
    driver = Driver().start({**ONE, "b": {"skill": "s.b", "needs": ["a"]}})
    assert driver.granted("a").profile == 0
    driver.candidates = lambda skill: [Candidate("ann", 4, profile=17), Candidate("bob", 4, profile=3)]
    driver.report("a", Failed(kind="skill-error", message="no luck"))
    assert (driver.granted("a").agent, driver.granted("a").profile) == ("bob", 3)
    driver.candidates = lambda skill: [Candidate("ann", 4, profile=18)]
    driver.done("a", 1)
    assert driver.facts(Granted)[0].profile == 18


@pytest.mark.parametrize(
    ("usage", "said"),
    [
        ('{"calls": 1, "cost": 4200}', ""),
        ('{"cost": -1}', "usage.cost"),
        ('{"cost": 9007199254740992}', "usage.cost"),
        ('{"calls": 0.5}', "usage.calls"),
        ('{"dollars": 3}', "usage.dollars"),
    ],
)
def test_agents_in_any_language_may_say_it(usage: str, said: str) -> None:
    outcome = '{"outcome": "done", "output": {"value": 1}}'
    body = f'{{"say": "report", "task": "1-0", "instance": "i", "outcome": {outcome}, "usage": {usage}}}'
    if not said:
        told = decode(agent_message, body.encode(), JSON)
        assert isinstance(told, Report)
        assert told.usage == Usage(calls=1, cost=4200)
        return
    with pytest.raises(DecodeError) as refused:
        decode(agent_message, body.encode(), JSON)
    assert said in refused.value.why
