"""Legal moves happen, every other leaves the run as it was."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
from driving import Driver, inline, make_plan

from consort_orchestrator.core import LEGAL, REOPENS, IllegalMove, Node, Phase, Run, apply
from consort_shared.entries import (
    Accepted,
    Closed,
    Doubted,
    EffectBegun,
    EffectSettled,
    Ending,
    Entry,
    Extended,
    Fact,
    Failure,
    Finished,
    Granted,
    Heeded,
    Held,
    Noted,
    Opened,
    Paused,
    Redriven,
    Refused,
    Reopened,
    Resumed,
    Shared,
    Skipped,
    Submitted,
    Waiting,
)

OF_TASKS = {Phase.HELD, Phase.WAITING, Phase.GRANTED, Phase.BACKOFF, Phase.ASKING, Phase.STOPPING}
PAIRS = list(itertools.product(Phase, Phase))
PLAN = make_plan(
    {
        "a": {"skill": "s.a"},
        "b": {"skill": "s.a"},
        "block": {"steps": {"inner": {"skill": "s.a"}}},
        "each": {"skill": "s.a", "for_each": {"items": [1, 2]}},
        "loop": {"skill": "s.a", "repeat": {"until": "output == 1", "max": 3}},
    }
)


def a_run() -> Run:
    run = Run("0" * 32)
    apply(run, Submitted(client="client.me", plan=PLAN, inputs={}, goal=""), 1.0)
    apply(run, granted("b", "9-9"), 1.0)
    apply(run, Accepted(path="b", task="9-9", agent="ann", instance="i", output=inline(1)), 1.0)
    return run


def granted(path: str, task: str = "1-0") -> Granted:
    return Granted(path=path, task=task, attempt=1, agent="ann", skill="s.a", deadline=9.0, nonce="n")


def failure(path: str, retry_at: float | None) -> Failure:
    return Failure(path=path, task="1-0", agent="ann", kind="k", message="m", retry_at=retry_at)


def begun(path: str, task: str = "1-0", number: str = "e1") -> EffectBegun:
    return EffectBegun(path=path, key="k", task=task, agent="ann", instance="i", id=number)


def doubted(path: str, task: str = "1-0") -> Doubted:
    return Doubted(path=path, key="k", task=task, agent="ann", why="nobody knows")


def put_in(run: Run, phase: Phase, path: str) -> Node:
    """An instance brought into a phase by facts alone."""
    ways: dict[Phase, list[Fact]] = {
        Phase.PENDING: [],
        Phase.HELD: [Held(path=path, key="k", source="b")],
        Phase.WAITING: [Waiting(path=path, skill="s.a")],
        Phase.GRANTED: [granted(path), begun(path)],
        Phase.ASKING: [granted(path), begun(path), doubted(path)],
        Phase.STOPPING: [granted(path), Ending(state="cancelled", why="no")],
        Phase.BACKOFF: [granted(path), failure(path, 5.0)],
        Phase.OPEN: [Opened(path=path)],
        Phase.DONE: [
            Closed(path=path, done=True) if path == "block" else Shared(path=path, source="b", key="k")
        ],
        Phase.FAILED: [Closed(path=path, done=False, why="no")],
        Phase.SKIPPED: [Skipped(path=path, why="no")],
        Phase.CANCELLED: [Finished(state="cancelled")],
    }
    for fact in ways[phase]:
        apply(run, fact, 1.0)
    assert run.nodes[path].phase is phase
    return run.nodes[path]


def mover(to: Phase, node: Node) -> Fact | None:
    """A fact that would move the instance there; None when a phase is the beginning only."""
    path = node.path
    facts: dict[Phase, Callable[[], Fact]] = {
        Phase.HELD: lambda: Held(path=path, key="k", source="b"),
        Phase.WAITING: lambda: Waiting(path=path, skill="s.a"),
        Phase.GRANTED: lambda: granted(path, "1-1"),
        Phase.BACKOFF: lambda: failure(path, 5.0),
        Phase.ASKING: lambda: doubted(path),
        Phase.STOPPING: lambda: Ending(state="cancelled", why="no"),
        Phase.OPEN: lambda: Opened(path=path),
        Phase.FAILED: lambda: Closed(path=path, done=False),
        Phase.SKIPPED: lambda: Skipped(path=path, why="no"),
        Phase.CANCELLED: lambda: Finished(state="cancelled"),
    }
    if node.phase is Phase.ASKING and to is Phase.BACKOFF:
        return EffectSettled(path=path, key="k", verdict="undone", by="person.pat")
    if to is Phase.DONE:
        if node.phase in (Phase.GRANTED, Phase.STOPPING):
            return Accepted(path=path, task="1-0", agent="ann", instance="i", output=inline(1))
        if path == "block":
            return Closed(path=path, done=True)
        return Shared(path=path, source="b", key="k")
    return facts[to]() if to in facts else None


@pytest.mark.parametrize(("before", "to"), PAIRS, ids=lambda phase: phase.value)
def test_every_pair(before: Phase, to: Phase) -> None:
    run = a_run()
    block = Phase.OPEN in (before, to) and before not in OF_TASKS
    node = put_in(run, before, "block" if block else "a")
    fact = mover(to, node)
    if fact is None:
        assert all(to not in following for following in LEGAL.values())
        return
    if to in LEGAL[before]:
        apply(run, fact, 2.0)
        assert node.phase is to
        return
    if before.ended and before is not Phase.CANCELLED and to is Phase.CANCELLED:
        apply(run, fact, 2.0)  # the run may be cancelled, what has ended stays as it is
        assert node.phase is before
        return
    if to is Phase.STOPPING and before not in (Phase.CANCELLED, Phase.STOPPING):
        apply(run, fact, 2.0)  # likewise, and whatever is in nobody's hands is cancelled at once
        assert node.phase is (before if before.ended else Phase.CANCELLED)
        return
    kept = copy.deepcopy(run)
    with pytest.raises(IllegalMove):
        apply(run, fact, 2.0)
    assert run == kept


@pytest.mark.parametrize(
    "fact",
    [
        Submitted(client="client.me", plan=PLAN),
        granted("nowhere"),
        granted("block"),
        granted("each"),
        granted("each[0]"),
        Accepted(path="a", task="1-0", agent="ann", instance="i", output=inline(1)),
        Accepted(path="nowhere", task="1-0", agent="ann", instance="i", output=inline(1)),
        failure("a", 3.0),
        failure("b", None),
        Opened(path="a"),
        Opened(path="loop[1]"),
        Closed(path="a", done=True),
        Skipped(path="loop[1]", why=""),
        Shared(path="a", source="each", key="k"),
        Shared(path="a", source="nowhere", key="k"),
        Noted(path="a", task="1-0", agent="ann", text="half"),
        Extended(path="a", task="1-0", deadline=9.0, why="paused"),
        begun("a"),
        begun("b", "9-9"),
        doubted("a"),
        EffectSettled(path="b", key="k", verdict="done", by="9-9"),
        Heeded(path="a", task="1-0", agent="ann", order="stop", how="stopped"),
        Heeded(path="nowhere", task="9-9", agent="ann", order="stop", how="stopped"),
        Resumed(by="client.me"),
        Reopened(path="a", by="client.me"),
        Reopened(path="b", by="client.me"),
        Reopened(path="nowhere", by="client.me"),
        granted("b!undo"),
        Waiting(path="b!undo", skill="s.a"),
    ],
    ids=lambda fact: f"{fact.fact} {getattr(fact, 'path', '')}",
)
def test_facts_that_do_not_fit(fact: Fact) -> None:
    run = a_run()
    kept = copy.deepcopy(run)
    with pytest.raises(IllegalMove):
        apply(run, fact, 2.0)
    assert run == kept


def test_items_and_iterations_come_in_order() -> None:
    run = a_run()
    apply(run, Opened(path="each", items=(1, 2)), 1.0)
    apply(run, Opened(path="loop"), 1.0)
    for wrong in ("each[1]", "each[x]", "loop[0]", "loop[2]"):
        kept = copy.deepcopy(run)
        with pytest.raises(IllegalMove):
            apply(run, granted(wrong), 1.0)
        assert run == kept
    for number, right in enumerate(("each[0]", "each[1]", "loop[1]", "loop[2]")):
        apply(run, granted(right, f"1-{number}"), 1.0)
    with pytest.raises(IllegalMove):
        apply(run, granted("each[2]"), 1.0)


def test_a_result_of_an_old_attempt_does_not_fit() -> None:
    run = a_run()
    for fact in (granted("a"), failure("a", 5.0), granted("a", "2-0")):
        apply(run, fact, 1.0)
    with pytest.raises(IllegalMove):
        apply(run, Accepted(path="a", task="1-0", agent="ann", instance="i", output=inline(1)), 2.0)


def test_after_the_end_only_refusals() -> None:
    run = a_run()
    apply(run, Finished(state="cancelled"), 1.0)
    after: list[Fact] = [granted("a"), Finished(state="failed"), Opened(path="block"), begun("a")]
    after += [Paused(by="client.me"), Ending(state="failed", why=""), Reopened(path="b", by="client.me")]
    after += [Submitted(client="client.me", plan=PLAN)]
    for fact in after:
        with pytest.raises(IllegalMove):
            apply(run, fact, 1.0)
    apply(run, Refused(what="log", sender="log", why="foreign", seq=7), 1.0)
    assert run.set_aside == {7}
    apply(run, Redriven(letter=3, by="person.pat"), 1.0)
    with pytest.raises(IllegalMove):
        apply(run, Redriven(letter=3, by="person.pat"), 1.0)


def test_nothing_is_granted_while_paused_and_no_pause_is_twice() -> None:
    run = a_run()
    apply(run, Paused(by="client.me"), 1.0)
    for fact in (granted("a"), Paused(by="client.me")):
        kept = copy.deepcopy(run)
        with pytest.raises(IllegalMove):
            apply(run, fact, 1.0)
        assert run == kept


@pytest.mark.parametrize(
    ("before", "to"), [(b, t) for b, ts in REOPENS.items() for t in sorted(ts, key=lambda phase: phase.value)]
)
def test_only_what_failed_or_was_skipped_is_ever_opened_again(before: Phase, to: Phase) -> None:
    assert before in (Phase.FAILED, Phase.SKIPPED)
    assert to not in LEGAL[before]


def test_fold_refuses_gaps() -> None:
    from consort_orchestrator.core import fold

    entry = Entry(run="0" * 32, n=2, at=1.0, writer="o", facts=())
    with pytest.raises(ValueError, match="does not follow"):
        fold(Run("0" * 32), [(entry, "d")])


def test_the_earliest_alarm_is_known_and_old_ones_are_cleared_out() -> None:
    driver = Driver().start({f"s{i}": {"skill": "s.a", "timeout": 900 - i} for i in range(600)})
    assert driver.run.next_due == driver.now + 900 - 599
    for i in reversed(range(1, 600)):
        driver.done(f"s{i}")
        assert driver.run.next_due == driver.now + 900 - (i - 1)
    assert len(driver.run.alarms) < 600
    driver.done("s0")
    assert driver.run.next_due is None
