"""A paused run, and a paused agent: nothing starts, nothing is lost, no time is counted."""

from __future__ import annotations

from typing import Any

from driving import CLIENT, Driver

from consort_orchestrator.core import Phase
from consort_shared.entries import (
    Extended,
    Finished,
    Granted,
    Heeded,
    Noted,
    Opened,
    Paused,
    Resumed,
    Skipped,
)
from consort_shared.messages import Pause, Progress, Resume

TWO: dict[str, Any] = {"a": {"skill": "s.a"}, "b": {"skill": "s.b", "needs": ["a"]}}


def paused(steps: dict[str, Any], rest: dict[str, Any] | None = None) -> Driver:
    driver = Driver().start(steps, rest)
    (fact,) = driver.tell(Pause(why="lunch"))
    assert isinstance(fact, Paused)
    assert (fact.by, fact.why) == (CLIENT, "lunch")
    return driver


def resume(driver: Driver) -> list[str]:
    """Paths of what starts."""
    facts = driver.tell(Resume(), "person.pat")
    assert isinstance(facts[0], Resumed)
    return [fact.path for fact in driver.facts(Granted)]


def test_what_is_in_hand_is_finished_and_nothing_follows_until_it_goes_on() -> None:
    driver = paused(TWO)
    assert driver.held == [("ann", True)]
    driver.done("a")
    assert driver.phase("b") is Phase.PENDING
    assert driver.wait(10_000) == ()
    assert resume(driver) == ["b"]
    assert driver.held == [("ann", False)]
    assert driver.run.paused is None


def test_whoever_has_a_task_is_told_once_that_it_goes_on() -> None:
    driver = Driver(["ann", "bob"]).start({f"s{n}": {"skill": "s.a"} for n in range(4)})
    driver.tell(Pause())
    assert sorted(driver.held) == [("ann", True), ("bob", True)]
    resume(driver)
    assert sorted(driver.held) == [("ann", False), ("bob", False)]


def test_twice_changes_nothing() -> None:
    driver = Driver().start(TWO)
    assert driver.tell(Resume()) == ()
    driver.tell(Pause())
    assert driver.tell(Pause(why="again"), "person.pat") == ()
    driver.tell(Resume())
    assert driver.tell(Resume()) == ()
    assert driver.last.refused == []


def test_others_may_not_and_an_ended_run_cannot() -> None:
    driver = Driver().start({"a": {"skill": "s.a"}})
    for message in (Pause(), Resume()):
        assert driver.tell(message, "client.you") == ()
        assert "client.me's" in driver.last.refused[0][1]
    driver.done("a")
    for message in (Pause(), Resume()):
        assert driver.tell(message) == ()
        assert driver.last.refused[0][1] == "the run has ended: completed"


def test_no_time_is_counted() -> None:
    driver = Driver().start({"a": {"skill": "s.a", "timeout": 30}}, {"timeout": 50})
    driver.now += 10
    driver.tell(Pause())
    assert driver.run.next_due is None
    assert driver.wait(100) == ()
    resume(driver)
    assert driver.run.next_due == driver.now + 20
    assert driver.node("a").deadline == driver.now + 20
    assert driver.wait(19.9) == ()
    driver.wait(0.1)
    assert driver.phase("a") is Phase.BACKOFF
    driver.wait(1)
    driver.wait(18.9)
    assert driver.run.finished is None
    driver.wait(0.1)
    assert driver.run.ending is not None
    assert driver.run.ending.why == "the run was not done within 50 s"


def test_a_wait_before_another_attempt_goes_on_but_the_attempt_does_not_begin() -> None:
    driver = paused(
        {"a": {"skill": "s.a", "retry": {"wait": 5}}, "b": {"skill": "s.b", "retry": {"wait": 0}}}
    )
    driver.fail("a")
    driver.fail("b")
    assert driver.wait(6) == ()
    assert resume(driver) == ["b", "a"]  # as they were due


