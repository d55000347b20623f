"""The surveyor: who has what, and what nobody has.

Skill `analyse.gaps`. With a model it also says what the counts mean.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from consort_agents import Agent, Context
from consort_agents.specialists.coverage import Coverage, coverage_of
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.interpreting import Statement, numbered_coverage, statements_on
from consort_agents.specialists.pictures import ChartRef, coverage_charts, stored
from consort_agents.specialists.with_model import thought

agent = Agent(
    "surveyor",
    version="1.1",
    description="Counts matrices of who has what: coverage by entity and group, and what nobody has in full.",
    slots=2,
    profile="profiles/surveyor.toml",
)


class GapsRequest(BaseModel):
    """The facts to look at."""

    facts: Facts


class GapsFound(BaseModel):
    """Every matrix counted, and the charts."""

    coverage: list[Coverage]
    charts: list[ChartRef]
    statements: list[Statement] = Field(default_factory=list, description="what it means, as a model sees it")
    dropped: list[str] = Field(default_factory=list, description="statements that did not hold, and why")
    without_model: str = Field(default="", description="why a model that is configured stated nothing")


@agent.skill("analyse.gaps")
def find_gaps(request: GapsRequest, ctx: Context) -> GapsFound:
    """Counts every matrix by entity, by group and by item, and draws it."""
    coverage = [coverage_of(request.facts, matrix) for matrix in request.facts.matrices]
    ctx.progress(f"counted {len(coverage)} tables of who has what; drawing")
    charts = stored(coverage_charts(coverage), ctx)
    found = thought(
        ctx, "what it means", lambda: statements_on(numbered_coverage(coverage), request.facts, ctx)
    )
    statements, dropped = found.value or ([], [])
    return GapsFound(
        coverage=coverage,
        charts=charts,
        statements=statements,
        dropped=dropped,
        without_model=found.trouble,
    )
