"""How a run ends before its time: agents are called off, completed steps undone."""

from __future__ import annotations

from typing import Any

import pytest
from driving import CLIENT, Driver, How, inline, stored

from consort_orchestrator.core import NeedArtefacts, Phase, Said
from consort_orchestrator.core.handoff import delivered
from consort_shared.entries import Accepted, Closed, Ending, Failure, Finished, Granted, Heeded, Waiting
from consort_shared.messages import Cancel, Declined, Done, Pause, Report
from consort_shared.values import Json

ONE: dict[str, Any] = {"a": {"skill": "s.a"}}


def undoable(skill: str, *needs: str, **rest: Any) -> dict[str, Any]:
    undo = {"skill": f"{skill}-back", "with": {"what": "${{ output }}"}, "retry": {"attempts": 2, "wait": 1}}
    return {"skill": skill, "needs": list(needs), "undo": undo, **rest}


CHAIN = {"a": undoable("s.a"), "b": undoable("s.b", "a"), "c": {"skill": "s.c", "needs": ["b"]}}


def in_c() -> Driver:
    """`a` and `b` are done, `c` is in hand."""
    driver = Driver().start(CHAIN)
    driver.done("a", "A")
    driver.done("b", "B")
    return driver


# --- calling off


def test_a_run_with_nothing_in_hand_is_over_at_once() -> None:
    driver = Driver([]).start(ONE)
    (finished,) = driver.tell(Cancel(why="enough"))
    assert isinstance(finished, Finished)
    assert driver.outcome == ("cancelled", None, "enough")


def test_what_is_in_hand_is_told_to_stop_and_the_rest_is_off() -> None:
    driver = Driver().start({**ONE, "b": {"skill": "s.b", "needs": ["a"]}, "c": {"skill": "s.c"}})
    tasks = [driver.node("a").task, driver.node("c").task]
    driver.done("c")
    (ending,) = driver.tell(Cancel(why="enough"))
    assert isinstance(ending, Ending)
    assert (ending.state, ending.why, ending.by) == ("cancelled", "enough", CLIENT)
    assert driver.stopped == [("ann", tasks[0])]
    assert (driver.phase("a"), driver.phase("b"), driver.phase("c")) == (
        Phase.STOPPING,
        Phase.CANCELLED,
        Phase.DONE,
    )
    facts = driver.heed("a", "stop", "stopped")
    assert [type(fact) for fact in facts] == [Heeded, Finished]
    assert driver.node("a").why == "interrupted"
    assert driver.outcome == ("cancelled", None, "enough")
    assert driver.wait(10_000) == ()
    assert driver.run.next_due is None


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("stopped", "interrupted"),
        ("dropped", "had not begun"),
        ("cannot", "cannot be interrupted; its result does not count"),
    ],
)
def test_what_became_of_it_is_told(how: How, why: str) -> None:
    driver = Driver().start(ONE)
    driver.tell(Cancel())
    driver.heed("a", "stop", how)
    assert (driver.phase("a"), driver.node("a").why) == (Phase.CANCELLED, why)
    assert driver.heed("a", "stop", how) == ()
    assert driver.outcome[2] == f"cancelled by {CLIENT}"
    assert driver.done("a") == ()


def test_the_order_is_repeated_and_silence_is_taken_for_an_answer() -> None:
    driver = Driver().start({"a": {"skill": "s.a"}, "b": {"skill": "s.a"}})
    driver.tell(Cancel())
    ended = driver.now
    driver.heed("b", "stop", "stopped")
    for second in range(1, 5):
        assert driver.run.next_due == ended + second
        assert driver.wait(1) == ()
        assert driver.stopped == [("ann", driver.node("a").task)]
    assert driver.run.next_due == ended + 5
    facts = driver.wait(1)
    assert [type(fact) for fact in facts] == [Heeded, Finished]
    assert driver.node("a").why == "no acknowledgement within 5 s"
    (late,) = driver.heed("a", "stop", "stopped")
    assert isinstance(late, Heeded)
    assert driver.heed("a", "stop", "stopped") == ()


def test_a_result_that_comes_in_between_counts() -> None:
    driver = Driver().start({"a": undoable("s.a"), "b": {"skill": "s.b"}})
    driver.tell(Cancel())
    assert [type(fact) for fact in driver.done("a", 7)] == [Accepted]
    driver.heed("b", "stop", "stopped")
    assert driver.at_work == ["a!undo"]


@pytest.mark.parametrize("kind", ["failed", "declined"])
def test_a_failure_that_comes_in_between_is_not_tried_again(kind: str) -> None:
    driver = Driver().start(ONE)
    driver.tell(Cancel())
    facts = driver.fail("a") if kind == "failed" else driver.decline("a")
    assert [type(fact) for fact in facts] == [Failure, Finished]
    assert driver.phase("a") is Phase.CANCELLED
    assert driver.outcome[0] == "cancelled"


