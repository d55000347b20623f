"""From a file of tools to what a host serves. The only place here that knows the file's format."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from consort_agents.hosting.errors import HostError
from consort_agents.hosting.served import Served
from consort_agents.hosting.turns import Quota
from consort_agents.tools.definition import Definition
from consort_agents.tools.files import ToolsFile, build, load_tools
from consort_agents.tools.permissions import Allow, permitted
from consort_shared.ids import is_token
from consort_shared.values import Json


@asynccontextmanager
async def serving(path: Path, name: str = "") -> AsyncIterator[Served]:
    """What a file defines, ready to be called while the block lasts. Raises HostError, ToolError."""
    host = host_name(path, name)
    file = await asyncio.to_thread(load_tools, path)
    async with build(file) as box:
        tools = {tool.definition.name: tool for tool in box}
        quotas = {tool: _quota(file, tool) for tool in tools}
        yield Served(host, tools, Rules(file.allow), quotas, box.approved)


def host_name(path: Path, said: str) -> str:
    """The name of a host: as it was said, or that of its file. Raises HostError."""
    name = said or re.sub(r"[^a-z0-9_-]", "-", path.stem.lower())
    if not is_token(name):
        raise HostError(
            f"{name!r} cannot be the name of a host: at most 32 lower-case letters, digits, _ and -; "
            "say one with --name"
        )
    return name


class Rules:
    """The rules of a file. What none of them allows is denied, also where there are none."""

    def __init__(self, rules: Sequence[Allow]) -> None:
        self._rules = rules

    def __call__(self, agent: str, tool: Definition, arguments: Mapping[str, Json]) -> str:
        if not self._rules:
            return f"the host's file allows nobody anything; `allow:` says who may call {tool.name}"
        verdict = permitted(self._rules, agent, tool, arguments)
        return "" if verdict.allowed else verdict.why


def _quota(file: ToolsFile, tool: str) -> Quota:
    limits = file.limits(tool)
    return Quota(limits.concurrent, limits.calls_per_minute, limits.calls_per_run)
