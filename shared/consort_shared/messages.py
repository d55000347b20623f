"""What others say to the orchestrator, through the inbox.

A client submits and cancels, an agent reports. Nothing here is history: it
becomes history when the orchestrator judges it and writes an entry. The sender
is known from the subject, which the broker checked, never from the body.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from consort_shared.codec import Tagged
from consort_shared.ids import Digest, Name, RunId, Token
from consort_shared.plan.model import Plan
from consort_shared.values import ArtefactRef, Json


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Submit(Tagged):
    """A client wants a plan carried out. The run id is in the subject and of the client's making."""

    say: Literal["submit"] = "submit"
    plan: Plan
    inputs: dict[Name, Json] = Field(default_factory=dict)
    goal: str = ""


class Cancel(Tagged):
    """A client or a person wants a run stopped."""

    say: Literal["cancel"] = "cancel"
    why: str = ""


class Output(_Message):
    """A task's result: the value itself, or where it is stored if it is large; and its digest either way.

    The digest is that of the canonical JSON, also of a stored value, whose bytes are that JSON.
    """

    value: Json = None
    ref: ArtefactRef | None = None
    digest: Digest


class Write(_Message):
    """A change of one context key.

    `seen` is the revision it builds on, 0 for none; null overwrites whatever is there.
    """

    key: Name
    output: Output
    seen: int | None = None
    confidence: float = Field(default=1.0, ge=0, le=1)


class Done(Tagged):
    """The task is done."""

    outcome: Literal["done"] = "done"
    output: Output
    writes: tuple[Write, ...] = ()


class Failed(Tagged):
    """The task could not be done. `retry` says whether another attempt makes sense."""

    outcome: Literal["failed"] = "failed"
    kind: str = Field(
        max_length=64, description="error class, such as `skill-error`, `bad-input`, `bad-output`, `timeout`"
    )
    message: str
    retry: bool = True


class Declined(Tagged):
    """The agent does not take the task; another may."""

    outcome: Literal["declined"] = "declined"
    why: str


Outcome: TypeAlias = Annotated[Done | Failed | Declined, Field(discriminator="outcome")]


class Report(Tagged):
    """An agent's last word on an attempt."""

    say: Literal["report"] = "report"
    task: Token
    instance: Token
    outcome: Outcome
    seconds: float = Field(default=0.0, ge=0, description="working time")


class Progress(Tagged):
    """A milestone worth keeping, while the task goes on."""

    say: Literal["progress"] = "progress"
    task: Token
    instance: Token
    text: str = Field(max_length=2000)
    done: float | None = None
    total: float | None = None


class Put(Tagged):
    """A context write while the task goes on. Sent again with the same id, it is answered again."""

    say: Literal["put"] = "put"
    task: Token
    instance: Token
    id: Token
    write: Write


class PutAnswer(_Message):
    """What became of a Put: the revision that stands, and why it was refused if it was."""

    accepted: bool
    revision: int
    why: str = ""


class Wake(Tagged):
    """A timer fired, or an agent that a run waits for has come."""

    say: Literal["wake"] = "wake"


class Stop(Tagged):
    """To an agent: a task is no longer wanted."""

    order: Literal["stop"] = "stop"
    run: RunId
    task: Token


class Answer(Tagged):
    """To an agent: what became of a Put."""

    order: Literal["answer"] = "answer"
    run: RunId
    task: Token
    id: Token
    answer: PutAnswer


Order: TypeAlias = Annotated[Stop | Answer, Field(discriminator="order")]


ClientMessage: TypeAlias = Annotated[Submit | Cancel, Field(discriminator="say")]
AgentMessage: TypeAlias = Annotated[Report | Progress | Put, Field(discriminator="say")]


client_message: TypeAdapter[Submit | Cancel] = TypeAdapter(ClientMessage)
person_message: TypeAdapter[Cancel] = TypeAdapter(Cancel)
agent_message: TypeAdapter[Report | Progress | Put] = TypeAdapter(AgentMessage)
order_message: TypeAdapter[Stop | Answer] = TypeAdapter(Order)
