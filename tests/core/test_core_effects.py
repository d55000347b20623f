"""The ledger of effects: done once, and when nobody knows, the author's choice or a person's answer."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import pytest
from driving import Driver, inline

from consort_orchestrator.core import Phase
from consort_shared.entries import Doubted, EffectBegun, EffectSettled, Granted, Refused
from consort_shared.messages import Cancel, Done, Effect, EffectAnswer, Output, Pause, Resolve, Resume
from consort_shared.values import INLINE_LIMIT, Json

Said: TypeAlias = Literal["begin", "done", "undone"]
Unknown: TypeAlias = Literal["ask", "redo", "done"]
ONE: dict[str, Any] = {"a": {"skill": "s.a", "timeout": 10, "retry": {"wait": 0}}}
KEY = "charge-card"


def say(
    driver: Driver,
    number: str,
    phase: Said,
    *,
    task: str = "",
    path: str = "a",
    output: Output | None = None,
    unknown: Unknown = "ask",
) -> str:
    """Say something of an effect; the answer to a begin."""
    node = driver.node(path)
    message = Effect(
        task=task or node.task,
        instance="i1",
        id=number,
        key=KEY,
        phase=phase,
        output=output,
        unknown=unknown,
    )
    driver.tell(message, f"agent.{node.agent}")
    answers = [(agent, order) for agent, order in driver.last.orders if isinstance(order, EffectAnswer)]
    if phase != "begin":
        assert answers == []
        return ""
    ((agent, answer),) = answers
    assert (agent, answer.task, answer.id) == (node.agent, message.task, number)
    return answer.verdict


@pytest.fixture
def driver() -> Driver:
    return Driver().start(ONE)


def dies(driver: Driver) -> str:
    """The attempt begins its effect and is never heard of again; the task that it was."""
    task = driver.node("a").task
    assert say(driver, "e1", "begin") == "do"
    driver.wait(10)
    assert driver.node("a").task != task
    return task


def in_doubt(driver: Driver) -> str:
    task = dies(driver)
    assert say(driver, "e2", "begin") == "ask"
    assert driver.phase("a") is Phase.ASKING
    return task


def resolve(driver: Driver, verdict: Literal["done", "redo"], value: Json = None, path: str = "a") -> str:
    """A person's answer; why it is refused, if it is."""
    driver.tell(Resolve(path=path, key=KEY, verdict=verdict, value=value), "person.pat")
    return "".join(why for _, why in driver.last.refused)


def test_an_effect_is_begun_and_done(driver: Driver) -> None:
    assert say(driver, "e1", "begin") == "do"
    assert [type(fact) for fact in driver.last.facts] == [EffectBegun]
    assert say(driver, "e1", "begin") == "do"
    assert driver.last.facts == ()
    say(driver, "e1", "done", output=inline(7))
    assert [type(fact) for fact in driver.last.facts] == [EffectSettled]
    say(driver, "e1", "done", output=inline(7))
    assert driver.last.facts == ()
    assert say(driver, "e2", "begin") == "done"
    (answer,) = [order for _, order in driver.last.orders if isinstance(order, EffectAnswer)]
    assert answer.output == inline(7)


def test_another_attempt_does_not_do_it_again(driver: Driver) -> None:
    assert say(driver, "e1", "begin") == "do"
    say(driver, "e1", "done", output=inline(7))
    driver.fail("a")
    assert say(driver, "e2", "begin") == "done"
    assert driver.last.facts == ()


def test_what_surely_did_not_happen_may_be_tried_again(driver: Driver) -> None:
    say(driver, "e1", "begin")
    say(driver, "e1", "undone")
    assert say(driver, "e2", "begin") == "do"
    assert [type(fact) for fact in driver.last.facts] == [EffectBegun]


def test_an_attempt_that_is_over_does_nothing_any_more(driver: Driver) -> None:
    task = driver.node("a").task
    driver.fail("a")
    assert say(driver, "e1", "begin", task=task) == "stop"
    driver.tell(Cancel())
    assert say(driver, "e2", "begin") == "stop"
    driver.heed("a", "stop", "stopped")
    assert say(driver, "e3", "begin") == "stop"
    assert driver.last.facts == ()


def test_the_author_may_have_it_done_again(driver: Driver) -> None:
    dies(driver)
    assert say(driver, "e2", "begin", unknown="redo") == "do"
    assert driver.run.effects["a", KEY].id == "e2"


def test_the_author_may_take_it_for_done(driver: Driver) -> None:
    dies(driver)
    assert say(driver, "e2", "begin", unknown="done") == "done"
    (settled,) = driver.facts(EffectSettled)
    assert (settled.verdict, settled.output, settled.by) == ("done", None, driver.node("a").task)


def test_otherwise_a_person_is_asked_and_the_attempt_ends(driver: Driver) -> None:
    first = in_doubt(driver)
    (doubted,) = driver.facts(Doubted)
    assert doubted.why == f"`{KEY}` was begun by ann as task {first}, and nothing is known of its end"
    assert driver.run.next_due is None
    assert say(driver, "e2", "begin") == "stop"
    driver.done("a", 1)
    assert driver.phase("a") is Phase.ASKING


