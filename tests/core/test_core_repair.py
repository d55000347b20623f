"""Mending: failed steps are tried again, dead letters judged again, poison is known for what it is."""

from __future__ import annotations

from typing import Any

from driving import CLIENT, Driver, make_plan

from consort_orchestrator.core import Phase, Said, Unreadable, portrait
from consort_shared.entries import Fact, Finished, Granted, Redriven, Refused, Reopened, Submitted
from consort_shared.messages import POISON, Cancel, Failed, Pause, Report, Resume, Retry, Submit
from consort_shared.values import Json

ONCE = {"retry": {"attempts": 1}}


def task(skill: str, *needs: str, **rest: Any) -> dict[str, Any]:
    return {"skill": skill, "needs": list(needs), **ONCE, **rest}


def again(driver: Driver, path: str = "", inputs: dict[str, Json] | None = None) -> str:
    """Want failed steps tried again; why that is refused, if it is."""
    driver.tell(Retry(path=path, inputs=inputs))
    return "".join(why for _, why in driver.last.refused)


def refused(driver: Driver, path: str = "") -> str:
    why = again(driver, path)
    assert driver.last.facts == ()
    return why


# --- trying again


def test_a_failed_run_goes_on_where_it_failed() -> None:
    driver = Driver().start(
        {"a": task("s.a"), "b": task("s.b", "a"), "c": task("s.c", "b"), "d": task("s.d")}
    )
    driver.done("d", 4)
    driver.fail("a")
    assert driver.outcome[0] == "failed"
    assert again(driver) == ""
    assert [type(fact) for fact in driver.last.facts] == [Reopened, Granted]
    assert driver.granted("a").trouble == "skill-error: no luck"
    assert (driver.phase("b"), driver.phase("c")) == (Phase.PENDING, Phase.PENDING)
    for path in ("a", "b", "c"):
        driver.done(path, path)
    assert driver.outcome == ("completed", {"c": "c", "d": 4}, "")


def test_one_step_with_other_inputs_and_all_its_attempts() -> None:
    driver = Driver().start(
        {"a": {"skill": "s.a", "with": {"x": 1}, "retry": {"attempts": 2, "wait": 0}}, "z": task("s.z")}
    )
    driver.fail("a")
    driver.fail("a")
    assert again(driver, "a", {"x": 2}) == ""
    assert driver.granted("a").inputs == {"x": 2}
    assert driver.granted("a").attempt == 3
    driver.fail("a")
    assert driver.granted("a").inputs == {"x": 2}
    driver.done("a")
    driver.done("z")
    assert driver.outcome[0] == "completed"


def test_while_the_run_goes_on() -> None:
    driver = Driver().start({"a": task("s.a"), "b": task("s.b"), "z": task("s.z", "a", "b")})
    driver.fail("a")
    assert driver.phase("z") is Phase.SKIPPED
    again(driver, "a")
    assert driver.phase("z") is Phase.PENDING
    driver.done("b")
    driver.done("a")
    driver.done("z")
    assert driver.outcome[0] == "completed"


def test_two_that_failed_one_after_the_other() -> None:
    driver = Driver().start({"a": task("s.a"), "b": task("s.b"), "z": task("s.z", "a", "b")})
    driver.fail("a")
    driver.fail("b")
    assert driver.outcome[0] == "failed"
    again(driver, "a")
    assert driver.phase("z") is Phase.SKIPPED
    driver.done("a")
    assert driver.outcome[2] == "step `b` failed: skill-error: no luck"
    again(driver)
    assert driver.phase("z") is Phase.PENDING
    driver.done("b")
    driver.done("z")
    assert driver.outcome[0] == "completed"


def test_failing_again_ends_the_run_again() -> None:
    driver = Driver().start({"a": task("s.a")})
    for _ in range(3):
        driver.fail("a")
        assert len(driver.facts(Finished)) == 1
        again(driver)
        assert driver.at_work == ["a"]


def test_in_the_same_breath() -> None:
    steps = {
        "r": {"skill": "s.r", **ONCE, "repeat": {"until": "output == 2", "max": 3}},
        "s": {"skill": "s.s", **ONCE, "repeat": {"until": "output == 2", "max": 3}, "needs": ["r"]},
        "t": task("s.t", "s"),
    }
    driver = Driver().start(steps)
    report = Report(
        task=driver.node("r[1]").task, instance="i", outcome=Failed(kind="k", message="m", retry=False)
    )
    driver.say(Said("agent.ann", report), Said(CLIENT, Retry()))
    assert [type(fact) for fact in driver.last.facts][-3:] == [Finished, Reopened, Granted]
    assert driver.at_work == ["r[1]"]
    for path in ("r[1]", "s[1]", "t"):
        driver.done(path, 2)
    assert driver.outcome[0] == "completed"


