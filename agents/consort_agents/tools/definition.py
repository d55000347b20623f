"""What a tool is, wherever it runs: its name, schema and the promises about it.

A definition has a digest over everything that a model or an operator relies on. One whose
digest differs from the approved one is another tool, and is refused until it is approved.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from consort_shared.tooling import Definition, Risk, ToolAnswer
from consort_shared.values import Json

__all__ = ["Caller", "Definition", "Perform", "Risk", "Tool", "ToolAnswer"]


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


@runtime_checkable
class Tool(Protocol):
    """Something that can be called by its definition. Errors of the tool are answers; what is raised is a defect,
    or cancellation."""

    @property
    def definition(self) -> Definition: ...

    async def call(self, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer: ...


Perform: TypeAlias = Callable[[Mapping[str, Json], Caller], Awaitable[ToolAnswer]]


Given: TypeAlias = Tool | Callable[..., Any] | str
"""What may be given as a tool: one, a plain function, or the name of one that is known otherwise."""
