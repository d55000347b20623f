"""The surveyor: who has what, and what nobody has.

Skill `analyse.gaps`.
"""

from __future__ import annotations

from pydantic import BaseModel

from consort_agents import Agent, Context
from consort_agents.specialists.coverage import Coverage, coverage_of
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.pictures import ChartRef, coverage_charts, stored

agent = Agent(
    "surveyor",
    version="1.0",
    description="Counts matrices of who has what: coverage by entity and group, and what nobody has in full.",
    slots=2,
)


class GapsRequest(BaseModel):
    """The facts to look at."""

    facts: Facts


class GapsFound(BaseModel):
    """Every matrix counted, and the charts."""

    coverage: list[Coverage]
    charts: list[ChartRef]


@agent.skill("analyse.gaps")
def find_gaps(request: GapsRequest, ctx: Context) -> GapsFound:
    """Counts every matrix by entity, by group and by item, and draws it."""
    coverage = [coverage_of(request.facts, matrix) for matrix in request.facts.matrices]
    ctx.progress(f"counted {len(coverage)} tables of who has what; drawing")
    return GapsFound(coverage=coverage, charts=stored(coverage_charts(coverage), ctx))