def test_items_blocks_and_loops_around_open_again() -> None:
    driver = Driver().start(
        {
            "e": {
                "for_each": {"items": [1, 2, 3], "in_flight": 2},
                "steps": {"x": task("s.x"), "y": task("s.y", "x")},
            },
            "r": {"repeat": {"until": "steps.u.output == 2", "max": 3}, "steps": {"u": task("s.u")}},
            "z": task("s.z", "e", "r"),
        }
    )
    driver.fail("e[0].x")
    driver.done("e[1].x")
    driver.done("e[1].y")
    driver.done("r[1].u", 1)
    driver.fail("r[2].u")
    assert driver.outcome[0] == "failed"
    assert "e[2]" not in driver.run.nodes
    again(driver)
    assert [fact.path for fact in driver.facts(Reopened)] == ["e[0].x", "r[2].u"]
    assert driver.at_work == ["e[0].x", "r[2].u", "e[2].x"]
    for path, value in (("e[0].x", 1), ("e[0].y", 1), ("e[2].x", 1), ("e[2].y", 1), ("r[2].u", 2)):
        driver.done(path, value)
    driver.done("z")
    assert driver.outcome[0] == "completed"


def test_what_went_on_without_it_stays_as_it_is() -> None:
    steps = {
        "a": task("s.a"),
        "b": task("s.b"),
        "any": task("s.z", "a", "b", join="any"),
        "end": task("s.z", "a", join="ended"),
        "c": task("s.c"),
    }
    driver = Driver().start(steps)
    driver.done("b")
    driver.fail("a")
    driver.done("end")
    driver.done("any")
    again(driver, "a")
    assert (driver.phase("any"), driver.phase("end")) == (Phase.DONE, Phase.DONE)
    driver.done("a")
    driver.done("c")
    assert driver.outcome[0] == "completed"


def test_a_step_that_its_own_condition_skipped_stays_skipped() -> None:
    driver = Driver().start(
        {"a": task("s.a"), "b": task("s.b"), "z": task("s.z", "a", "b", join="any", **{"if": "1 > 2"})}
    )
    driver.done("b")
    driver.fail("a")
    again(driver)
    assert driver.phase("z") is Phase.SKIPPED
    driver.done("a")
    assert driver.run.finished is not None


def test_those_that_shared_the_failure_wait_again() -> None:
    keyed = task("s.k", key="'same'")
    driver = Driver().start({"a": keyed, "b": keyed, "z": task("s.z", "b")})
    driver.fail("a")
    assert driver.phase("b") is Phase.FAILED
    assert refused(driver, "b") == "`b` shares the result of `a`: try that again"
    again(driver)
    assert [fact.path for fact in driver.facts(Reopened)] == ["a"]
    assert (driver.phase("b"), driver.phase("z")) == (Phase.HELD, Phase.PENDING)
    driver.done("a", 1)
    assert driver.phase("b") is Phase.DONE
    driver.done("z")
    assert driver.outcome[0] == "completed"


def test_the_runs_time_begins_again() -> None:
    driver = Driver().start({"a": task("s.a")}, {"timeout": 20})
    driver.fail("a")
    driver.now += 100
    again(driver)
    assert driver.run.next_due == driver.now + 20


def test_a_paused_run_waits_with_it() -> None:
    driver = Driver().start({"a": task("s.a"), "b": task("s.b")})
    driver.fail("a")
    driver.tell(Pause())
    again(driver)
    assert driver.phase("a") is Phase.BACKOFF
    driver.tell(Resume())
    assert driver.at_work == ["a", "b"]


def test_what_cannot_be_tried_again_is_refused_with_the_reason() -> None:
    driver = Driver().start(
        {"alpha": task("s.a"), "beta": task("s.b"), "bad": task("s.c", **{"if": "1 / 0 == 1"})}
    )
    assert refused(driver, "alpa") == "there is no step `alpa`; did you mean `alpha`?"
    assert refused(driver, "alpha") == "`alpha` has not failed: it is granted"
    assert refused(driver, "bad").startswith("`bad` cannot be tried again: it never became a task: if: ")
    assert refused(driver).startswith("nothing can be tried again: `bad` cannot be tried again")
    driver.fail("alpha")
    driver.tell(Retry(inputs={"x": 1}))
    assert driver.last.refused[0][1] == "inputs are those of one step: name it"
    driver.tell(Retry(), "client.you")
    assert driver.last.refused[0][1] == "the run is client.me's, only they or a reviewer may try it again"


def test_a_block_is_tried_again_by_its_tasks() -> None:
    driver = Driver().start({"b": {"steps": {"x": task("s.x")}}})
    driver.fail("b.x")
    assert refused(driver, "b") == "`b` is no task; in it failed `b.x`"


def test_a_tolerated_item_is_over_once_the_others_are_done() -> None:
    steps = {"e": {**task("s.e"), "for_each": {"items": [1, 2], "tolerate": 1}}, "z": task("s.z", "e")}
    driver = Driver().start(steps)
    driver.fail("e[0]")
    driver.done("e[1]")
    assert refused(driver, "e[0]") == "`e` went on without `e[0]`, and is done"


