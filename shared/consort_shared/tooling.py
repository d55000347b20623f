"""What is said about shared tools: definitions, calls, answers, a host's ledger, approvals, signs of life.

Data only. A definition has a digest over everything that a model or an operator relies on; one whose
digest differs from the approved one is another tool. A call names the host, the agent, the run and its
own id as its subject does: one that was led to another subject contradicts itself, and so does an answer.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from consort_shared.codec import Tagged
from consort_shared.ids import Digest, RunId, Token
from consort_shared.values import ArtefactRef, Json, digest

Risk: TypeAlias = Literal["read", "write", "danger"]
"""`read` changes nothing outside, `write` changes something that can be taken back, `danger` what cannot."""
How: TypeAlias = Literal["done", "refused", "late", "in-doubt"]
"""`done` also where the tool itself answered with an error; `in-doubt`: whether it happened is not known."""

TOOL_PATTERN = r"^[a-zA-Z0-9_-]{1,64}$"


class Definition(BaseModel):
    """A tool as everybody knows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=TOOL_PATTERN, description="as models may call it")
    description: str = ""
    input_schema: dict[str, Json]
    output_schema: dict[str, Json] | None = None
    kind: Literal["function", "http", "shell", "mcp"] = "function"
    risk: Risk = "read"
    idempotent: bool = Field(default=True, description="whether doing it twice is the same as doing it once")
    cost: int = Field(default=0, ge=0, description="nano-dollars a call")
    owner: str = Field(default="", description="who answers for it")
    data_class: str = Field(
        default="public", description="of what it gives: public, internal, confidential, …"
    )
    timeout: float = Field(default=60.0, gt=0, allow_inf_nan=False, description="seconds a call may take")
    cache: bool = Field(
        default=True, description="whether an equal call within a run may be answered with the same"
    )

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return digest(self.model_dump(mode="json"))


class ToolAnswer(BaseModel):
    """What a call gave: `content` as the model is shown it, `value` as JSON where there is any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    content: str
    value: Json = None
    is_error: bool = False
    saved: bool = Field(
        default=False, description="it was not done for this call: an equal one was done before"
    )
    truncated: int = Field(default=0, ge=0, description="characters that were cut off")


class ToolCall(Tagged):
    """An agent wants a tool of a host to be called."""

    say: Literal["tool-call"] = "tool-call"
    host: Token
    agent: Token
    run: RunId
    id: Token = Field(description="of this call; the same when it is asked for again")
    tool: str = Field(pattern=TOOL_PATTERN)
    arguments: dict[str, Json]
    definition: Digest = Field(description="the definition that the caller knows")
    task: str = ""
    step: str = ""
    key: str = Field(
        default="", max_length=128, description="idempotency key: the caller's own id of the call"
    )
    asked: int = Field(default=1, ge=1, description="which time it is asked for")
    deadline: float = Field(default=0.0, description="seconds since 1970 by the bus's clock; 0 for none")
    trace: str = Field(default="", max_length=64, description="traceparent of the caller's span")


class Kept(BaseModel):
    """An answer as it is kept: inside the record, or stored if it is large."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer: ToolAnswer | None = None
    stored: ArtefactRef | None = Field(default=None, description="the answer as JSON")


class ToolReply(Tagged):
    """A host's answer to a call."""

    say: Literal["tool-reply"] = "tool-reply"
    host: Token
    agent: Token
    run: RunId
    id: Token
    tool: str
    how: How
    kept: Kept
    saved: bool = Field(default=False, description="an equal call of this run had been done")
    seconds: float = Field(default=0.0, ge=0, description="that the tool took, 0 where it was not called")
    waited: float = Field(default=0.0, ge=0, description="seconds until its turn")
    task: str = ""
    step: str = ""
    instance: Token
    at: float = Field(description="seconds since 1970")


class ToolBegan(Tagged):
    """In a host's ledger: a process is about to call a tool. Without an end, whether it did is not known."""

    state: Literal["began"] = "began"
    instance: Token
    tool: str
    by: Token = Field(description="the agent whose call it is")
    request: Token = Field(description="the id of that call")
    at: float = Field(description="seconds since 1970")
    tries: int = Field(default=1, ge=1)


class ToolEnded(Tagged):
    """In a host's ledger: what a call gave, for good."""

    state: Literal["ended"] = "ended"
    instance: Token
    tool: str
    by: Token
    request: Token
    how: How
    kept: Kept
    seconds: float = Field(ge=0)
    at: float = Field(description="seconds since 1970")


class ToolCount(Tagged):
    """In a host's ledger: how often each of its tools was called in a run."""

    state: Literal["count"] = "count"
    calls: dict[str, int]
    write: str = Field(description="tells this write from an equal one of another process")


LedgerRecord: TypeAlias = Annotated[ToolBegan | ToolEnded | ToolCount, Field(discriminator="state")]


class ApprovedTool(BaseModel):
    """A definition that a host may serve, and who said so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    definition: Definition
    digest: Digest
    by: str
    at: float = Field(description="seconds since 1970")


class Approved(Tagged):
    """Which tools a host may serve. While it is paused, nobody may call any."""

    kind: Literal["approved"] = "approved"
    host: Token
    tools: tuple[ApprovedTool, ...] = ()
    paused_by: str = ""
    paused_why: str = ""

    def tool(self, name: str) -> ApprovedTool | None:
        return next((tool for tool in self.tools if tool.definition.name == name), None)


class HostCounts(BaseModel):
    """What a host's process has done since it started."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    done: int = 0
    saved: int = 0
    refused: int = 0
    late: int = 0
    in_doubt: int = 0


class HostAlive(Tagged):
    """A sign of life of one process of a host; it expires unless renewed."""

    kind: Literal["alive"] = "alive"
    host: Token
    instance: Token
    machine: str = ""
    pid: int = 0
    started: float = Field(default=0.0, description="seconds since 1970")
    tools: dict[str, Digest] = Field(default_factory=dict, description="what its file defines, by name")
    refused: dict[str, str] = Field(
        default_factory=dict, description="which of them it does not serve, and why"
    )
    busy: int = 0
    queued: int = 0
    counts: HostCounts = HostCounts()


tool_call: TypeAdapter[ToolCall] = TypeAdapter(ToolCall)
tool_reply: TypeAdapter[ToolReply] = TypeAdapter(ToolReply)
ledger_record: TypeAdapter[ToolBegan | ToolEnded | ToolCount] = TypeAdapter(LedgerRecord)
approved_tools: TypeAdapter[Approved] = TypeAdapter(Approved)
host_alive: TypeAdapter[HostAlive] = TypeAdapter(HostAlive)


def what_changed(before: Definition, after: Definition) -> list[str]:
    """The fields in which two definitions differ, each with both values, shortened."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return [f"{key}: {_short(old[key])} -> {_short(new[key])}" for key in old if old[key] != new[key]]


def _short(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "…"
