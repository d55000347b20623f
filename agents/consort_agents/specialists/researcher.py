"""The researcher: reads a folder of sources and says what is in it.

Skill `research.gather`. The facts go into the result and, under the key `facts`,
into the run's context, where whoever checks the report later finds them unaltered.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from consort_agents import Agent, Context, SkillError
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.gathering import gather_facts
from consort_agents.specialists.sources import UnusableSources

agent = Agent(
    "researcher",
    version="1.0",
    description="Reads a folder of tables and texts and gathers facts, each with its place in a file.",
    slots=2,
)


class GatherRequest(BaseModel):
    """What to read, and what for."""

    folder: str = Field(description="path of a folder with CSV, Markdown, text or JSON files")
    question: str = Field(default="", max_length=2000, description="what the facts are wanted for")


class Gathered(BaseModel):
    """The facts, and how much there is of them."""

    facts: Facts
    files: int
    rows: int
    passages: int
    limits: int = Field(description="notes on what could not be read or used")


@agent.skill("research.gather")
def gather(request: GatherRequest, ctx: Context) -> Gathered:
    """Reads a folder and gathers what it holds: profiled tables, matrices, passages near the question."""
    try:
        facts = gather_facts(request.folder, request.question)
    except UnusableSources as exc:
        raise SkillError(str(exc), retry=False, kind="unusable-sources") from exc
    ctx.progress(f"read {len(facts.files)} files")
    ctx.write("facts", facts.model_dump(mode="json"))
    return Gathered(
        facts=facts,
        files=len(facts.files),
        rows=sum(len(table.places) for table in facts.tables if table.name == table.file),
        passages=len(facts.passages),
        limits=len(facts.limits),
    )