def test_what_waits_for_an_agent_waits_on() -> None:
    driver = Driver([]).start(TWO)
    driver.tell(Pause())
    driver.agents = ["ann"]
    assert driver.wait(1) == ()
    assert resume(driver) == ["a"]


def test_items_iterations_and_blocks_wait() -> None:
    steps = {
        "e": {"skill": "s.e", "for_each": {"items": [1, 2, 3], "in_flight": 1}},
        "r": {"skill": "s.r", "repeat": {"until": "output == 2", "max": 3}},
        "p": {"skill": "s.p"},
        "k": {"steps": {"x": {"skill": "s.x"}}, "needs": ["p"]},
    }
    driver = paused(steps)
    for path, value in (("e[0]", 1), ("r[1]", 1), ("p", 1)):
        driver.done(path, value)
        assert [fact for fact in driver.last.facts if isinstance(fact, Granted | Opened)] == []
    assert resume(driver) == ["e[1]", "r[2]", "k.x"]


def test_a_loop_that_is_over_ends_in_a_pause_and_skips_are_told() -> None:
    steps = {
        "r": {"skill": "s.r", "repeat": {"until": "output == 2", "max": 3}},
        "a": {"skill": "s.a", "retry": {"attempts": 1}},
        "b": {"skill": "s.b", "needs": ["a"]},
    }
    driver = paused(steps)
    driver.done("r[1]", 2)
    assert driver.phase("r") is Phase.DONE
    driver.fail("a")
    assert [fact.path for fact in driver.facts(Skipped)] == ["b"]
    assert driver.outcome[0] == "failed"


def test_the_last_result_ends_a_paused_run() -> None:
    driver = paused({"a": {"skill": "s.a"}})
    driver.done("a")
    assert len(driver.facts(Finished)) == 1
    assert driver.run.paused is None


def test_a_condition_is_looked_at_when_the_run_goes_on() -> None:
    driver = paused({"a": {"skill": "s.a"}, "b": {"skill": "s.b", "needs": ["a"], "if": "1 > 2"}})
    driver.done("a")
    assert driver.phase("b") is Phase.PENDING
    driver.tell(Resume())
    assert driver.phase("b") is Phase.SKIPPED
    assert driver.outcome[0] == "completed"


def test_agents_say_once_what_they_do_about_it() -> None:
    driver = paused(TWO)
    (heeded,) = driver.heed("a", "pause", "goes-on")
    assert isinstance(heeded, Heeded)
    assert (heeded.path, heeded.order, heeded.how) == ("a", "pause", "goes-on")
    assert driver.heed("a", "pause", "goes-on") == ()
    driver.tell(Resume())
    assert len(driver.heed("a", "resume", "goes-on")) == 1
    assert driver.heed("a", "stop", "stopped") == ()
    assert driver.at_work == ["a"]


def test_milestones_are_kept_meanwhile() -> None:
    driver = paused(TWO)
    told = Progress(task=driver.node("a").task, instance="i", text="half")
    assert [type(fact) for fact in driver.tell(told, "agent.ann")] == [Noted]


# --- paused agents


def test_a_paused_agent_gets_more_time() -> None:
    driver = Driver().start({"a": {"skill": "s.a", "timeout": 30}})
    driver.paused = frozenset({"ann"})
    assert driver.wait(29) == ()
    (extended,) = driver.wait(1)
    assert isinstance(extended, Extended)
    assert (extended.task, extended.deadline) == (driver.node("a").task, driver.now + 30)
    assert extended.why == "agent ann is paused"
    assert driver.run.next_due == driver.now + 30
    driver.paused = frozenset()
    driver.wait(30)
    assert driver.phase("a") is Phase.BACKOFF


def test_the_runs_own_time_goes_on_while_an_agent_is_paused() -> None:
    driver = Driver().start({"a": {"skill": "s.a", "timeout": 0}}, {"timeout": 3})
    driver.paused = frozenset({"ann"})
    driver.wait(0)
    assert driver.run.next_due == driver.now + 1
    driver.wait(3)
    assert driver.run.ending is not None
