"""Finding shared tools by name: `host.tool`, or a pattern such as `web.*`.

What there is, is what was approved; whether a host is up does not matter, because a call waits for it. A host
that is paused is told apart: its tools are there, and answer at once that it is.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from consort_agents.hosting.answers import error
from consort_agents.hosting.errors import ClashingTools, UnknownTools
from consort_agents.hosting.remote import Calls, RemoteTool
from consort_agents.tools.definition import Caller, Definition, Tool, ToolAnswer
from consort_bus.errors import BusError
from consort_bus.toolbox import Toolbox
from consort_shared.tooling import Approved
from consort_shared.values import Json

FRESH = 1.0
"""Seconds for which what was found is believed without looking again."""


class SharedTools:
    """The shared tools of one process of an agent."""

    def __init__(self, toolbox: Toolbox, calls: Calls) -> None:
        self._toolbox = toolbox
        self._calls = calls
        self._found: dict[str, Approved] = {}
        self._there: dict[str, tuple[str, Definition]] = {}
        self._looked = float("-inf")

    async def resolve(self, names: Sequence[str]) -> list[Tool]:
        """The tools that names and patterns stand for. Raises UnknownTools, BusError."""
        await self._look()
        if not all(map(self._matching, names)):
            await self._look(at_once=True)  # it may have been approved a moment ago
        chosen: dict[str, Tool] = {}
        for name in names:
            matching = self._matching(name)
            if not matching:
                raise UnknownTools(_unknown(name, self._there, self._found))
            for full in matching:
                host, definition = self._there[full]
                chosen[full] = SharedTool(RemoteTool(host, definition, self._calls), self)
        return list(chosen.values())

    def _matching(self, name: str) -> list[str]:
        return [full for full in self._there if fnmatchcase(full, name)]

    async def pause_of(self, host: str) -> str:
        """Why a host may not be called now; empty if it may, or if that is not known."""
        try:
            await self._look()
        except BusError:
            return ""
        document = self._found.get(host)
        if document is None or not document.paused_by:
            return ""
        why = f": {document.paused_why}" if document.paused_why else ""
        return f"host {host} is paused by {document.paused_by}{why}"

    async def _look(self, *, at_once: bool = False) -> None:
        if not at_once and time.monotonic() - self._looked < FRESH:
            return
        self._found = {document.host: document for document in await self._toolbox.all_approved()}
        self._there = {
            f"{host}.{tool.definition.name}": (host, tool.definition)
            for host, document in self._found.items()
            for tool in document.tools
        }
        self._looked = time.monotonic()


class SharedTool:
    """A tool of a host that is asked only while it is not paused."""

    takes_key = True

    def __init__(self, remote: RemoteTool, shared: SharedTools) -> None:
        self.definition = remote.definition
        self.remote = remote
        self._shared = shared

    def __repr__(self) -> str:
        return repr(self.remote)

    async def call(self, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer:
        async def paused() -> str:
            return await self._shared.pause_of(self.remote.host)

        if why := await paused():
            return error(f"{self.definition.name} was not called: {why}", "paused")
        return await self.remote.call(arguments, caller, paused)


def distinct(tools: Iterable[Tool]) -> tuple[Tool, ...]:
    """Tools that a model can tell apart. Raises ClashingTools."""
    found: dict[str, Tool] = {}
    for tool in tools:
        name = tool.definition.name
        if name in found:
            raise ClashingTools(name, found[name], tool)
        found[name] = tool
    return tuple(found.values())


def _unknown(name: str, there: Iterable[str], hosts: Mapping[str, Approved]) -> str:
    known = sorted(there)
    host, dot, _ = name.partition(".")
    if not dot:
        return (
            f"{name!r} names no shared tool: write host.tool, such as web.search, or a pattern such as web.*"
        )
    if host not in hosts and "*" not in host:
        return (
            f"no tools of a host {host!r} are approved; there are hosts {', '.join(sorted(hosts)) or 'none'}. "
            f"`consort tools approve` approves those of a file"
        )
    near = difflib.get_close_matches(name, known, 3) or known[:10]
    return f"there is no shared tool {name!r}; there are {', '.join(near) or 'none'}"
