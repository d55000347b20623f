"""Large runs stay quick: time per decision does not grow with the plan."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import pytest

from consort_orchestrator.core import Candidate, Run, Said, World, decide
from consort_shared.entries import Granted
from consort_shared.messages import Done, Output, Report, Submit
from consort_shared.plan.model import Plan
from consort_shared.values import Json, digest

PATIENCE = 12.0
"""Seconds for a whole large run on a busy machine; a quiet one takes a tenth. Quadratic work takes minutes."""


def ran(steps: dict[str, Any], **inputs: Json) -> float:
    """Seconds for a run from submission to end, first in first out."""
    names: dict[str, Any] = {name: {} for name in inputs}
    plan = Plan.model_validate({"name": "large", "steps": steps, "inputs": names})
    run, world = Run("0" * 32), World(1.0, "abc", lambda skill: [Candidate("ann", 4)])
    output = Output(value={"x": 1}, digest=digest({"x": 1}))
    at_work: deque[str] = deque()
    begun = time.perf_counter()
    said = Said("client.me", Submit(plan=plan, inputs=inputs))
    while run.finished is None:
        facts = decide(run, [said], world).facts
        run.n += 1
        at_work.extend(fact.task for fact in facts if isinstance(fact, Granted))
        assert run.next_due is not None or run.finished is not None
        if at_work:
            report = Report(task=at_work.popleft(), instance="i", outcome=Done(output=output))
            said = Said("agent.ann", report)
    assert run.finished.state == "completed", run.finished.why
    return time.perf_counter() - begun


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
