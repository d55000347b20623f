"""What stands in a task's journal: the calls of models, tools and others that it made, and their answers.

    journal ──► record 1, record 2, …        each stored once, in order, on the subject of its position
    record  ──► Began      a call is being made
                Answered   what it gave, which is never asked for again
                Raised     it gave no answer, but an error that the code has seen
                Resumed    another process goes on with the task: who wrote before has lost it
                Restarted  everything before this is void, the task starts over

A request is known by its digest, and its parts have digests of their own, so that whoever asks
for something else is told what is different. The request itself is not stored, only what people
may see of it. Decides nothing and knows neither the bus nor keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter

from consort_shared.codec import Tagged
from consort_shared.ids import Digest
from consort_shared.values import ArtefactRef, Json, canonical

CallKind: TypeAlias = Literal["model", "tool", "question", "delegation", "value"]
"""What is called. A `value` is something that code determines once, such as the time or a random number."""
PART_DIGITS = 16
"""Hex digits of a part's digest: enough to tell parts of one request apart."""
_MOST_ELEMENTS = 1000
"""Of one list in a request that are told apart one by one."""


class _Record(Tagged):
    id: str = Field(description="of the record, so that a writer knows its own again after a lost receipt")
    by: str = Field(description="the process that works on the task, as long as it holds it")
    at: float = Field(description="seconds since 1970, by the clock of that process")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        cls.tag = "record"


class Began(_Record):
    """A call is being made; nothing is known of its end yet."""

    record: Literal["began"] = "began"
    n: int = Field(ge=1, description="which of the task's calls")
    call: CallKind
    name: str
    request: Digest
    parts: dict[str, str] = Field(default_factory=dict, description="digests of the parts of the request")
    shown: str = Field(default="", description="what people may see of the request, without secrets")
    main: bool = Field(
        default=False, description="made by the skill itself and not by something that runs beside it"
    )
    within: int = Field(
        default=0, ge=0, description="the call that was being made when this one was asked for"
    )


class Answered(_Record):
    """What a call gave: as JSON, or sealed, or as a reference to an artefact that is sealed."""

    record: Literal["answered"] = "answered"
    n: int = Field(ge=1)
    seconds: float = Field(default=0.0, ge=0)
    text: str | None = Field(default=None, description="the value as JSON")
    sealed: bytes | None = Field(default=None, description="the value as JSON, for the agent alone")
    ref: ArtefactRef | None = Field(default=None, description="where the sealed value is, if it is large")
    shown: str = Field(default="", description="of a sealed value, what people may see")


class Raised(_Record):
    """A call ended without an answer, and the code went on from there."""

    record: Literal["raised"] = "raised"
    n: int = Field(ge=1)
    error: str = Field(description="the kind of the error, without its text")


class Resumed(_Record):
    """Another process has the task from here on. It has read all that stands before."""

    record: Literal["resumed"] = "resumed"
    instance: str
    delivered: int = Field(ge=1, description="how often the task had been delivered")


class Restarted(_Record):
    """The task starts over; what stands before is not replayed."""

    record: Literal["restarted"] = "restarted"
    why: str = ""


Record: TypeAlias = Annotated[Began | Answered | Raised | Resumed | Restarted, Field(discriminator="record")]
record_adapter: TypeAdapter[Record] = TypeAdapter(Record)


def parts_of(request: Json) -> dict[str, str]:
    """The digests of a request's parts, by name; those of a list one by one, as `messages[2]`.

    Raises ValueError and TypeError for what is not JSON.
    """
    if not isinstance(request, Mapping):
        return {"request": _digest(request)}
    parts: dict[str, str] = {}
    for name, value in request.items():
        if isinstance(value, list | tuple) and len(value) <= _MOST_ELEMENTS:
            parts |= {f"{name}[{at}]": _digest(element) for at, element in enumerate(value)}
        else:
            parts[str(name)] = _digest(value)
    return parts


def request_digest(kind: str, name: str, parts: Mapping[str, str]) -> str:
    """The digest of a request, from those of its parts, whatever their order."""
    seen = hashlib.sha256(f"{kind}\0{name}\0".encode())
    for part in sorted(parts):
        seen.update(f"{part}\0{parts[part]}\0".encode())
    return seen.hexdigest()


def short(parts: Mapping[str, str]) -> dict[str, str]:
    """The digests as they are put on record."""
    return {name: digest[:PART_DIGITS] for name, digest in parts.items()}


def differing(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of the parts in which two requests differ, those of then first."""
    return [
        part
        for part in (*then, *(part for part in now if part not in then))
        if then.get(part) != now.get(part)
    ]


def part_of(request: Json, name: str) -> Any:
    """The part of that name, None if there is none."""
    if not isinstance(request, Mapping):
        return request
    head, bracket, rest = name.rpartition("[") if name.endswith("]") else (name, "", "")
    if not bracket:
        return request.get(name)
    try:
        return request[head][int(rest[:-1])]
    except (KeyError, IndexError, ValueError, TypeError):
        return None


def call_id(run: str, task: str, n: int) -> str:
    """The idempotency key of a call: the same whenever it is made again. 32 hex digits."""
    return hashlib.sha256(f"consort call {run} {task} {n}".encode()).hexdigest()[:32]


def _digest(value: Json) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()
