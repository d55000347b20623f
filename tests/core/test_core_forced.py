"""How somebody forces the end of a run whose completed steps are not, or cannot be, undone."""

from __future__ import annotations

from typing import Any

import pytest
from driving import CLIENT, Driver, How, stored

from consort_bus.standing import Standing
from consort_orchestrator.core import IllegalMove, NeedArtefacts, Phase, Said, apply, portrait
from consort_shared.entries import (
    Accepted,
    Ending,
    Fact,
    Finished,
    Forced,
    GivenUp,
    Granted,
    Heeded,
    Refused,
    Waiting,
)
from consort_shared.messages import Cancel, Effect, EffectAnswer, Heed, Pause, Resolve, Retry

PAT = "person.pat"
FORCE = Cancel(why="nobody has it", force=True)


def undoable(skill: str, *needs: str) -> dict[str, Any]:
    undo = {"skill": f"{skill}-back", "with": {"what": "${{ output }}"}, "retry": {"attempts": 2, "wait": 1}}
    return {"skill": skill, "needs": list(needs), "undo": undo}


CHAIN = {"a": undoable("s.a"), "b": undoable("s.b", "a"), "c": {"skill": "s.c", "needs": ["b"]}}


def ending(*, offered: bool = True) -> Driver:
    """`a` and `b` are done, `c` was called off; `b` is being undone, or waits for somebody who does it."""
    driver = Driver().start(CHAIN)
    driver.done("a", "A")
    driver.done("b", "B")
    driver.tell(Cancel(why="enough"))
    driver.agents = driver.agents if offered else []
    driver.heed("c", "stop", "stopped")
    return driver


def given_up(driver: Driver) -> dict[str, str]:
    return {fact.path: fact.stood for fact in driver.facts(GivenUp)}


def test_an_undoing_that_nobody_does_is_given_up_and_the_run_is_over() -> None:
    driver = ending(offered=False)
    assert driver.tell(Cancel(why="enough")) == ()  # said again it changes nothing
    facts = driver.tell(FORCE, PAT)
    assert [type(fact) for fact in facts] == [Forced, GivenUp, GivenUp, Finished]
    assert given_up(driver) == {"b!undo": "no agent offered s.b-back", "a!undo": "it was not begun"}
    assert {(fact.by, fact.why) for fact in driver.facts(GivenUp)} == {(PAT, "nobody has it")}
    assert driver.outcome == (
        "cancelled",
        None,
        "enough; not undone: `b`, `a`, as person.pat forced the end: nobody has it",
    )
    assert (driver.run.waiting, driver.run.wanted, driver.run.undoable) == ({}, {}, [])
    assert driver.phase("b!undo") is Phase.CANCELLED
    assert driver.run.next_due is None
    assert driver.wait(10_000) == ()


def test_it_may_be_said_again_at_any_time() -> None:
    driver = ending()
    driver.tell(FORCE, PAT)
    assert driver.tell(FORCE, PAT) == ()
    assert driver.tell(Cancel(force=True), CLIENT) == ()
    driver.heed("b!undo", "stop", "stopped")
    for message, sender in ((FORCE, PAT), (Cancel(why="enough"), CLIENT)):
        assert driver.tell(message, sender) == ()
        assert driver.last.refused == []
    assert driver.tell(Cancel(force=True), PAT) == ()
    assert driver.last.refused[0][1] == "the run has ended: cancelled"


def test_a_run_that_is_at_work_is_ended_without_undoing() -> None:
    driver = Driver().start(CHAIN)
    driver.done("a", "A")
    task = driver.node("b").task
    facts = driver.tell(FORCE, PAT)
    assert [type(fact) for fact in facts] == [Ending, Forced]
    assert driver.stopped == [("ann", task)]
    driver.heed("b", "stop", "stopped")
    assert given_up(driver) == {"a!undo": "it was not begun"}
    assert driver.facts(Granted) == []
    assert driver.outcome[2] == (
        "nobody has it; not undone: `a`, as person.pat forced the end: nobody has it"
    )


def test_a_run_with_nothing_to_undo_ends_as_by_any_cancel() -> None:
    driver = Driver([]).start({"a": {"skill": "s.a"}})
    assert [type(fact) for fact in driver.tell(FORCE, PAT)] == [Finished]
    assert driver.outcome == ("cancelled", None, "nobody has it")