def test_cancelling_twice_changes_nothing_and_an_ended_run_cannot_be() -> None:
    driver = Driver().start(ONE)
    driver.tell(Cancel(why="enough"))
    assert driver.tell(Cancel(why="enough")) == ()
    assert driver.tell(Cancel(why="really"), "person.pat") == ()
    assert driver.last.refused == []
    driver.heed("a", "stop", "stopped")
    assert driver.tell(Cancel(why="enough")) == ()
    assert driver.last.refused == []
    assert driver.tell(Cancel(why="really")) == ()
    assert driver.last.refused[0][1] == "the run has ended: cancelled"


def test_only_the_owner_and_people_may() -> None:
    driver = Driver().start(ONE)
    assert driver.tell(Cancel(), "client.you") == ()
    assert driver.last.refused[0][1] == "the run is client.me's, only they or a reviewer may cancel it"
    assert driver.tell(Cancel(), "person.pat") != ()


# --- the run's own time


def test_a_run_that_is_not_done_in_time_fails() -> None:
    driver = Driver().start(ONE, {"timeout": "20s"})
    assert driver.run.next_due == driver.now + 20
    assert driver.wait(19.9) == ()
    driver.wait(0.1)
    (ending,) = driver.facts(Ending)
    assert (ending.state, ending.why) == ("failed", "the run was not done within 20 s")
    assert driver.stopped == [("ann", driver.node("a").task)]
    driver.heed("a", "stop", "stopped")
    assert driver.outcome == ("failed", None, "the run was not done within 20 s")


def test_a_run_that_waits_for_an_agent_runs_out_of_time_too() -> None:
    driver = Driver([]).start(ONE, {"timeout": 20})
    driver.wait(20)
    assert driver.outcome[0] == "failed"
    assert driver.facts(Ending) == []


def test_a_run_in_time_has_no_alarm_left() -> None:
    driver = Driver().start(ONE, {"timeout": 20})
    driver.done("a")
    assert driver.run.next_due is None


# --- undoing


def test_completed_steps_are_undone_the_last_one_first() -> None:
    driver = in_c()
    driver.tell(Cancel(why="enough"))
    assert driver.facts(Granted) == []
    driver.heed("c", "stop", "dropped")
    granted = driver.granted("b!undo")
    assert (granted.skill, granted.attempt, granted.deadline) == ("s.b-back", 1, driver.now + 900)
    (prior,) = granted.handoff.priors
    assert (prior.path, prior.digest) == ("b", inline("B").digest)
    (hole,) = granted.holes
    assert (hole.at, hole.prior, hole.path) == (("what",), "b", ())
    assert delivered(driver.run, granted).handoff.priors[0].output == inline("B")
    assert driver.at_work == ["b!undo"]
    driver.done("b!undo")
    assert driver.at_work == ["a!undo"]
    driver.done("a!undo")
    assert driver.outcome == ("cancelled", None, "enough; 2 steps undone")


def test_one_that_cannot_be_undone_is_told_and_the_next_is_tried() -> None:
    driver = in_c()
    driver.tell(Cancel(why="enough"))
    driver.heed("c", "stop", "stopped")
    driver.fail("b!undo")
    assert driver.phase("b!undo") is Phase.BACKOFF
    driver.wait(1)
    driver.fail("b!undo")
    assert driver.at_work == ["a!undo"]
    driver.done("a!undo")
    assert driver.outcome == (
        "cancelled",
        None,
        "enough; 1 step undone; `b` could not be undone: skill-error: no luck",
    )


def test_an_undo_without_a_value_is_told_too() -> None:
    broken = {"skill": "s.a", "undo": {"skill": "s.back", "with": {"what": "${{ output.nope }}"}}}
    driver = Driver().start({"a": broken, "b": {"skill": "s.b"}})
    driver.done("a", {"x": 1})
    driver.tell(Cancel(why="enough"))
    driver.heed("b", "stop", "stopped")
    assert [fact.path for fact in driver.facts(Closed)] == ["a!undo"]
    assert driver.outcome[2] == "enough; `a` could not be undone: nothing at .nope; there are: x"


def test_a_run_that_fails_undoes_what_was_completed() -> None:
    driver = in_c()
    driver.fail("c", retry=False)
    assert [type(fact) for fact in driver.last.facts] == [Failure, Ending, Granted]
    assert driver.run.ending is not None
    assert (driver.run.ending.state, driver.run.ending.by) == ("failed", "")
    driver.done("b!undo")
    driver.done("a!undo")
    assert driver.outcome == ("failed", None, "step `c` failed: skill-error: no luck; 2 steps undone")


def test_a_run_whose_output_has_no_value_undoes_too() -> None:
    driver = Driver().start({"a": undoable("s.a")}, {"output": "${{ steps.a.output.nope }}"})
    driver.done("a", {"x": 1})
    assert driver.at_work == ["a!undo"]


