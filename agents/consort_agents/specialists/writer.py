"""The writer: a report that answers the question, every figure with its source.

Skill `write.report`. Given problems with an earlier draft, it mends that draft.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from consort_agents import Agent, Context
from consort_agents.specialists.coverage import Coverage
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.findings import Trends
from consort_agents.specialists.material import Material, Picture
from consort_agents.specialists.pictures import ChartRef
from consort_agents.specialists.problems import Problem
from consort_agents.specialists.writing import key_figures, write_report
from consort_shared.values import ArtefactRef, Json

agent = Agent(
    "writer",
    version="1.0",
    description="Writes a Markdown report from facts and findings and mends it where a check found faults.",
    slots=2,
)


class WriteRequest(BaseModel):
    """What to write from. `draft` and `problems` are null at first, then from the iteration before."""

    facts: Facts
    trends: Trends = Trends()
    coverage: list[Coverage] = Field(default_factory=list)
    charts: list[ChartRef] = Field(default_factory=list)
    draft: str | None = None
    problems: list[Problem] | None = None


class Written(BaseModel):
    """The report, the pictures it shows, and a few key figures."""

    report: str = Field(description="Markdown")
    artefacts: list[ArtefactRef]
    summary: dict[str, Json]
    changes: list[str] = Field(description="what was corrected or dropped since the last draft")


@agent.skill("write.report")
def write(request: WriteRequest, ctx: Context) -> Written:
    """Writes a report whose every figure names its source, or mends the one before."""
    pictures = [Picture(c.artefact.name, c.alt, c.topic) for c in request.charts]
    material = Material(request.facts, request.trends, request.coverage, pictures)
    written = write_report(material, request.draft, request.problems or ())
    if written.changes:
        ctx.log.info("the draft is mended, %d changes", len(written.changes))
    shown = [c.artefact for c in request.charts if f"]({c.artefact.name})" in written.markdown]
    return Written(
        report=written.markdown, artefacts=shown, summary=key_figures(material), changes=list(written.changes)
    )
