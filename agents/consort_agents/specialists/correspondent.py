"""The correspondent: a result, or a refusal, as a message to a person.

Skill `communicate.answer`. Without a model it takes the sentences of the result as they stand;
with one it drafts the message anew, of which only what the result says is kept. A
refusal is always told in the same words, so nothing that was refused can slip in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from consort_agents import Agent, Context, SkillError
from consort_agents.specialists.composing import composed
from consort_agents.specialists.letters import Form, Told, Tone, fitting, message, reasons_of, told_by
from consort_agents.specialists.screening import Screened, bears_mask
from consort_agents.specialists.with_model import Thought, thought
from consort_agents.specialists.wording import clip
from consort_shared.values import Json

agent = Agent(
    "correspondent",
    version="1.0",
    description="Turns a result, or a refusal, into a message to a person, in a given tone and length.",
    slots=2,
    profile="profiles/correspondent.toml",
)


class AnswerRequest(BaseModel):
    """What to tell whom: a result, or what came of screening one."""

    model_config = ConfigDict(extra="forbid")

    result: Json = Field(default=None, description="a text, or an object with a summary, a report or values")
    screened: Screened | None = Field(default=None, description="a text that compliance passed or refused")
    to: str = Field(default="", max_length=100, description="the person's name")
    about: str = Field(default="", max_length=1000, description="what the person asked")
    tone: Tone = "plain"
    words: int = Field(default=120, ge=20, le=1000, description="of what is told, about")
    sign: str = Field(default="", max_length=200, description="who writes")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.result is None) == (self.screened is None):
            raise ValueError("give `result`, or `screened` from compliance, one of the two")
        return self


class Answered(BaseModel):
    """The message."""

    subject: str
    message: str
    refused: bool = Field(default=False, description="whether it says that there is no answer, and why")
    dropped: list[str] = Field(default_factory=list, description="sentences that were left out, and why")
    without_model: str = Field(default="", description="why a model that is configured drafted nothing")


@agent.skill("communicate.answer")
def answer(request: AnswerRequest, ctx: Context) -> Answered:
    """Tells a person what came of their question, in a given tone and length."""
    form = Form(_line(request.to), _line(request.about), request.tone, _line(request.sign))
    if request.screened is not None and request.screened.verdict == "refuse":
        return _refusal(request.screened, form)
    result = request.result if request.screened is None else request.screened.text
    told = told_by(result)
    masked = [sentence for sentence in told.sentences if bears_mask(sentence)]
    told = replace(told, sentences=tuple(sentence for sentence in told.sentences if sentence not in masked))
    if not told.sentences:
        raise SkillError("there is nothing in the result that could be told to a person", retry=False)
    drafted = _drafted(" ".join(told.sentences) if masked else result, request, form, ctx)
    paragraphs, dropped = drafted.value or ([], [])
    dropped = [*(f"“{clip(one, 200)}”: something in it was masked" for one in masked), *dropped]
    return Answered(
        subject=_subject(form, told),
        message=message(paragraphs or [" ".join(fitting(told.sentences, request.words))], form),
        dropped=dropped,
        without_model=drafted.trouble if paragraphs or drafted.value is None else "nothing of its draft held",
    )


def _drafted(
    result: Json, request: AnswerRequest, form: Form, ctx: Context
) -> Thought[tuple[list[str], list[str]]]:
    return thought(ctx, "the message", lambda: composed(result, form, request.words, ctx))


def _refusal(screened: Screened, form: Form) -> Answered:
    told = (
        f"I cannot send you the answer that was prepared, because {reasons_of(screened.findings)}. "
        "A person has to look at it first."
    )
    return Answered(subject=_subject(form, Told(())), message=message([told], form), refused=True)


def _line(text: str) -> str:
    return " ".join(text.split())


def _subject(form: Form, told: Told) -> str:
    """One line: what was asked, or the title of the result."""
    line = form.about or told.title
    if not line:
        return "Your message"
    return f"Re: {line}" if len(line) <= 80 else f"Re: {line[:79].rsplit(' ', 1)[0]}…"