def test_done_says_the_person_and_the_next_attempt_is_told(driver: Driver) -> None:
    in_doubt(driver)
    counted = driver.node("a").counted
    assert resolve(driver, "done", {"receipt": 7}) == ""
    granted = driver.granted("a")
    assert granted.attempt == 3
    assert driver.node("a").counted == counted
    assert say(driver, "e3", "begin") == "done"
    assert driver.run.effects["a", KEY].output == inline({"receipt": 7})
    assert driver.run.effects["a", KEY].by == "person.pat"


def test_redo_says_the_person_and_the_next_attempt_does_it(driver: Driver) -> None:
    in_doubt(driver)
    assert resolve(driver, "redo") == ""
    assert driver.at_work == ["a"]
    assert say(driver, "e3", "begin") == "do"
    say(driver, "e3", "done")
    driver.done("a", 1)
    assert driver.outcome[0] == "completed"


def test_a_late_word_of_the_first_try_settles_it(driver: Driver) -> None:
    first = in_doubt(driver)
    say(driver, "e1", "done", task=first, output=inline(7))
    assert [type(fact) for fact in driver.last.facts] == [EffectSettled, Granted]
    assert say(driver, "e3", "begin") == "done"


def test_a_late_word_knows_better_than_a_person(driver: Driver) -> None:
    first = in_doubt(driver)
    driver.agents = []
    resolve(driver, "redo")
    say(driver, "e1", "done", task=first, output=inline(7))
    assert driver.run.effects["a", KEY].verdict == "done"


def test_a_word_of_a_try_that_another_has_replaced_is_refused_once(driver: Driver) -> None:
    first = dies(driver)
    say(driver, "e2", "begin", unknown="redo")
    say(driver, "e1", "done", task=first)
    (refused,) = driver.facts(Refused)
    assert (refused.what, refused.task) == ("effect", first)
    say(driver, "e1", "done", task=first)
    assert driver.last.facts == ()
    assert driver.run.effects["a", KEY].open


def test_a_question_that_comes_late_is_not_another_try(driver: Driver) -> None:
    task = driver.node("a").task
    say(driver, "e1", "begin", unknown="redo")
    assert say(driver, "e2", "begin", unknown="redo") == "do"
    assert say(driver, "e1", "begin", unknown="redo") == "stop"
    say(driver, "e2", "undone")
    assert say(driver, "e2", "begin") == "stop"
    assert say(driver, "e3", "begin", task=task) == "do"
    say(driver, "e1", "undone")
    assert driver.last.facts == ()


def test_it_is_settled_after_the_end_too(driver: Driver) -> None:
    task = driver.node("a").task
    say(driver, "e1", "begin")
    driver.tell(Cancel(why="enough"))
    driver.wait(5)
    assert driver.outcome[2] == f"enough; it is not known whether these effects happened: `{KEY} of a`"
    say(driver, "e1", "done", task=task)
    assert driver.run.effects["a", KEY].verdict == "done"
    assert resolve(driver, "redo") == f"the effect `{KEY}` of `a` is settled: done, says {task}"


def test_a_doubt_is_told_at_the_end_and_answered_after_it(driver: Driver) -> None:
    in_doubt(driver)
    driver.tell(Cancel(why="enough"))
    assert driver.outcome[2].startswith("enough; it is not known")
    assert resolve(driver, "done", 1) == ""
    assert resolve(driver, "done", 1) == ""
    assert driver.last.facts == ()


def test_answers_that_cannot_be_are_refused(driver: Driver) -> None:
    assert resolve(driver, "done") == f"`a` has no effect `{KEY}`; it has begun none"
    in_doubt(driver)
    assert resolve(driver, "redo", path="b") == f"`b` has no effect `{KEY}`; it has begun none"
    assert resolve(driver, "done", "x" * INLINE_LIMIT).startswith("the value has 65538 bytes")
    assert resolve(driver, "done", float("nan")).startswith("the value is not JSON")
    assert driver.last.facts == ()
    driver.tell(Resolve(path="a", key="another", verdict="done"), "client.me")
    assert driver.last.refused[0][1] == f"`a` has no effect `another`; it has `{KEY}`"
    driver.tell(Resolve(path="a", key=KEY, verdict="done"), "client.you")
    assert "only they or a reviewer may settle its effects" in driver.last.refused[0][1]


def test_a_paused_run_lets_a_task_go_on_and_gives_out_no_new_one(driver: Driver) -> None:
    driver.tell(Pause())
    assert say(driver, "e1", "begin") == "do"
    driver.tell(Resume())
    driver.wait(10)
    assert say(driver, "e2", "begin") == "ask"
    driver.tell(Pause())
    resolve(driver, "redo")
    assert driver.facts(Granted) == []
    driver.wait(5)
    driver.tell(Resume())
    assert driver.at_work == ["a"]


def test_an_undoing_task_has_effects_of_its_own() -> None:
    driver = Driver().start({"a": {"skill": "s.a", "undo": {"skill": "s.back"}}, "b": {"skill": "s.b"}})
    driver.done("a")
    driver.fail("b", retry=False)
    assert say(driver, "e1", "begin", path="a!undo") == "do"
    say(driver, "e1", "done", path="a!undo")
    driver.report("a!undo", Done(output=inline(1)))
    assert driver.run.effects["a!undo", KEY].verdict == "done"
    assert driver.outcome[2].endswith("1 step undone")