def test_a_result_that_comes_before_the_answer_is_not_undone_either() -> None:
    driver = Driver().start({"a": undoable("s.a"), "b": {"skill": "s.b"}})
    driver.tell(FORCE, PAT)
    driver.done("a", 1)
    assert driver.facts(Finished) == []
    driver.heed("b", "stop", "stopped")
    assert given_up(driver) == {"a!undo": "it was not begun"}


@pytest.mark.parametrize(
    ("how", "stood"),
    [
        ("stopped", "attempt 1 at ann; interrupted"),
        ("cannot", "attempt 1 at ann; cannot be interrupted; its result does not count"),
    ],
)
def test_an_undoing_in_hand_is_called_off_first(how: How, stood: str) -> None:
    driver = ending()
    task = driver.node("b!undo").task
    assert [type(fact) for fact in driver.tell(FORCE, PAT)] == [Forced]
    assert driver.stopped == [("ann", task)]
    assert driver.phase("b!undo") is Phase.STOPPING
    driver.heed("b!undo", "stop", how)
    assert given_up(driver) == {"b!undo": stood, "a!undo": "it was not begun"}


def test_an_undoing_that_is_done_in_between_counts() -> None:
    driver = ending()
    driver.tell(FORCE, PAT)
    facts = driver.done("b!undo", 1)
    assert [type(fact) for fact in facts] == [Accepted, GivenUp, Finished]
    assert driver.outcome[2] == (
        "enough; 1 step undone; not undone: `a`, as person.pat forced the end: nobody has it"
    )


def test_an_undoing_that_fails_in_between_is_not_tried_again() -> None:
    driver = ending()
    driver.tell(FORCE, PAT)
    driver.fail("b!undo")
    assert given_up(driver)["b!undo"] == "attempt 1 at ann; skill-error: no luck"
    assert driver.run.finished is not None


def test_one_that_says_nothing_is_waited_for_five_seconds() -> None:
    driver = ending()
    driver.tell(FORCE, PAT)
    driver.wait(4)
    assert driver.stopped == [("ann", driver.node("b!undo").task)]
    facts = driver.wait(1)
    assert [type(fact) for fact in facts] == [Heeded, GivenUp, GivenUp, Finished]
    assert given_up(driver)["b!undo"] == "attempt 1 at ann; no acknowledgement within 5 s"
    (late,) = driver.heed("b!undo", "stop", "stopped")
    assert isinstance(late, Heeded)
    (after_all,) = driver.done("b!undo", 1)
    assert isinstance(after_all, Refused)
    assert after_all.why.endswith("it says that `b` is undone after all")
    assert driver.done("b!undo", 1) == ()


def test_an_undoing_between_two_attempts_is_given_up_at_once() -> None:
    driver = ending()
    driver.fail("b!undo")
    driver.tell(FORCE, PAT)
    assert given_up(driver)["b!undo"] == "attempt 1 at ann; skill-error: no luck"
    assert driver.run.finished is not None


def test_one_that_failed_for_good_before_is_told_as_such() -> None:
    driver = ending()
    driver.fail("b!undo", retry=False)
    driver.tell(FORCE, PAT)
    driver.heed("a!undo", "stop", "dropped")
    assert driver.outcome[2] == (
        "enough; `b` could not be undone: skill-error: no luck; "
        "not undone: `a`, as person.pat forced the end: nobody has it"
    )


def test_an_undoing_in_doubt_is_given_up_and_the_doubt_is_told() -> None:
    driver = ending()

    def begin(id: str) -> None:
        task = driver.node("b!undo").task
        driver.tell(Effect(task=task, instance="i1", id=id, key="refund", phase="begin"), "agent.ann")

    begin("t1")
    driver.fail("b!undo")
    driver.wait(1)
    begin("t2")
    assert driver.phase("b!undo") is Phase.ASKING
    driver.tell(FORCE, PAT)
    doubt = "it is not known whether `refund` happened"
    assert given_up(driver)["b!undo"] == f"attempt 2 at ann; a person was asked; {doubt}"
    assert driver.outcome[2].endswith("it is not known whether these effects happened: `refund of b!undo`")
    driver.tell(Resolve(path="b!undo", key="refund", verdict="done"), PAT)
    assert driver.run.effects["b!undo", "refund"].verdict == "done"


def test_an_effect_of_an_undoing_that_is_called_off_is_not_begun() -> None:
    driver = ending()
    driver.tell(FORCE, PAT)
    task = driver.node("b!undo").task
    driver.tell(Effect(task=task, instance="i1", id="t1", key="refund", phase="begin"), "agent.ann")
    ((_, answer),) = driver.last.orders
    assert isinstance(answer, EffectAnswer)
    assert answer.verdict == "stop"


