"""The facts of a run, and the entries that hold them.

An entry is one decision about one or more messages: who caused it, and the facts
that follow. The state of a run is a fold over its facts and depends on nothing
else, so every fact carries what was decided, never what would have to be
evaluated again. Entries form a hash chain: `prev` is the SHA-256 of the previous
entry's body.

Paths name instances of steps: `gather`, `report[2].write` (second iteration),
`each[0]` (first item), `charge!undo` (what undoes `charge`).
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from consort_shared.codec import Tagged
from consort_shared.ids import Digest, Name, RunId, SkillName, Token
from consort_shared.messages import EffectKey, Output
from consort_shared.plan.model import Plan
from consort_shared.usage import Usage
from consort_shared.values import Json

SCHEMA = 2
ENDED = "ended"
"""The kind of a run's last entry, see `kind_of`."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hole(_Part):
    """A place in a task's inputs that is filled from an earlier result when the task starts."""

    at: tuple[str | int, ...] = Field(description="where in the inputs")
    prior: str = Field(description="path of the step whose result goes there")
    path: tuple[str | int, ...] = Field(default=(), description="which part of the result")


class Prior(_Part):
    """What was done before: by whom, with which result. `output` is left out where the reader has it already."""

    path: str
    skill: str = ""
    agent: str = ""
    task: str = ""
    digest: Digest
    output: Output | None = None


class ContextItem(_Part):
    """A context value as the task is given it."""

    key: Name
    revision: int
    author: str
    task: str = ""
    confidence: float = 1.0
    output: Output


class HandOff(_Part):
    """All that a task is given of what happened before it.

    `after` and `chain` name the entry before this decision and its digest: whoever may read the log can
    check that the hand-off leaves nothing out.
    """

    after: int = 0
    chain: str = ""
    priors: tuple[Prior, ...] = ()
    context: tuple[ContextItem, ...] = ()


class Submitted(Tagged):
    """A client handed in the run."""

    fact: Literal["submitted"] = "submitted"
    client: str
    plan: Plan
    inputs: dict[Name, Json] = Field(default_factory=dict)
    goal: str = ""
    handed_in: float = Field(
        default=0.0, description="when the bus stored it: seconds since 1970, 0 if not known"
    )
    caller: str = Field(default="", description="the span it was handed in under, as in a `traceparent`")


class Opened(Tagged):
    """A block, a `for_each` or a `repeat` began; `items` are those of a `for_each`.

    A block whose steps come from a result has them in `plan`, and what its expressions see in `inputs`.
    """

    fact: Literal["opened"] = "opened"
    path: str
    items: tuple[Json, ...] | None = None
    plan: Plan | None = None
    inputs: dict[Name, Json] | None = None


class Granted(Tagged):
    """A task: one attempt at a step by one agent."""

    fact: Literal["granted"] = "granted"
    path: str
    task: Token
    attempt: int
    agent: Token
    skill: SkillName
    inputs: dict[str, Json] = Field(default_factory=dict)
    holes: tuple[Hole, ...] = ()
    handoff: HandOff = HandOff()
    deadline: float = Field(description="seconds since 1970")
    nonce: str
    why: str = Field(default="", description="why this agent")
    trouble: str = Field(default="", description="why the attempt before this one failed")
    key: str = ""
    profile: int = Field(
        default=0, ge=0, description="the revision of the agent's profile that counts; 0: the agent's own"
    )


class Waiting(Tagged):
    """A step could start, but no agent that offers its skill is there."""

    fact: Literal["waiting"] = "waiting"
    path: str
    skill: SkillName
    key: str = ""


class Held(Tagged):
    """A step has the key of another that is still at work, and waits for its result."""

    fact: Literal["held"] = "held"
    path: str
    key: str
    source: str


class Written(Tagged):
    """A context key has a new value."""

    fact: Literal["written"] = "written"
    key: Name
    revision: int
    author: str
    task: str
    output: Output
    confidence: float = 1.0
    put: str = Field(default="", description="id of the Put that asked for it, if one did")


class Accepted(Tagged):
    """A task's result counts: the step is done."""

    fact: Literal["accepted"] = "accepted"
    path: str
    task: Token
    agent: Token
    instance: str
    output: Output
    seconds: float = 0.0
    usage: Usage | None = None


class Failure(Tagged):
    """An attempt failed. With `retry_at` another follows, without it the step has failed."""

    fact: Literal["failure"] = "failure"
    path: str
    task: Token
    agent: Token
    kind: str
    message: str
    retry_at: float | None = None
    counts: bool = Field(default=True, description="whether it uses up one of the step's attempts")
    usage: Usage | None = None


class Skipped(Tagged):
    """A step will not be done."""

    fact: Literal["skipped"] = "skipped"
    path: str
    why: str


class Shared(Tagged):
    """A step has the key of another and takes its result; `source` is that other's path."""

    fact: Literal["shared"] = "shared"
    path: str
    source: str
    key: str


class Closed(Tagged):
    """A step ended without a report of its own: a block, a loop, or one that could not even start."""

    fact: Literal["closed"] = "closed"
    path: str
    done: bool
    why: str = ""


class Refused(Tagged):
    """Something does not count, and why: a report, a context write, a submission, a forged or foreign message."""

    fact: Literal["refused"] = "refused"
    what: str
    sender: str
    task: str = ""
    why: str
    put: str = ""
    stream: str = Field(default="", description="of a message that was set aside: the stream it stands in")
    seq: int = Field(default=0, description="and its sequence there")
    usage: Usage | None = Field(default=None, description="what was used for a report that does not count")


