"""The researcher: reads a folder of sources and says what is in it.

Skill `research.gather`. The facts go into the result and, under the key `facts`,
into the run's context, where whoever checks the report later finds them unaltered.
With a model it also notes which places matter for the question; notes are no facts.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from consort_agents import Agent, Context, SkillError
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.gathering import facts_of
from consort_agents.specialists.noting import Note, notes_on
from consort_agents.specialists.retrieval import shelf_of
from consort_agents.specialists.sources import UnusableSources, read_folder
from consort_agents.specialists.with_model import thought

agent = Agent(
    "researcher",
    version="1.1",
    description="Reads a folder of tables and texts and gathers facts, each with its place in a file.",
    slots=2,
    profile="profiles/researcher.toml",
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
    notes: list[Note] = Field(default_factory=list, description="places that matter, as a model sees it")
    dropped: list[str] = Field(default_factory=list, description="notes that did not hold, and why")
    without_model: str = Field(default="", description="why a model that is configured noted nothing")


@agent.skill("research.gather")
def gather(request: GatherRequest, ctx: Context) -> Gathered:
    """Reads a folder and gathers what it holds: profiled tables, matrices, passages near the question."""
    try:
        sources = read_folder(request.folder)
        facts = facts_of(sources, request.question)
    except UnusableSources as exc:
        raise SkillError(str(exc), retry=False, kind="unusable-sources") from exc
    ctx.progress(f"read {len(facts.files)} files")
    ctx.write("facts", facts.model_dump(mode="json"))
    noted = thought(ctx, "which places matter", lambda: notes_on(shelf_of(sources, facts), ctx))
    notes, dropped = noted.value or ([], [])
    return Gathered(
        facts=facts,
        files=len(facts.files),
        rows=sum(len(table.places) for table in facts.tables if table.name == table.file),
        passages=len(facts.passages),
        limits=len(facts.limits),
        notes=notes,
        dropped=dropped,
        without_model=noted.trouble,
    )
