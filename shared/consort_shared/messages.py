"""What others say to the orchestrator, through the inbox, and what it says to agents outside the log.

A client submits, cancels, pauses and resumes its runs, a person any run; an agent
reports. Nothing here is history: it becomes history when the orchestrator judges it
and writes an entry. The sender is known from the subject, which the broker checked,
never from the body.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from consort_shared.codec import Tagged
from consort_shared.ids import Digest, Name, RunId, Token
from consort_shared.plan.model import Plan
from consort_shared.usage import Usage
from consort_shared.values import ArtefactRef, Json, digest

POISON = "poison"
"""The kind of failure of a task that kills its process again and again."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Submit(Tagged):
    """A client wants a plan carried out. The run id is in the subject and of the client's making."""

    say: Literal["submit"] = "submit"
    plan: Plan
    inputs: dict[Name, Json] = Field(default_factory=dict)
    goal: str = ""


class Cancel(Tagged):
    """A client or a person wants a run stopped; with `force` without undoing what is not undone yet."""

    say: Literal["cancel"] = "cancel"
    why: str = ""
    force: bool = False


class Pause(Tagged):
    """No task of the run is to start until it is resumed; what agents have in hand they finish."""

    say: Literal["pause"] = "pause"
    why: str = ""


class Resume(Tagged):
    """A paused run is to go on."""

    say: Literal["resume"] = "resume"


class Retry(Tagged):
    """Failed steps are to be done again, with all that could not start because of them.

    `path` names one step, empty means every task that failed. `inputs` replaces the inputs of that one step's task.
    """

    say: Literal["retry"] = "retry"
    path: str = ""
    inputs: dict[str, Json] | None = None


class Resolve(Tagged):
    """A person's answer to whether an effect happened of which nothing is known.

    `done` with what it gave, or `redo`: it did not happen and may be tried again.
    """

    say: Literal["resolve"] = "resolve"
    path: str
    key: str
    verdict: Literal["done", "redo"]
    value: Json = None
    id: str = Field(
        default="",
        max_length=64,
        description="the try it is about, as its `EffectBegun` names it; empty for the last",
    )


class Redrive(Tagged):
    """A message that was set aside is to be judged again, as it is or with another body, as JSON text.

    `letter` is its sequence in the stream of dead letters. Operators only.
    """

    say: Literal["redrive"] = "redrive"
    letter: int = Field(ge=1)
    body: str | None = None


def _digest_of(output: dict[str, Any]) -> str:
    """Of an output that came without; empty, which is no digest, if its value is not JSON."""
    ref = output.get("ref")
    if isinstance(ref, ArtefactRef):
        return ref.artefact
    try:
        return digest(output.get("value"))
    except (TypeError, ValueError, RecursionError):
        return ""


class Output(_Message):
    """A task's result: the value itself, or where it is stored if it is large; and its digest either way.

    The digest is that of the canonical JSON, also of a stored value, whose bytes are that JSON. Who does not
    write canonical JSON leaves it out: it is taken by whoever reads the message.
    """

    value: Json = None
    ref: ArtefactRef | None = None
    digest: Digest = Field(default_factory=_digest_of, validate_default=True)

    def model_post_init(self, context: Any, /) -> None:
        self.__pydantic_fields_set__.add("digest")


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
    usage: Usage | None = Field(default=None, description="of models and tools, where the attempt used any")


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


EffectKey = Annotated[str, Field(min_length=1, max_length=200)]
"""An author's name for an effect, unique within a step."""


class Effect(Tagged):
    """Something with consequences outside is about to be done, was done, or surely was not done.

    `begin` is answered with an `EffectAnswer`; `id` tells a question asked again from another try. `unknown` says
    what to do when an earlier try began and nothing is known of its end.
    """

    say: Literal["effect"] = "effect"
    task: Token
    instance: Token
    id: Token
    key: EffectKey
    phase: Literal["begin", "done", "undone"]
    output: Output | None = None
    unknown: Literal["ask", "redo", "done"] = "ask"


class Heed(Tagged):
    """An agent's process acknowledges an order about a task it has, and says what became of it.

    `stopped`: it was interrupted; `dropped`: it had not begun; `cannot`: it cannot be interrupted, its result will
    not count; `goes-on`: it is finished in spite of the pause; `held`: it does not begin.
    """

    say: Literal["heed"] = "heed"
    task: Token
    instance: Token
    order: Literal["stop", "pause", "resume"]
    how: Literal["stopped", "dropped", "cannot", "goes-on", "held"]


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


class EffectAnswer(Tagged):
    """To an agent: whether to do an effect.

    `do`: go ahead; `done`: it was done before, with this output; `ask`: a person is asked, the task ends here without
    a report; `stop`: the attempt is over, nothing may be done any more.
    """

    order: Literal["effect"] = "effect"
    run: RunId
    task: Token
    id: Token
    verdict: Literal["do", "done", "ask", "stop"]
    output: Output | None = None


class Hold(Tagged):
    """To an agent: a run is paused (`on`), or goes on."""

    order: Literal["hold"] = "hold"
    run: RunId
    on: bool


Order: TypeAlias = Annotated[Stop | Answer | EffectAnswer | Hold, Field(discriminator="order")]


OwnersMessage: TypeAlias = Cancel | Pause | Resume | Retry | Resolve
ClientMessage: TypeAlias = Annotated[Submit | OwnersMessage, Field(discriminator="say")]
PersonMessage: TypeAlias = Annotated[OwnersMessage | Redrive, Field(discriminator="say")]
AgentMessage: TypeAlias = Annotated[Report | Progress | Put | Effect | Heed, Field(discriminator="say")]


client_message: TypeAdapter[Submit | OwnersMessage] = TypeAdapter(ClientMessage)
person_message: TypeAdapter[OwnersMessage | Redrive] = TypeAdapter(PersonMessage)
agent_message: TypeAdapter[Report | Progress | Put | Effect | Heed] = TypeAdapter(AgentMessage)
order_message: TypeAdapter[Stop | Answer | EffectAnswer | Hold] = TypeAdapter(Order)
