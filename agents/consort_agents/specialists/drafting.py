"""Has a model draft the section "What this means", and sends back what does not hold.

The model is given the sentences of the computed report that cite, the statements and notes of
those who read before, and what a judge missed. What it writes is held against the facts
(`meaning`); what does not hold goes back with the reasons, at most twice, and is then dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from consort_agents import Context
from consort_agents.models.port import user
from consort_agents.specialists import meaning
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.interpreting import Statement
from consort_agents.specialists.meaning import TITLE, Unheld
from consort_agents.specialists.noting import Note
from consort_agents.specialists.with_model import prompt
from consort_agents.specialists.wording import clip
from consort_agents.specialists.writing import Report
from consort_shared.values import Json

TOLD = 2
"""Times that a draft is sent back with what does not hold."""
_MOST_SENTENCES = 60
_LEAD = re.compile(r"^\*\*[^*]+\*\* ")
"""The words in bold that begin a point of the summary."""
_ASK = (
    "Draft the section “What this means” of the report: two to five short paragraphs of plain text, without headings, "
    "lists, tables or links. `sentences` are those of the report that cite sources; `statements` and `notes` are what "
    "others made of the sources. Every figure, every number word and every name from the data needs a citation such as "
    "those in `sentences`. What stands before a citation must be exactly the figures and names that the sentence of "
    "the report has before the same citation, all of them and in the same order: it is surest to take such a sentence "
    "as it is. A sentence that concludes or advises needs no citation if it has no figure and no name from the data. "
    "Where `judged` is given, the report was sent back for those reasons: answer them, as far as the findings allow. "
    "A sentence that does not hold is sent back to you, and in the end left out."
)


class Meaning(BaseModel):
    """What a model is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paragraphs: list[str] = Field(description="plain text, each one paragraph")


@dataclass(frozen=True, slots=True)
class Matter:
    """What a section is drafted from, beside the report itself."""

    facts: Facts
    statements: Sequence[Statement] = ()
    notes: Sequence[Note] = ()
    judged: Sequence[str] = field(default=())
    """why the draft before was sent back"""


def drafted(report: str, matter: Matter, ctx: Context) -> Report:
    """The report with the section, as far as it holds; the changes name what was dropped. Raises ThinkingFailed."""
    answer = ctx.model.ask_sync(prompt(_asked(report, matter)), schema=Meaning, system=_ASK)
    paragraphs = meaning.tidied(answer.value.paragraphs)
    for _ in range(TOLD):
        faults = meaning.unheld(report, paragraphs, matter.facts)
        if not faults:
            break
        ctx.progress(f"{len(faults)} sentences do not hold and go back to the model")
        messages = [*answer.messages, user(prompt(_returned(report, paragraphs, faults, matter.facts)))]
        answer = ctx.model.ask_sync(messages, schema=Meaning, system=_ASK)
        paragraphs = meaning.tidied(answer.value.paragraphs)
    left, dropped = meaning.held(report, paragraphs, matter.facts)
    changes = [f"{TITLE}: “{clip(one.text, 200)}”: {one.reason}; left out" for one in dropped]
    if not left:
        changes.append(f"{TITLE}: nothing of the section held; it is left out")
    return Report(meaning.with_section(report, left), tuple(changes))


def _asked(report: str, matter: Matter) -> dict[str, Json]:
    sentences = meaning.quotable_sentences(report, matter.facts)[:_MOST_SENTENCES]
    return {
        "question": matter.facts.question,
        "sentences": [{"section": c.section, "sentence": _LEAD.sub("", c.text)} for c in sentences],
        "statements": [statement.text for statement in matter.statements],
        "notes": [note.model_dump(mode="json") for note in matter.notes],
        "before": list(meaning.section_of(report)),
        "judged": list(matter.judged),
    }


def _returned(
    report: str, paragraphs: Sequence[str], faults: Sequence[Unheld], facts: Facts
) -> dict[str, Json]:
    left, _ = meaning.held(report, paragraphs, facts)
    return {
        "does_not_hold": [{"sentence": fault.text, "reason": fault.reason} for fault in faults],
        "holds": list(left),
        "wanted": "the whole section again, with the sentences that do not hold mended or left out",
    }
