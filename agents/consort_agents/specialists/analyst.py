"""The analyst: who is ahead and what is changing, in figures and charts.

Skill `analyse.trends`.
"""

from __future__ import annotations

from pydantic import BaseModel

from consort_agents import Agent, Context
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.findings import Trends
from consort_agents.specialists.pictures import ChartRef, stored, trend_charts
from consort_agents.specialists.trends import trends_of

agent = Agent(
    "analyst",
    version="1.0",
    description="Finds leaders, spread, freshness, concentration and growth in the tables of the facts.",
    slots=2,
)


class TrendsRequest(BaseModel):
    """The facts to look at."""

    facts: Facts


class TrendsFound(BaseModel):
    """The findings and their charts."""

    trends: Trends
    charts: list[ChartRef]


@agent.skill("analyse.trends")
def find_trends(request: TrendsRequest, ctx: Context) -> TrendsFound:
    """Counts leaders, spread, freshness, concentration and growth, and draws them."""
    trends = trends_of(request.facts)
    ctx.progress("counted; drawing")
    return TrendsFound(trends=trends, charts=stored(trend_charts(trends), ctx))