def test_a_failing_run_stays_a_failed_one_and_is_not_tried_again() -> None:
    driver = Driver().start(CHAIN)
    driver.done("a", "A")
    driver.agents = []
    driver.fail("b", retry=False)
    driver.tell(FORCE, PAT)
    assert driver.outcome[0] == "failed"
    assert driver.outcome[2].endswith("not undone: `a`, as person.pat forced the end: nobody has it")
    assert driver.tell(Retry()) == ()
    assert driver.last.refused[0][1] == "the end of the run was forced by person.pat"


def test_a_paused_run_is_ended_too() -> None:
    driver = Driver().start(CHAIN)
    driver.done("a", "A")
    driver.tell(Pause())
    driver.tell(FORCE, PAT)
    driver.heed("b", "stop", "dropped")
    assert driver.run.finished is not None


def test_only_the_owner_and_people_may() -> None:
    driver = ending(offered=False)
    assert driver.tell(FORCE, "client.you") == ()
    assert "only they or a reviewer may cancel it" in driver.last.refused[0][1]
    assert driver.tell(FORCE, CLIENT) != ()


def test_what_else_is_missing_does_not_keep_it_from_ending() -> None:
    """The result that the undoing would look into is gone: what came before the order is not judged first."""
    undo = {"skill": "s.back", "with": {"text": "${{ output.n }} back"}}
    driver = Driver().start({"a": {"skill": "s.a", "undo": undo}, "b": {"skill": "s.b"}})
    driver.done("a", stored({"n": 5}))
    driver.tell(Cancel(why="enough"))
    stopped = Heed(task=driver.node("b").task, instance="i1", order="stop", how="stopped")
    driver.say(Said("agent.ann", stopped), Said(PAT, FORCE))
    assert given_up(driver) == {"a!undo": "it was not begun"}
    assert driver.run.finished is not None
    unforced = Driver(twin=False).start({"a": {"skill": "s.a", "undo": undo}, "b": {"skill": "s.b"}})
    unforced.done("a", stored({"n": 5}))
    unforced.tell(Cancel(why="enough"))
    with pytest.raises(NeedArtefacts):
        unforced.say(Said("agent.ann", stopped))


def test_many_steps_are_named_by_their_facts_not_by_the_last_words() -> None:
    each = {**undoable("s.a"), "for_each": {"items": "${{ inputs.items }}", "in_flight": 40}}
    driver = Driver().start(
        {"e": each, "z": {"skill": "s.z", "needs": ["e"]}},
        {"inputs": {"items": {"type": "array"}}},
        items=list(range(40)),
    )
    for index in range(40):
        driver.done(f"e[{index}]", index)
    driver.tell(FORCE, PAT)
    driver.heed("z", "stop", "stopped")
    assert len(given_up(driver)) == 40
    assert "`e[39]`, " in driver.outcome[2]
    assert "and 20 more, as person.pat" in driver.outcome[2]


def test_facts_that_do_not_fit_change_nothing() -> None:
    driver = Driver(twin=False).start(CHAIN)
    forced, up = Forced(by=PAT), GivenUp(path="b!undo", by=PAT)
    fact: Fact
    for fact in (forced, up):
        with pytest.raises(IllegalMove):
            apply(driver.run, fact, driver.now)
    driver = ending()
    (granted,) = (fact for fact in driver.last.facts if isinstance(fact, Granted))
    driver.tell(FORCE, PAT)
    again = granted.model_copy(update={"task": "9-0", "attempt": 2})
    waiting = Waiting(path="b!undo", skill="s.b-back")
    for fact in (forced, up, GivenUp(path="a!undo", by=PAT), again, waiting):
        with pytest.raises(IllegalMove):
            apply(driver.run, fact, driver.now)
    assert driver.phase("b!undo") is Phase.STOPPING


def test_the_portrait_and_a_readers_word_for_it() -> None:
    driver, standing = ending(), Standing()
    standing.take([Ending(state="cancelled", why="enough"), *driver.last.facts])
    assert standing.state == "undoing"
    standing.take(driver.tell(FORCE, PAT))
    assert standing.state == "cancelling"
    standing.take(driver.heed("b!undo", "stop", "stopped"))
    assert standing.state == "cancelled"
    made = portrait(driver.run)
    assert (made["forced"], made["given_up"]) == (PAT, ["b", "a"])
