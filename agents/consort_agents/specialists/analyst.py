"""The analyst: who is ahead and what is changing, in figures and charts.

Skill `analyse.trends`. With a model it also says what the findings mean.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from consort_agents import Agent, Context
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.findings import Trends
from consort_agents.specialists.interpreting import Statement, numbered_trends, statements_on
from consort_agents.specialists.pictures import ChartRef, stored, trend_charts
from consort_agents.specialists.trends import trends_of
from consort_agents.specialists.with_model import thought

agent = Agent(
    "analyst",
    version="1.1",
    description="Finds leaders, spread, freshness, concentration and growth in the tables of the facts.",
    slots=2,
    profile="profiles/analyst.toml",
)


class TrendsRequest(BaseModel):
    """The facts to look at."""

    facts: Facts


class TrendsFound(BaseModel):
    """The findings and their charts."""

    trends: Trends
    charts: list[ChartRef]
    statements: list[Statement] = Field(default_factory=list, description="what it means, as a model sees it")
    dropped: list[str] = Field(default_factory=list, description="statements that did not hold, and why")
    without_model: str = Field(default="", description="why a model that is configured stated nothing")


@agent.skill("analyse.trends")
def find_trends(request: TrendsRequest, ctx: Context) -> TrendsFound:
    """Counts leaders, spread, freshness, concentration and growth, and draws them."""
    trends = trends_of(request.facts)
    ctx.progress("counted; drawing")
    charts = stored(trend_charts(trends), ctx)
    found = thought(ctx, "what it means", lambda: statements_on(numbered_trends(trends), request.facts, ctx))
    statements, dropped = found.value or ([], [])
    return TrendsFound(
        trends=trends,
        charts=charts,
        statements=statements,
        dropped=dropped,
        without_model=found.trouble,
    )
