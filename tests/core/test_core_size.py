"""Large runs stay quick: time per decision does not grow with the plan."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import pytest

from consort_orchestrator.core import Candidate, Run, Said, World, decide, fold, portrait
from consort_shared.entries import Entry, Granted
from consort_shared.messages import (
    Cancel,
    Done,
    Failed,
    Heed,
    Outcome,
    Output,
    Pause,
    Report,
    Resume,
    Retry,
    Submit,
)
from consort_shared.plan.model import Plan
from consort_shared.values import Json, digest

OUTPUT = Output(value={"x": 1}, digest=digest({"x": 1}))
DONE = Done(output=OUTPUT)
PATIENCE = 12.0
"""Seconds of work for a whole large run on a slow machine; a fast one takes a tenth. Quadratic work takes minutes."""


class Large:
    """A large run: tasks are reported first in, first out; its history is kept to be folded."""

    def __init__(self, steps: dict[str, Any], **inputs: Json) -> None:
        names: dict[str, Any] = {name: {} for name in inputs}
        self.run = Run("0" * 32)
        self.world = World(1.0, "abc", lambda skill: [Candidate("ann", 4)])
        self.at_work: deque[str] = deque()
        self.log: list[tuple[Entry, str]] = []
        plan = Plan.model_validate({"name": "large", "steps": steps, "inputs": names})
        self.tell(Said("client.me", Submit(plan=plan, inputs=inputs)))

    def tell(self, said: Said) -> None:
        run = self.run
        facts = decide(run, [said], self.world).facts
        entry = Entry(run=run.id, n=run.n + 1, at=1.0, writer="o", prev=run.chain, facts=facts)
        run.n, run.chain = entry.n, str(entry.n)
        self.log.append((entry, run.chain))
        self.at_work.extend(fact.task for fact in facts if isinstance(fact, Granted))
        assert run.next_due is not None or run.finished is not None or run.paused is not None

    def report(self, outcome: Outcome = DONE) -> None:
        self.tell(Said("agent.ann", Report(task=self.at_work.popleft(), instance="i", outcome=outcome)))

    def finish(self) -> str:
        """Carry out all that is left; how it ended, also according to the history."""
        while self.run.finished is None:
            self.report()
        folded = fold(Run(self.run.id), self.log)
        assert portrait(folded) == portrait(self.run)
        return self.run.finished.state


def ran(steps: dict[str, Any], **inputs: Json) -> float:
    """Seconds of work for a run from submission to end, and for folding its history."""
    begun = time.process_time()
    assert Large(steps, **inputs).finish() == "completed"
    return time.process_time() - begun


@pytest.mark.slow
def test_a_chain_of_5000() -> None:
    steps: dict[str, Any] = {"s0": {"skill": "s.a"}}
    for number in range(1, 5000):
        given = {"q": f"${{{{ steps.s{number - 1}.output.x }}}}"}
        steps[f"s{number}"] = {"skill": "s.a", "needs": [f"s{number - 1}"], "with": given}
    assert ran(steps) < PATIENCE


@pytest.mark.slow
def test_a_fan_of_5000_that_joins() -> None:
    steps: dict[str, Any] = {"first": {"skill": "s.a"}}
    for number in range(4998):
        steps[f"s{number}"] = {"skill": "s.a", "needs": ["first"], "with": {"q": "${{ steps.first.output }}"}}
    steps["last"] = {"skill": "s.a", "needs": [f"s{number}" for number in range(4998)]}
    assert ran(steps) < PATIENCE


@pytest.mark.slow
def test_2000_blocks_in_a_row() -> None:
    steps: dict[str, Any] = {}
    for number in range(2000):
        steps[f"b{number}"] = {"steps": {f"s{number}": {"skill": "s.a"}}}
        if number:
            steps[f"b{number}"]["needs"] = [f"b{number - 1}"]
    assert ran(steps) < PATIENCE


@pytest.mark.slow
def test_10000_items_of_which_many_at_once() -> None:
    step = {
        "skill": "s.a",
        "for_each": {"items": "${{ inputs.xs }}", "in_flight": 5000},
        "with": {"x": "${{ item }}"},
    }
    last = {"skill": "s.z", "needs": ["e"], "with": {"all": "${{ steps.e.output }}"}}
    assert ran({"e": step, "z": last}, xs=list(range(10_000))) < PATIENCE


@pytest.mark.slow
def test_5000_items_a_few_at_a_time() -> None:
    step = {"skill": "s.a", "for_each": {"items": "${{ inputs.xs }}"}, "with": {"x": "${{ item }}"}}
    assert ran({"e": step}, xs=list(range(5000))) < PATIENCE


EACH = {
    "skill": "s.a",
    "for_each": {"items": "${{ inputs.xs }}", "in_flight": 5000},
    "retry": {"attempts": 1},
    "undo": {"skill": "s.back", "with": {"x": "${{ item }}"}},
}


@pytest.mark.slow
def test_5000_items_called_off_and_undone() -> None:
    """Half of them are done and undone, the others are called off."""
    begun = time.process_time()
    large = Large({"e": EACH}, xs=list(range(5000)))
    for _ in range(2500):
        large.report()
    large.tell(Said("client.me", Cancel()))
    for task in list(large.at_work):
        large.tell(Said("agent.ann", Heed(task=task, instance="i", order="stop", how="dropped")))
        large.at_work.popleft()
    assert large.finish() == "cancelled"
    assert large.run.finished is not None
    assert large.run.finished.why.endswith("2500 steps undone")
    assert time.process_time() - begun < PATIENCE


@pytest.mark.slow
def test_5000_items_of_which_many_fail_in_a_pause_and_are_tried_again() -> None:
    begun = time.process_time()
    each = {"items": "${{ inputs.xs }}", "in_flight": 3000}
    large = Large({"e": {"skill": "s.a", "retry": {"attempts": 1}, "for_each": each}}, xs=list(range(5000)))
    large.tell(Said("client.me", Pause()))
    for number in range(2999):
        large.report(Failed(kind="k", message="m") if number % 2 else DONE)
    large.tell(Said("client.me", Retry()))
    assert len(large.at_work) == 1
    large.tell(Said("client.me", Resume()))
    assert len(large.at_work) == 3000
    assert large.finish() == "completed"
    assert time.process_time() - begun < PATIENCE
