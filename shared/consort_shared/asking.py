"""What a client asks of orchestrators, outside the inbox, and what it is answered.

For clients that have nothing but a connection and JSON: a submission for which the
orchestrator makes the run id, and where a run stands. Nothing here is history; a
submission that is answered lies in the inbox already.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from consort_shared.ids import Digest, Name, RunId
from consort_shared.values import Json

LONGEST_KEY = 200
UNKNOWN = "unknown"
"""The state of a run of which nothing is on the log."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AskSubmit(_Part):
    """A client wants a plan carried out, and the orchestrator to make the run id.

    With a `key` of the client's own asking again is answered with the same run, for a day; without one every
    request is a run.
    """

    say: Literal["submit"] = "submit"
    plan: dict[str, Json] = Field(description="as a plan file says it")
    inputs: dict[Name, Json] = Field(default_factory=dict)
    goal: str = ""
    key: str = Field(default="", max_length=LONGEST_KEY, description="idempotency key; empty for none")


class Taken(_Part):
    """The submission lies in the inbox at `seq`: it will be carried out, whatever dies now."""

    run: RunId
    seq: int


class PlanFault(_Part):
    """One thing wrong with a plan or its inputs; `where` is a path such as `steps.draft.needs`."""

    where: str
    what: str


class Refusal(_Part):
    """Nothing was stored, and why."""

    refused: str
    faults: tuple[PlanFault, ...] = ()


SubmitAnswer: TypeAlias = Taken | Refusal


class AskStatus(_Part):
    """A client wants to know where a run stands. Without `steps` it is told of the run alone."""

    run: RunId
    steps: bool = True


class StepStatus(_Part):
    """An instance of a step; `path` is such as `gather`, `report[2].write` (an iteration), `each[0]` (an item)."""

    path: str
    phase: str
    skill: str = ""
    agent: str = ""
    attempt: int = 0
    why: str = ""


class RunStatus(_Part):
    """Where a run stands.

    `state` is `unknown` while nothing of the run is on the log, and `completed`, `failed` or `cancelled` once it has
    ended; `output` is its result then. A step's result over 64 KiB stands there as `{"$stored": <reference>}`.
    """

    run: RunId
    state: str
    why: str = ""
    plan: str = ""
    client: str = ""
    entries: int = 0
    steps: tuple[StepStatus, ...] = ()
    output: Json = None


StatusAnswer: TypeAlias = RunStatus | Refusal


class KeyMark(_Part):
    """Which run a client's key stands for; `digest` is that of what was handed in under it."""

    run: RunId
    digest: Digest


submit_answer: TypeAdapter[Taken | Refusal] = TypeAdapter(SubmitAnswer)
status_answer: TypeAdapter[RunStatus | Refusal] = TypeAdapter(StatusAnswer)
