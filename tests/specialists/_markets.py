"""The two example markets and the questions asked of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from consort_agents.specialists.coverage import coverage_of
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.material import Material
from consort_agents.specialists.trends import trends_of

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = (
    "Which agent-orchestration systems lead, where is the market moving, and what does none of them do well?"
)
COFFEE = "Which roasters lead, where is the market moving, and what does none of them do well?"

MakeFolder = Callable[..., Path]


def material_of(facts: Facts) -> Material:
    """What the writer is given."""
    return Material(facts, trends_of(facts), [coverage_of(facts, matrix) for matrix in facts.matrices])
