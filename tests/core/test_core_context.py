"""Context writes: with a report, or while a task goes on."""

from __future__ import annotations

import random

import pytest
from driving import Driver, inline

from consort_orchestrator.core import Phase
from consort_shared.entries import Accepted, Failure, Refused, Written
from consort_shared.messages import Answer, Put, Write

STEPS = {"a": {"skill": "s.a", "retry": {"wait": 0}}, "b": {"skill": "s.b"}}


def write(key: str, value: object, seen: int | None = None) -> Write:
    return Write(key=key, output=inline(value), seen=seen)


@pytest.fixture
def driver() -> Driver:
    return Driver().start(STEPS)


def put(driver: Driver, path: str, number: str, what: Write) -> tuple[bool, int, str]:
    message = Put(task=driver.node(path).task, instance="i", id=number, write=what)
    driver.tell(message, "agent.ann")
    ((agent, order),) = driver.last.orders
    assert isinstance(order, Answer)
    assert (agent, order.task, order.id) == ("ann", message.task, number)
    return order.answer.accepted, order.answer.revision, order.answer.why


def test_writes_come_before_the_result_that_brings_them(driver: Driver) -> None:
    facts = driver.done("a", 1, write("k", "x"), write("l", "y"))
    assert [type(fact) for fact in facts] == [Written, Written, Accepted]
    assert {key: kept.revision for key, kept in driver.run.context.items()} == {"k": 1, "l": 1}


def test_a_conflict_refuses_the_result_and_the_step_is_done_again(driver: Driver) -> None:
    driver.done("b", 1, write("k", "b"))
    first = driver.node("a").task
    driver.done("a", 1, write("k", "a", seen=0))
    (failure,) = driver.facts(Failure)
    assert failure.kind == "context-conflict"
    assert failure.message == "context key `k` is at revision 1, the write builds on 0"
    assert driver.granted("a").trouble.startswith("context-conflict")
    assert driver.run.context["k"].output == inline("b")
    report = driver.node("a").task
    assert report != first
    driver.done("a", 1, write("k", "a", seen=1))
    assert driver.run.context["k"].revision == 2


def test_a_refused_result_said_again_is_no_news(driver: Driver) -> None:
    from consort_shared.messages import Done

    driver.done("b", 1, write("k", "b"))
    task = driver.node("a").task
    outcome = Done(output=inline(1), writes=(write("k", "a", seen=0),))
    assert driver.report("a", outcome)
    assert driver.report("a", outcome, task) == ()
    assert driver.phase("a") is Phase.GRANTED


def test_put_is_accepted_once(driver: Driver) -> None:
    assert put(driver, "a", "p1", write("k", "x", seen=0)) == (True, 1, "")
    assert driver.last.facts
    assert put(driver, "a", "p1", write("k", "x", seen=0)) == (True, 1, "")
    assert driver.last.facts == ()
    assert put(driver, "a", "p2", write("k", "y", seen=1)) == (True, 2, "")
    assert put(driver, "a", "p1", write("k", "x", seen=0)) == (True, 1, "")


def test_put_is_refused_on_an_old_revision_and_stays_refused(driver: Driver) -> None:
    put(driver, "a", "p1", write("k", "x"))
    why = "context key `k` is at revision 1, the write builds on 0"
    assert put(driver, "b", "p1", write("k", "y", seen=0)) == (False, 1, why)
    (refused,) = driver.facts(Refused)
    assert refused.what == "put"
    assert put(driver, "b", "p1", write("k", "y", seen=0)) == (False, 1, why)
    assert driver.last.facts == ()


def test_put_of_a_task_that_is_over(driver: Driver) -> None:
    driver.done("a")
    assert put(driver, "a", "p1", write("k", "x")) == (False, 0, "the task is over")
    assert driver.run.context == {}


def test_put_after_the_end_is_answered(driver: Driver) -> None:
    driver.done("a")
    driver.done("b")
    assert put(driver, "a", "p1", write("k", "x")) == (False, 0, "the task is over")
    assert driver.last.facts == ()


# --- two at a time


def counted(driver: Driver) -> int:
    kept = driver.run.context.get("count")
    return kept.output.value if kept is not None else 0


def read(driver: Driver) -> tuple[int, int]:
    """What an agent sees when it looks: the revision and the value."""
    kept = driver.run.context.get("count")
    return (kept.revision, kept.output.value) if kept is not None else (0, 0)


@pytest.mark.slow
def test_two_agents_that_put_to_one_key_lose_no_update() -> None:
    """S14, one half of 10,000 trials: each adds one to what it read, and reads again when it is refused."""
    rng = random.Random(14)
    driver = Driver(twin=False).start(STEPS)
    refused = 0
    for trial in range(5_000):
        views = {path: read(driver) for path in ("a", "b")}
        left = rng.sample(["a", "b"], 2)
        while left:
            path = left.pop(0)
            seen, value = views[path]
            accepted, _, _ = put(driver, path, f"p{trial}-{refused}", write("count", value + 1, seen=seen))
            if not accepted:
                refused += 1
                views[path] = read(driver)
                left.append(path)
        assert counted(driver) == 2 * (trial + 1)
    assert refused == 5_000


@pytest.mark.slow
def test_two_results_that_write_one_key_lose_no_update() -> None:
    """S14, the other half: the writes come with results, and the item whose result is refused is done again."""
    rng = random.Random(41)
    each = {"items": "${{ inputs.xs }}", "in_flight": 2}
    steps = {"e": {"skill": "s.a", "for_each": each, "retry": {"wait": 0, "attempts": 100}}}
    driver = Driver(twin=False).start(steps, {"inputs": {"xs": {}}}, xs=list(range(10_000)))
    in_hand, done, again = ["e[0]", "e[1]"], 0, 0
    for _ in range(5_000):
        views = {path: read(driver) for path in in_hand}
        for path in rng.sample(in_hand, len(in_hand)):
            seen, value = views[path]
            driver.done(path, value, write("count", value + 1, seen=seen))
            done += driver.phase(path) is Phase.DONE
            again += driver.phase(path) is Phase.GRANTED
        in_hand = list(driver.run.granted)
        assert counted(driver) == done
    assert done == again == 5_000
