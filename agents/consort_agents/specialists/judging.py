"""Whether a report answers the question, judged by a model.

The figures are not its business, they are counted again elsewhere. A judgement is an opinion:
it is put on record, and at most once it sends a report back. It never keeps one that
holds from being delivered.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from consort_agents import Context
from consort_agents.specialists.citations import HEADING
from consort_agents.specialists.meaning import TITLE
from consort_agents.specialists.problems import Fault, Problem
from consort_agents.specialists.with_model import prompt
from consort_agents.specialists.wording import clip

LONGEST = 60_000
"""Characters of a report that are judged."""
_LONGEST_REASON = 2_000
_ASK = (
    "Judge whether the report answers the question. `verdict` is `accept` or `reject`; `score` from 1 (no answer) to "
    "5 (each part of the question is answered); `reasons` in a sentence each; `missing`: what whoever asked still does "
    "not know after reading it. The figures were counted again and hold; the list of sources is left out here. Reject "
    "only for what its writer could mend from the same findings."
)


class Judged(BaseModel):
    """What a model thinks of a report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["accept", "reject"]
    score: Literal[1, 2, 3, 4, 5] = Field(description="5 is best")
    reasons: list[str]
    missing: list[str] = Field(description="what the report does not tell; empty if nothing")


def judged(report: str, question: str, round_: int | None, ctx: Context) -> Judged:
    """The judgement on a report. Raises ThinkingFailed."""
    body = report.partition(f"\n## {HEADING}\n")[0][:LONGEST]
    asked = prompt({"round": round_ or 1, "question": question, "report": body})
    judgement: Judged = ctx.model.ask_sync(asked, schema=Judged, system=_ASK).value
    ctx.milestone_sync(f"judged: {judgement.verdict}, {judgement.score} of 5")
    return judgement


def problem_of(judgement: Judged) -> Problem:
    """A rejection as a problem that the writer mends."""
    told = [*judgement.reasons, *(f"missing: {what}" for what in judgement.missing)]
    reasons = "; ".join(text.strip().rstrip(".") for text in told if text.strip())
    return Problem(
        fault=Fault.JUDGEMENT,
        place=TITLE,
        claim="",
        reason=clip(reasons, _LONGEST_REASON) or "the report does not answer the question",
    )