def test_a_completed_run_undoes_nothing() -> None:
    driver = in_c()
    driver.done("c")
    assert driver.outcome[0] == "completed"


def test_an_undo_waits_for_an_agent() -> None:
    driver = in_c()
    driver.tell(Cancel())
    driver.agents = []
    driver.heed("c", "stop", "stopped")
    assert [fact.skill for fact in driver.facts(Waiting)] == ["s.b-back"]
    driver.agents = ["bob"]
    driver.wait(1)
    assert driver.granted("b!undo").agent == "bob"


def test_an_undo_has_its_own_time_and_may_be_late() -> None:
    steps = {"a": undoable("s.a"), "b": {"skill": "s.b"}}
    steps["a"]["undo"]["timeout"] = 7
    driver = Driver().start(steps)
    driver.done("a")
    driver.tell(Cancel())
    driver.heed("b", "stop", "stopped")
    task = driver.node("a!undo").task
    driver.wait(7)
    assert driver.stopped == [("ann", task)]
    driver.wait(1)
    driver.done("a!undo")
    assert driver.outcome[2].endswith("1 step undone")


def test_items_and_iterations_are_undone_with_what_they_saw() -> None:
    undo = {"skill": "s.back", "with": {"x": "${{ item }} at ${{ index }}", "got": "${{ output.n }}"}}
    again = {"skill": "s.back", "with": {"round": "${{ iteration }}", "first": "${{ steps.e.output[0].n }}"}}
    driver = Driver().start(
        {
            "e": {"skill": "s.e", "for_each": {"items": ["p", "q"]}, "undo": undo},
            "r": {
                "skill": "s.r",
                "needs": ["e"],
                "repeat": {"until": "output == 2", "max": 3},
                "undo": again,
            },
            "z": {"skill": "s.z", "needs": ["r"]},
        }
    )
    driver.done("e[1]", {"n": 11})
    driver.done("e[0]", {"n": 10})
    driver.done("r[1]", 1)
    driver.done("r[2]", 2)
    driver.fail("z", retry=False)
    expected = [
        ("r[2]!undo", {"round": 2, "first": 10}),
        ("r[1]!undo", {"round": 1, "first": 10}),
        ("e[0]!undo", {"x": "p at 0", "got": None}),
        ("e[1]!undo", {"x": "q at 1", "got": None}),
    ]
    for path, inputs in expected:
        granted = driver.granted(path)
        assert granted.inputs == inputs
        assert [hole.path for hole in granted.holes] == ([("n",)] if "got" in inputs else [])
        driver.done(path)
    assert driver.outcome[2].endswith("; 4 steps undone")


def test_a_stored_result_is_fetched_for_an_undo_that_looks_into_it() -> None:
    undo = {"skill": "s.back", "with": {"text": "${{ output.n }} back"}}
    driver = Driver().start({"a": {"skill": "s.a", "undo": undo}, "b": {"skill": "s.b"}})
    driver.done("a", stored({"n": 5}))
    with pytest.raises(NeedArtefacts):
        driver.fail("b", retry=False)
    blobs: dict[str, Json] = {stored({"n": 5}).digest: {"n": 5}}
    again = Driver()
    again.blobs = blobs
    again.start({"a": {"skill": "s.a", "undo": undo}, "b": {"skill": "s.b"}})
    again.done("a", stored({"n": 5}))
    again.fail("b", retry=False)
    assert again.granted("a!undo").inputs == {"text": "5 back"}


def test_a_shared_result_is_undone_once() -> None:
    keyed = undoable("s.k", key="'same'")
    driver = Driver().start({"a": keyed, "b": keyed, "z": {"skill": "s.z", "needs": ["a", "b"]}})
    driver.done("a", 1)
    driver.fail("z", retry=False)
    driver.done("a!undo")
    assert driver.outcome[2].endswith("; 1 step undone")


def test_a_pause_ends_with_the_run() -> None:
    driver = in_c()
    driver.tell(Pause())
    driver.tell(Cancel())
    assert driver.run.paused is None
    assert driver.held == [("ann", False)]
    driver.heed("c", "stop", "stopped")
    assert driver.at_work == ["b!undo"]
    assert driver.tell(Pause()) == ()
    assert driver.last.refused[0][1] == "the run is ending: cancelled by client.me"


def test_a_late_word_does_not_disturb_the_undoing() -> None:
    driver = in_c()
    driver.tell(Cancel())
    task = driver.node("c").task
    driver.wait(5)
    assert driver.at_work == ["b!undo"]
    driver.report("c", Done(output=inline(1)), task)
    driver.report("c", Declined(why="busy"), task)
    assert driver.at_work == ["b!undo"]
    undone = driver.node("b!undo").task
    driver.done("b!undo", 1)
    report = Report(task=undone, instance="i1", outcome=Done(output=inline(1)))
    assert driver.say(Said("agent.ann", report)) == ()