def test_not_after_a_cancel_nor_when_the_time_was_up_nor_when_refused() -> None:
    driver = Driver().start({"a": task("s.a"), "b": task("s.b")})
    driver.fail("a")
    driver.tell(Cancel())
    assert refused(driver) == "the run was cancelled"
    driver.heed("b", "stop", "stopped")
    assert refused(driver) == "the run was cancelled"
    late = Driver().start({"a": task("s.a"), "b": task("s.b")}, {"timeout": 5})
    late.fail("a")
    late.wait(5)
    late.wait(5)
    assert refused(late) == "the run was ended: the run was not done within 5 s"
    bad = Driver()
    bad.submit(make_plan({"a": task("s.a")}, inputs={"x": {}}))
    assert refused(bad).startswith("the run has ended: failed, ")
    done = Driver().start({"a": task("s.a")})
    done.done("a")
    assert refused(done) == "the run has ended: completed"


def test_not_once_anything_is_undone() -> None:
    undo = {"undo": {"skill": "s.back"}}
    driver = Driver().start({"a": task("s.a", **undo), "b": task("s.b", "a")})
    driver.done("a")
    driver.fail("b")
    assert refused(driver) == "the run's completed steps are being undone, or were"
    driver.done("a!undo")
    assert refused(driver) == "the run's completed steps are being undone, or were"


def test_before_anything_is_undone_it_may_be_tried_again() -> None:
    undo = {"undo": {"skill": "s.back"}}
    driver = Driver()
    candidates = driver.candidates
    driver.candidates = lambda skill: [] if skill == "s.back" else candidates(skill)
    driver.start({"a": task("s.a", **undo), "b": task("s.b", "a")})
    driver.done("a")
    driver.fail("b")
    assert driver.phase("a!undo") is Phase.WAITING
    again(driver)
    assert driver.run.ending is None
    assert "a!undo" not in driver.run.nodes
    assert driver.run.waiting == {}
    driver.fail("b")
    assert driver.phase("a!undo") is Phase.WAITING
    driver.candidates = candidates
    driver.wait(1)
    driver.done("a!undo")
    assert driver.outcome[2].endswith("; 1 step undone")


def test_wanted_twice_is_no_news() -> None:
    driver = Driver().start({"a": task("s.a")})
    driver.fail("a")
    again(driver, "a")
    assert refused(driver, "a") == ""
    assert refused(driver) == ""


# --- dead letters


def redrive(driver: Driver, message: Any, letter: int = 7, sender: str = CLIENT) -> tuple[Fact, ...]:
    return driver.say(Said(sender, message, letter, "person.anna", True))


def test_a_submission_that_could_not_be_read_is_judged_again() -> None:
    driver = Driver()
    driver.tell(Unreadable("no plan"))
    assert driver.outcome[0] == "failed"
    plan = make_plan({"a": task("s.a")})
    assert driver.submit(plan) == ()
    facts = redrive(driver, Submit(plan=plan))
    assert [type(fact) for fact in facts] == [Redriven, Submitted, Granted]
    assert (driver.run.client, driver.at_work) == (CLIENT, ["a"])
    (redriven,) = driver.facts(Redriven)
    assert (redriven.letter, redriven.by, redriven.edited) == (7, "person.anna", True)
    driver.done("a")
    assert driver.outcome[0] == "completed"


def test_the_first_word_of_a_run_may_be_a_dead_letter() -> None:
    driver = Driver()
    redrive(driver, Submit(plan=make_plan({"a": task("s.a")})))
    assert driver.at_work == ["a"]


def test_a_letter_is_judged_again_once() -> None:
    driver = Driver().start({"a": task("s.a"), "b": task("s.b")})
    facts = redrive(driver, Cancel(why="enough"))
    assert isinstance(facts[0], Redriven)
    (refusal,) = redrive(driver, Cancel(why="enough"))
    assert isinstance(refusal, Refused)
    assert (refusal.what, refusal.sender, refusal.stream, refusal.seq) == (
        "redrive",
        "person.anna",
        "DEAD",
        7,
    )
    assert refusal.why == "redriven already"
    assert redrive(driver, Cancel(why="enough")) == ()
    assert isinstance(redrive(driver, Cancel(), 8)[0], Redriven)


def test_a_letter_on_an_ended_run_and_on_none() -> None:
    driver = Driver().start({"a": task("s.a")})
    driver.done("a")
    assert [type(fact) for fact in redrive(driver, Cancel())] == [Redriven]
    assert driver.last.refused[0][1] == "the run has ended: completed"
    none = Driver()
    assert redrive(none, Cancel()) == ()
    assert none.last.refused[0][1] == "there is no such run"


# --- poison


def test_poison_is_a_failure_that_is_known() -> None:
    driver = Driver().start({"a": {"skill": "s.a", "retry": {"attempts": 2, "wait": 0}}, "b": task("s.b")})
    tasks = []
    for _ in range(2):
        tasks.append(driver.node("a").task)
        driver.report("a", Failed(kind=POISON, message="delivered 5 times"))
    assert driver.run.poisoned == tasks
    assert driver.node("a").why == "poison: delivered 5 times"
    driver.done("b")
    assert driver.outcome[2] == "step `a` failed: poison: delivered 5 times"
    assert portrait(driver.run)["poisoned"] == tasks
