"""What a tool is, wherever it runs: its name, schema and the promises about it.

A definition has a digest over everything that a model or an operator relies on. One whose
digest differs from the approved one is another tool, and is refused until it is approved.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from consort_shared.values import Json, digest

Risk: TypeAlias = Literal["read", "write", "danger"]
"""`read` changes nothing outside, `write` changes something that can be taken back, `danger` what cannot."""


class Definition(BaseModel):
    """A tool as everybody knows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$", description="as models may call it")
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
    timeout: float = Field(default=60.0, gt=0, description="seconds a call may take")
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


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a tool is called."""

    run: str = ""
    task: str = ""
    step: str = ""
    agent: str = ""
    call_id: str = ""
    """the same whenever this call is made again after a crash: an idempotency key"""
    deadline: float = 0.0
    """seconds since 1970 by the bus's clock; 0 for none"""
    trace: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


class Tool(Protocol):
    """Something that can be called by its definition. Errors of the tool are answers; what is raised is a defect,
    or cancellation."""

    @property
    def definition(self) -> Definition: ...

    async def call(self, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer: ...


Perform: TypeAlias = Callable[[Mapping[str, Json], Caller], Awaitable[ToolAnswer]]
