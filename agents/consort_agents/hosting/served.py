"""What a host serves, as the rest of it sees that: tools by name, who may call them, how much they allow.

Knows nothing of the bus. Where the tools come from is `loading`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from consort_agents.hosting.turns import NO_QUOTA, Quota
from consort_agents.tools.definition import Definition, Tool
from consort_shared.tooling import Approved, what_changed
from consort_shared.values import Json, digest


class Permits(Protocol):
    """Who may call what. Deny by default."""

    def __call__(self, agent: str, tool: Definition, arguments: Mapping[str, Json]) -> str:
        """Why an agent may not make a call, in one sentence; empty if it may."""


@dataclass(frozen=True, slots=True)
class Served:
    """The tools of one host."""

    name: str
    tools: Mapping[str, Tool]
    permits: Permits
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)
    """digests that the file itself demands, by tool"""

    def quota(self, tool: str) -> Quota:
        return self.quotas.get(tool, NO_QUOTA)


def takes_key(tool: Tool) -> bool:
    """Whether a tool hands the idempotency key on, so that doing a call again is the same call."""
    return bool(getattr(tool, "takes_key", False))


def shared_within_run(definition: Definition) -> bool:
    """Whether equal calls of a run are one: only what changes nothing outside is, and only where that is wanted."""
    return definition.cache and definition.risk == "read"


def work_id(definition: Definition, run: str, arguments: Mapping[str, Json], caller: tuple[str, str]) -> str:
    """Names a piece of work: equal calls of a run have the same where they may share its answer.

    `caller` is the agent and the id of its call.
    """
    if shared_within_run(definition):
        return digest([run, definition.name, definition.digest, dict(arguments)])[:32]
    return digest([run, definition.name, definition.digest, *caller])[:32]


def not_pinned(served: Served, definition: Definition) -> str:
    """Why the host's own file forbids a definition, in one sentence; empty if it does not."""
    pin = served.pins.get(definition.name, definition.digest)
    if pin == definition.digest:
        return ""
    return f"tool {definition.name} is not the one whose digest stands under `approved` in the host's file"


def not_served(approved: Approved | None, definition: Definition) -> str:
    """Why a definition may not be served, in one sentence; empty if it may."""
    if approved is None:
        return "no tools of this host are approved; `consort tools approve` does"
    if approved.paused_by:
        why = f": {approved.paused_why}" if approved.paused_why else ""
        return f"the host is paused by {approved.paused_by}{why}"
    known = approved.tool(definition.name)
    if known is None:
        return f"tool {definition.name} is not approved; `consort tools approve` does"
    if known.digest != definition.digest:
        changed = "; ".join(what_changed(known.definition, definition)) or "its definition"
        told = f"tool {definition.name} has changed since it was approved ({changed})"
        return f"{told}; `consort tools approve` accepts that"
    return ""