class Extended(Tagged):
    """An attempt has more time."""

    fact: Literal["extended"] = "extended"
    path: str
    task: Token
    deadline: float = Field(description="seconds since 1970")
    why: str


class EffectBegun(Tagged):
    """An attempt may do something with consequences outside; until it is settled, nobody knows whether it happened."""

    fact: Literal["effect-begun"] = "effect-begun"
    path: str
    key: EffectKey
    task: Token
    agent: Token
    instance: str
    id: Token


class EffectSettled(Tagged):
    """What became of an effect: `done`, with what it gave, or `undone`: it did not happen and may be tried again."""

    fact: Literal["effect-settled"] = "effect-settled"
    path: str
    key: EffectKey
    verdict: Literal["done", "undone"]
    output: Output | None = None
    by: str = Field(description="the attempt's task that says so, or the person, as `person.anna`")


class Doubted(Tagged):
    """Whether an effect happened is not known. The attempt ends, and the step waits until a person says so."""

    fact: Literal["doubted"] = "doubted"
    path: str
    key: EffectKey
    task: Token
    agent: Token
    why: str


class Paused(Tagged):
    """No task of the run starts until it is resumed."""

    fact: Literal["paused"] = "paused"
    by: str
    why: str = ""
    asked: float = Field(default=0.0, description="when it was asked for: seconds since 1970, 0 if not known")


class Resumed(Tagged):
    """The run goes on; what was under way has so much more time as the pause lasted.

    Of a run that was not paused it says that a pause asked for earlier, which comes late, does not count.
    """

    fact: Literal["resumed"] = "resumed"
    by: str
    asked: float = Field(default=0.0, description="when it was asked for: seconds since 1970, 0 if not known")


class Heeded(Tagged):
    """A process acknowledged an order about its task; `silent`: none did within the time for it."""

    fact: Literal["heeded"] = "heeded"
    path: str
    task: Token
    agent: Token
    instance: str = ""
    order: Literal["stop", "pause", "resume"]
    how: Literal["stopped", "dropped", "cannot", "goes-on", "held", "silent"]


class Ending(Tagged):
    """The run is to end: nothing new starts, tasks in hand are called off, then completed steps are undone."""

    fact: Literal["ending"] = "ending"
    state: Literal["failed", "cancelled"]
    why: str
    by: str = ""


class Forced(Tagged):
    """A run that is ending is to end without undoing anything more; an undoing in hand is called off."""

    fact: Literal["forced"] = "forced"
    by: str
    why: str = ""


class GivenUp(Tagged):
    """A completed step is not undone, because the end of its run was forced: somebody has to see to it."""

    fact: Literal["given-up"] = "given-up"
    path: str = Field(description="of the task that should have undone it, such as `charge!undo`")
    by: str = Field(description="who forced the end")
    why: str = Field(default="", description="and why")
    stood: str = Field(default="", description="how far the undoing was, in words")


class Redriven(Tagged):
    """A message that had been set aside was judged again."""

    fact: Literal["redriven"] = "redriven"
    letter: int = Field(description="its sequence in the stream of dead letters")
    by: str
    edited: bool = False


class Reopened(Tagged):
    """A failed task is to be done again; what could not start because of it may start again."""

    fact: Literal["reopened"] = "reopened"
    path: str
    by: str
    inputs: dict[str, Json] | None = Field(default=None, description="instead of those of the plan")


class Noted(Tagged):
    """A milestone that an agent reported."""

    fact: Literal["noted"] = "noted"
    path: str
    task: Token
    agent: Token
    text: str
    done: float | None = None
    total: float | None = None


class Finished(Tagged):
    """The run has ended."""

    fact: Literal["finished"] = "finished"
    state: Literal["completed", "failed", "cancelled"]
    output: Json = None
    why: str = ""


Fact: TypeAlias = Annotated[
    Submitted
    | Opened
    | Granted
    | Waiting
    | Held
    | Written
    | Accepted
    | Failure
    | Skipped
    | Shared
    | Closed
    | Refused
    | Noted
    | Extended
    | EffectBegun
    | EffectSettled
    | Doubted
    | Paused
    | Resumed
    | Heeded
    | Ending
    | Forced
    | GivenUp
    | Redriven
    | Reopened
    | Finished,
    Field(discriminator="fact"),
]


class Cause(_Part):
    """The message that an entry answers: who sent it, and the SHA-256 of its body, shortened."""

    sender: str
    digest: str


class Entry(_Part):
    """One decision, one entry. `at` is in seconds since 1970 by the writer's clock; order is by `n` alone."""

    v: int = SCHEMA
    run: RunId
    n: int = Field(ge=1)
    at: float
    writer: str
    prev: str = ""
    causes: tuple[Cause, ...] = ()
    facts: tuple[Fact, ...]


class Delivery(_Part):
    """A task on its way to its agent, when its entry grants more than one."""

    v: int = SCHEMA
    run: RunId
    n: int
    entry: str
    granted: Granted


entry_adapter: TypeAdapter[Entry] = TypeAdapter(Entry)
delivery_adapter: TypeAdapter[Delivery] = TypeAdapter(Delivery)


def body_digest(body: bytes) -> str:
    """The link of the hash chain: SHA-256 of an entry's body."""
    return hashlib.sha256(body).hexdigest()


def kind_of(facts: tuple[Fact, ...]) -> str:
    """The word that an entry bears in its subject, so that readers can filter."""
    kinds = {fact.fact for fact in facts}
    for fact, kind in (("finished", ENDED), ("granted", "granted"), ("waiting", "waiting")):
        if fact in kinds:
            return kind
    return "noted"
