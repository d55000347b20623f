"""Has a model write the body of a message, and sends back what says more than was given.

Greeting and ending are not the model's. Each sentence is held against the result (`grounding`);
what does not hold goes back with the reasons, at most twice, and is then dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from consort_agents import Context
from consort_agents.models.port import user
from consort_agents.specialists.grounding import Ground, ground_of, sentences, ungrounded
from consort_agents.specialists.letters import Form, fitting
from consort_agents.specialists.with_model import prompt
from consort_agents.specialists.wording import clip
from consort_shared.values import Json, canonical

TOLD = 2
"""Times that a draft is sent back with what does not hold."""
LONGEST = 60_000
"""Characters of a result that a model is given."""
_TONES = {
    "plain": "matter-of-fact",
    "warm": "friendly, as one person to another, without flattery",
    "formal": "polite and formal",
}
_ASK = (
    "Write the body of a message to the person who asked `about`, from `result` alone: one to three short paragraphs "
    "of plain text, without greeting, thanks, ending, headings, lists or Markdown. The tone is `tone`, the length up "
    "to `words` words. Use only figures, names, dates and links that stand in `result` or `about`, as they are written "
    "there; work nothing out. Write no name at the beginning of a sentence that does not stand there either. A "
    "sentence that does not hold is sent back to you, and in the end left out."
)


class Body(BaseModel):
    """What a model is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paragraphs: list[str] = Field(description="plain text, each one paragraph")


def composed(result: Json, form: Form, words: int, ctx: Context) -> tuple[list[str], list[str]]:
    """The paragraphs that hold, and why sentences were left out. Raises ThinkingFailed."""
    given = result if isinstance(result, str) else canonical(result).decode()
    ground = ground_of(given, form.about, form.to, form.sign)
    asked = {"about": form.about, "tone": _TONES[form.tone], "words": words, "result": given[:LONGEST]}
    answer = ctx.model.ask_sync(prompt(asked), schema=Body, system=_ASK)
    for _ in range(TOLD):
        paragraphs, faults = held(answer.value.paragraphs, ground)
        if not faults:
            break
        ctx.progress(f"{len(faults)} sentences say more than was given and go back to the model")
        messages = [*answer.messages, user(prompt(_returned(paragraphs, faults)))]
        answer = ctx.model.ask_sync(messages, schema=Body, system=_ASK)
    paragraphs, faults = held(answer.value.paragraphs, ground)
    dropped = [f"“{clip(text, 200)}”: {why}" for text, why in faults]
    return within(paragraphs, words), dropped


def held(paragraphs: Sequence[str], ground: Ground) -> tuple[list[str], list[tuple[str, str]]]:
    """The paragraphs without the sentences that say more than was given, and those, each with the reason."""
    kept: list[str] = []
    faults: list[tuple[str, str]] = []
    for paragraph in paragraphs:
        good = []
        for sentence in sentences(" ".join(paragraph.split())):
            if why := ungrounded(sentence, ground):
                faults.append((sentence, why))
            else:
                good.append(sentence)
        if good:
            kept.append(" ".join(good))
    return kept, faults


def within(paragraphs: Sequence[str], words: int) -> list[str]:
    """The paragraphs, as far as they have a quarter more words than wanted."""
    left = words + words // 4
    kept: list[str] = []
    for paragraph in paragraphs:
        if kept and len(paragraph.split()) > left:
            break
        kept.append(" ".join(fitting(sentences(paragraph), left)))
        left -= len(kept[-1].split())
    return kept


def _returned(paragraphs: Sequence[str], faults: Sequence[tuple[str, str]]) -> dict[str, Json]:
    return {
        "does_not_hold": [{"sentence": text, "reason": why} for text, why in faults],
        "holds": list(paragraphs),
        "wanted": "the whole body again, with these sentences mended or left out",
    }
