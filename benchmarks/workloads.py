"""The three workloads, as plans for Consort and as stages for the bare loop.

`chain` is ten steps in sequence, one run at a time: the time of a hand-off. `fan` is one
step, then twenty at once, then one, with sixteen runs in flight. `many` is one-step runs
handed in as fast as possible.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from consort_shared.plan.model import Plan

RESULT_BYTES = 1024
TEXT = "0123456789abcdef" * (RESULT_BYTES // 16)
"""What each run is given and each step gives on."""
SKILL, JOIN_SKILL = "bench.pass", "bench.join"
AGENT, BARE_AGENT = "bench", "bare"
SLOTS = 64
"""Tasks that the agent's process works on at a time, in either loop."""
FAN = 20


@dataclass(frozen=True, slots=True)
class Workload:
    """Runs of one plan; at most `in_flight` at a time."""

    name: str
    plan: Plan
    stages: tuple[tuple[str, int], ...]
    """steps of the plan that follow each other, each with how many tasks it makes"""
    runs: int
    in_flight: int
    warm_up: int

    @property
    def steps(self) -> int:
        """Tasks per run."""
        return sum(width for _, width in self.stages)


def _chain(length: int) -> Plan:
    steps: dict[str, Any] = {"s1": {"skill": SKILL, "with": {"text": "${{ inputs.text }}"}}}
    for at in range(2, length + 1):
        before = f"s{at - 1}"
        steps[f"s{at}"] = {
            "skill": SKILL,
            "needs": [before],
            "with": {"text": f"${{{{ steps.{before}.output }}}}"},
        }
    return _plan("chain", steps)


def _fan(width: int) -> Plan:
    each = {"items": list(range(width)), "in_flight": width}
    steps: dict[str, Any] = {
        "first": {"skill": SKILL, "with": {"text": "${{ inputs.text }}"}},
        "each": {
            "skill": SKILL,
            "needs": ["first"],
            "for_each": each,
            "with": {"text": "${{ steps.first.output }}"},
        },
        "last": {"skill": JOIN_SKILL, "needs": ["each"], "with": {"texts": "${{ steps.each.output }}"}},
    }
    return _plan("fan", steps)


def _plan(name: str, steps: dict[str, Any]) -> Plan:
    return Plan.model_validate({"name": name, "inputs": {"text": {"type": "string"}}, "steps": steps})


CHAIN = Workload("chain", _chain(10), tuple((f"s{at}", 1) for at in range(1, 11)), 60, 1, 5)
FAN_OUT = Workload("fan", _fan(FAN), (("first", 1), ("each", FAN), ("last", 1)), 200, 16, 4)
MANY = Workload("many", _chain(1), (("s1", 1),), 2000, 2000, 20)


def workloads(quick: bool) -> tuple[Workload, ...]:
    """All three; for a quick look with fewer runs."""
    if not quick:
        return CHAIN, FAN_OUT, MANY
    return replace(CHAIN, runs=20), replace(FAN_OUT, runs=50), replace(MANY, runs=500)
