"""Tools by name: what a model is told of them, and the one way in to each.

A call passes the approved digests and the rules before it reaches its tool. Without rules
everything in the box is allowed, because whoever made the box put it there for one agent;
a box that serves several has rules, and denies what they do not allow. Knows no limits on
numbers of calls, no journal and no bus.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from consort_agents.models.port import ToolSpec
from consort_agents.tools.answers import failed
from consort_agents.tools.definition import Caller, Definition, Tool, ToolAnswer
from consort_agents.tools.errors import ToolChanged, ToolError
from consort_agents.tools.functions import FunctionTool
from consort_agents.tools.permissions import Allow, Verdict, may_ever, permitted
from consort_shared.values import Json


class ToolBox:
    """Tools, each under its own name. Raises ToolError for two of one name."""

    def __init__(
        self,
        tools: Iterable[Tool] = (),
        *,
        rules: Sequence[Allow] | None = None,
        approved: Mapping[str, str] | None = None,
    ) -> None:
        self._tools: dict[str, Tool] = {}
        self.rules = rules
        self.approved = dict(approved or {})
        for tool in tools:
            name = tool.definition.name
            if name in self._tools:
                kinds = f"{self._tools[name].definition.kind} and {tool.definition.kind}"
                raise ToolError(f"two tools are named {name!r} ({kinds}); give one another name or a prefix")
            self._tools[name] = tool

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def __getitem__(self, name: str) -> Tool:
        """Raises ToolError that names what there is."""
        if name not in self._tools:
            raise ToolError(self._unknown(name))
        return self._tools[name]

    @property
    def definitions(self) -> tuple[Definition, ...]:
        return tuple(tool.definition for tool in self)

    @property
    def digests(self) -> dict[str, str]:
        """Of the tools as they are now; to be kept as `approved`."""
        return {definition.name: definition.digest for definition in self.definitions}

    def specs(self, agent: str = "") -> tuple[ToolSpec, ...]:
        """What a model is told: of the tools that the agent may call at all."""
        return tuple(
            ToolSpec(name=told.name, description=told.description, input_schema=told.input_schema)
            for told in self.definitions
            if self.rules is None or may_ever(self.rules, agent, told)
        )

    def verdict(self, name: str, agent: str, arguments: Mapping[str, Json]) -> Verdict:
        """Whether a call is allowed. Raises ToolError for an unknown tool."""
        definition = self[name].definition
        if self.rules is None:
            return Verdict(True, "a tool of the agent's own")
        return permitted(self.rules, agent, definition, arguments)

    def changed(self, name: str) -> ToolChanged | None:
        """How a tool differs from the approved one, if it does. Raises ToolError for an unknown tool."""
        tool = self[name]
        if name not in self.approved:
            return None
        found = tool.definition.digest
        return None if found == self.approved[name] else ToolChanged(name, (), self.approved[name], found)

    async def call(self, name: str, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer:
        """Call a tool, if it is known, approved and allowed; whatever is wrong is the answer."""
        if name not in self:
            return failed(self._unknown(name))
        if (changed := self.changed(name)) is not None:
            return failed(str(changed))
        verdict = self.verdict(name, caller.agent, arguments)
        if not verdict.allowed:
            return failed(f"not allowed: {verdict.why}")
        return await self._tools[name].call(arguments, caller)

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._tools, n=1)
        guess = f"; perhaps {near[0]} is meant" if near else ""
        return f"there is no tool {name!r}{guess}; there are: {', '.join(sorted(self._tools)[:50]) or 'none'}"


class Promising:
    """A tool about which an operator promises something else than it does itself."""

    def __init__(self, tool: Tool, changes: Mapping[str, Any]) -> None:
        self._tool = tool
        self._changes = dict(changes)

    def __repr__(self) -> str:
        return repr(self._tool)

    @property
    def definition(self) -> Definition:
        return self._tool.definition.model_copy(update=self._changes)

    async def call(self, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer:
        return await self._tool.call(arguments, caller)


def promising(tool: Tool, **changes: Any) -> Tool:
    """A tool with other promises: risk, idempotent, cost, owner, data_class, cache; of a function, timeout too.

    Where only the risk is said, the rest follows from it as it does for `@tool`.
    """
    if "risk" in changes:
        changes.setdefault("idempotent", changes["risk"] == "read" or tool.definition.idempotent)
        changes.setdefault("cache", changes["risk"] == "read")
    if not changes:
        return tool
    if isinstance(tool, FunctionTool):
        return tool.promising(changes)
    if "timeout" in changes:
        raise ToolError(f"the time limit of {tool.definition.name} is set where it is made")
    return Promising(tool, changes)
