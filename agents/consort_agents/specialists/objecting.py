"""What a model objects to in a text: claims that nothing covers, and tone.

It is shown the text without what was masked, so nothing that must not leave reaches a
provider. An objection counts only if it quotes the text. It can make a verdict stricter, never
milder: what the rules found stands whatever a model says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from consort_agents import Context
from consort_agents.specialists.screening import Finding, Rules, masked_text, place_of
from consort_agents.specialists.with_model import prompt
from consort_agents.specialists.wording import clip

LONGEST = 60_000
"""Characters of a text, and of what it was made from, that are judged."""
MOST = 20
_LONGEST_REASON = 400
_ASK = (
    "Say what in `text` must not go out as it stands. `claim`: it says or promises something that `basis` does not "
    "cover, or that `guidance` does not allow; where `basis` is empty, only what `guidance` does not allow, or what no "
    "honest business could stand by. `tone`: it is rude, pushy, or makes fun of somebody. Each objection quotes the "
    "words of the text that it is about, exactly as they stand there, and says why in one sentence. Words in square "
    "brackets such as [e-mail] were masked already. If nothing is wrong, say nothing: an empty list is a good answer."
)


class Objection(BaseModel):
    """Something that should not be said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Literal["claim", "tone"]
    quote: str = Field(description="words of the text, as they stand there")
    reason: str


class Objections(BaseModel):
    """What a model is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objections: list[Objection]


def objections_to(text: str, basis: str, rules: Rules, ctx: Context) -> tuple[list[Finding], list[str]]:
    """What a model objects to in a masked text, and why others do not count. Raises ThinkingFailed."""
    asked = prompt(
        {"guidance": rules.guidance, "basis": masked_text(basis)[:LONGEST], "text": text[:LONGEST]}
    )
    answer = ctx.model.ask_sync(asked, schema=Objections, system=_ASK)
    kept, dropped = held(answer.value.objections, text)
    ctx.progress(f"{len(kept)} objections, {len(dropped)} dropped")
    return kept, dropped


def held(objections: Sequence[Objection], text: str) -> tuple[list[Finding], list[str]]:
    """The objections that quote the text, as findings, and a sentence on each of the others."""
    kept: list[Finding] = []
    dropped: list[str] = []
    for one in objections:
        words = one.quote.split()
        found = re.search(r"\s+".join(map(re.escape, words)), text) if words else None
        if found is None:
            dropped.append(f"{one.rule}: “{clip(one.quote, 160)}”: these words do not stand in the text")
        elif len(kept) == MOST:
            dropped.append(f"{one.rule}: “{clip(one.quote, 160)}”: there are {MOST} objections already")
        else:
            line, column = place_of(text, found.start())
            reason = clip(masked_text(one.reason), _LONGEST_REASON) or "no reason was given"
            kept.append(Finding(rule=one.rule, line=line, column=column, quote=found[0], reason=reason))
    return kept, dropped
