"""The writer: a report that answers the question, every figure with its source.

Skill `write.report`. Given problems with an earlier draft, it mends that draft. With a
model it adds a section on what the findings mean, of which only what holds is kept.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from consort_agents import Agent, Context
from consort_agents.specialists.coverage import Coverage
from consort_agents.specialists.drafting import Matter, drafted
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.findings import Trends
from consort_agents.specialists.interpreting import Statement
from consort_agents.specialists.material import Material, Picture
from consort_agents.specialists.noting import Note
from consort_agents.specialists.pictures import ChartRef
from consort_agents.specialists.problems import Fault, Problem
from consort_agents.specialists.with_model import Thought, thought
from consort_agents.specialists.writing import Report, key_figures, write_report
from consort_shared.values import ArtefactRef, Json

agent = Agent(
    "writer",
    version="1.1",
    description="Writes a Markdown report from facts and findings and mends it where a check found faults.",
    slots=2,
    profile="profiles/writer.toml",
)


class WriteRequest(BaseModel):
    """What to write from. `draft` and `problems` are null at first, then from the iteration before."""

    facts: Facts
    trends: Trends = Trends()
    coverage: list[Coverage] = Field(default_factory=list)
    charts: list[ChartRef] = Field(default_factory=list)
    statements: list[Statement] = Field(default_factory=list)
    notes: list[Note] = Field(default_factory=list)
    draft: str | None = Field(default=None, description="the report of the time before; null at first")
    problems: list[Problem] | None = Field(default=None, description="what does not hold in that draft")


class Written(BaseModel):
    """The report, the pictures it shows, and a few key figures."""

    report: str = Field(description="Markdown")
    artefacts: list[ArtefactRef]
    summary: dict[str, Json]
    changes: list[str] = Field(description="what was corrected or dropped since the last draft")
    without_model: str = Field(default="", description="why a model that is configured drafted nothing")


@agent.skill("write.report")
def write(request: WriteRequest, ctx: Context) -> Written:
    """Writes a report whose every figure names its source, or mends the one before."""
    pictures = [Picture(c.artefact.name, c.alt, c.topic) for c in request.charts]
    material = Material(request.facts, request.trends, request.coverage, pictures)
    written = write_report(material, request.draft, request.problems or ())
    meant = _meant(written, request, ctx)
    report = meant.value or written
    changes = list(dict.fromkeys([*written.changes, *report.changes]))
    if changes:
        ctx.log.info("the draft is mended, %d changes", len(changes))
    shown = [c.artefact for c in request.charts if f"]({c.artefact.name})" in report.markdown]
    return Written(
        report=report.markdown,
        artefacts=shown,
        summary=key_figures(material),
        changes=changes,
        without_model=meant.trouble,
    )


def _meant(written: Report, request: WriteRequest, ctx: Context) -> Thought[Report]:
    """The report with what it means, where a model says so: in the first draft, and where a judge missed it."""
    judged = [one.reason for one in request.problems or () if one.fault is Fault.JUDGEMENT]
    if request.draft and not judged:
        return Thought()
    matter = Matter(request.facts, request.statements, request.notes, judged)
    return thought(ctx, "what it means", lambda: drafted(written.markdown, matter, ctx))
