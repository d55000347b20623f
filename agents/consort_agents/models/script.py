"""The script of a scripted model: its form.

A script says what is answered to whom. Its rules are tried in order, the first that fits
a request answers it. Nothing is decided here: `script_files` reads scripts and words
their faults, `playing` decides what a request gets.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from consort_agents.models.port import StopReason
from consort_shared.values import Json


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _as_list(value: Json) -> Json:
    return [value] if isinstance(value, str | int) else value


def _as_match(value: Json) -> Json:
    return {"contains": [value]} if isinstance(value, str) else value


def _as_answer(value: Json) -> Json:
    return {"text": value} if isinstance(value, str) else value


def _as_text(value: Json) -> Json:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Words: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
Numbers: TypeAlias = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_as_list)]
Seconds: TypeAlias = Annotated[float, Field(ge=0, le=3600)]


class Match(_Part):
    """A test of a text: it contains all of these, and the expression is found in it."""

    contains: Words = ()
    regex: str = ""

    @field_validator("regex")
    @classmethod
    def _compiles(cls, regex: str) -> str:
        try:
            re.compile(regex)
        except re.error as exc:
            raise ValueError(f"is no regular expression: {exc}") from exc
        return regex


class ResultMatch(Match):
    """A test of what a tool gave: of the tool of this name (`*` stands for any part), in the last message."""

    of: str = "*"


Tested: TypeAlias = Annotated[Match, BeforeValidator(_as_match)]


class When(_Part):
    """Which requests a rule is for; what is left out fits any."""

    agent: str = Field(default="*", description="who asks; `*` stands for any part")
    model: str = Field(default="*", description="the model asked; `*` stands for any part")
    system: Tested | None = Field(default=None, description="the system prompt")
    user: Tested | None = Field(default=None, description="the last text of the user")
    result: Annotated[ResultMatch | None, BeforeValidator(_as_match)] = Field(
        default=None, description="what a tool gave, in the last message"
    )
    offers: Words = Field(default=(), description="tools that are offered, all of them")
    turn: Numbers = Field(default=(), description="which turn of the model in its conversation, from 1")
    schema_asked: bool | None = Field(
        default=None, alias="schema", description="whether a schema is asked for"
    )


class Use(_Part):
    """A tool that the model wants called."""

    tool: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    input: dict[str, Json] = Field(default_factory=dict)


class Tokens(_Part):
    """Tokens as the answer is to tell them; what is left out is counted at four characters each."""

    input: int | None = Field(default=None, ge=0)
    output: int | None = Field(default=None, ge=0)
    cache_read: int | None = Field(default=None, ge=0)
    cache_write: int | None = Field(default=None, ge=0)
    thinking: int | None = Field(default=None, ge=0)


class Answer(_Part):
    """What the model says: thinking, text or a JSON value, tools to be called, in this order."""

    text: str | None = None
    json_value: Json = Field(default=None, alias="json")
    thinking: str = ""
    use: tuple[Use, ...] = ()
    blocks: tuple[dict[str, Json], ...] = Field(default=(), description="further blocks, in their wire form")
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Json] | None = None
    usage: Tokens = Tokens()

    @model_validator(mode="after")
    def _says_something(self) -> Answer:
        if self.text is not None and self.json_value is not None:
            raise ValueError("has both `text` and `json`; one of them is the text of the answer")
        return self


class Fail(_Part):
    """An error in place of an answer."""

    status: int = Field(default=500, ge=400, le=599)
    type: str = Field(default="", description="the error type; by default the one that goes with the status")
    message: str = "the script says so"
    headers: dict[str, Annotated[str, BeforeValidator(_as_text)]] = Field(default_factory=dict)
    within: int | None = Field(
        default=None, ge=0, description="characters of a streamed answer before the error"
    )


class Effect(_Part):
    """What a request gets."""

    answer: Annotated[Answer | None, BeforeValidator(_as_answer)] = None
    fail: Fail | None = None
    latency: Seconds = Field(default=0.0, description="seconds before anything is answered")
    stall: Seconds = Field(default=0.0, description="seconds of silence in the midst of the answer")
    cut: int | None = Field(default=None, ge=0, description="characters after which the connection ends")

    @model_validator(mode="after")
    def _one(self) -> Effect:
        if self.answer is not None and self.fail is not None and self.fail.within is None:
            raise ValueError(
                "has both `answer` and `fail`; that needs `within`, so that it fails while streaming"
            )
        if self.fail is not None and self.fail.within is not None and self.answer is None:
            raise ValueError("`fail` with `within` needs the `answer` that it interrupts")
        return self


class Gets(Effect):
    """An effect that has one."""

    @model_validator(mode="after")
    def _something(self) -> Gets:
        if self.answer is None and self.fail is None and self.cut is None:
            raise ValueError("has neither `answer` nor `fail`")
        return self


class Rule(Gets):
    """One rule: which requests, how many of them, and what they get."""

    name: str = ""
    when: When = When()
    after: int = Field(default=0, ge=0, description="so many fitting requests are left to later rules first")
    times: int | None = Field(default=None, ge=1, description="so many requests it answers, then no more")
    nth: Numbers = Field(default=(), description="only the fitting requests of these numbers, from 1")

    @model_validator(mode="after")
    def _whole(self) -> Rule:
        if self.nth and (self.after or self.times):
            raise ValueError("has `nth` beside `after` or `times`; say it one way")
        return self


def _as_turn(value: Json) -> Json:
    return {"answer": value} if isinstance(value, str) else value


Turn: TypeAlias = Annotated[Gets, BeforeValidator(_as_turn)]


class Otherwise(Effect):
    """What a request gets that no rule fits."""

    schema_fits: bool = Field(
        default=False, alias="schema", description="a value made up to fit the schema, where one is asked for"
    )


class Limit(_Part):
    """Limits on requests and tokens in a minute, for each key, filled up continuously."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    burst: int | None = Field(
        default=None, ge=1, description="requests at once; by default those of a minute"
    )


class Script(_Part):
    """A scripted model."""

    models: Words = Field(default=(), description="models there are; another is not found. None named: any")
    keys: Words = Field(default=(), description="keys that are accepted. None named: any")
    context_window: int | None = Field(default=None, ge=1, description="tokens of input and output together")
    caching: bool = Field(default=True, description="whether cache marks are heeded, and told in the usage")
    latency: Seconds = Field(
        default=0.0, description="seconds before each answer, where its rule says nothing"
    )
    limit: Limit = Limit()
    conversations: dict[str, tuple[Turn, ...]] = Field(
        default_factory=dict, description="by agent: what it gets on its 1st, 2nd, … turn in a conversation"
    )
    rules: tuple[Rule, ...] = ()
    otherwise: Otherwise = Otherwise()
