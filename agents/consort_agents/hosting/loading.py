"""From a file to what a host serves.

The only place here that knows the file's format. Whatever is wrong with it is told with its place.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from consort_agents.hosting.errors import HostError
from consort_agents.hosting.served import Served
from consort_agents.hosting.turns import Quota
from consort_agents.tools.definition import Caller, Definition, Tool, ToolAnswer
from consort_shared.ids import is_token
from consort_shared.values import Json


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Allow(_Part):
    tools: str = "*"
    agents: str = "*"
    arguments: dict[str, str] = {}
    data_classes: tuple[str, ...] | None = None

    def covers(self, agent: str, tool: Definition, arguments: Mapping[str, Json]) -> bool:
        return (
            fnmatchcase(tool.name, self.tools)
            and fnmatchcase(agent, self.agents)
            and (self.data_classes is None or tool.data_class in self.data_classes)
            and all(fnmatchcase(str(arguments.get(key, "")), glob) for key, glob in self.arguments.items())
        )


class _Limits(_Part):
    calls_per_run: int | None = None
    calls_per_minute: int | None = None
    concurrent: int | None = None


class _Entry(_Part):
    function: str
    name: str | None = None
    risk: str | None = None
    cost: int | None = None
    owner: str | None = None
    data_class: str | None = None
    timeout: float | None = None
    idempotent: bool | None = None
    cache: bool | None = None
    limits: _Limits = _Limits()


class _File(_Part):
    host: str = ""
    tools: tuple[_Entry, ...]
    allow: tuple[_Allow, ...] = ()
    limits: _Limits = _Limits()


class _Redefined:
    def __init__(self, tool: Tool, definition: Definition) -> None:
        self._tool = tool
        self.definition = definition

    @property
    def takes_key(self) -> bool:
        return bool(getattr(self._tool, "takes_key", False))

    async def call(self, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer:
        return await self._tool.call(arguments, caller)


@asynccontextmanager
async def serving(path: Path, name: str = "") -> AsyncIterator[Served]:
    """What the file defines, ready to be called while the block lasts. Raises HostError, ToolError."""
    try:
        file = _File.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, ValidationError) as exc:
        raise HostError(f"{path}: {exc}") from exc
    sys.path.insert(0, str(path.resolve().parent))
    tools: dict[str, Tool] = {}
    quotas = {}
    for entry in file.tools:
        module, _, attribute = entry.function.partition(":")
        tool: Any = getattr(importlib.import_module(module), attribute)
        told = entry.model_dump(exclude_none=True, exclude={"function", "limits"})
        definition = Definition.model_validate({**tool.definition.model_dump(), **told})
        tools[definition.name] = _Redefined(tool, definition)
        limits = entry.limits if entry.limits != _Limits() else file.limits
        quotas[definition.name] = Quota(limits.concurrent, limits.calls_per_minute, limits.calls_per_run)
    yield Served(host_name(path, name or file.host), tools, _permits(file.allow), quotas)


def host_name(path: Path, said: str) -> str:
    """The name of a host: as it was said, or that of its file. Raises HostError."""
    name = said or re.sub(r"[^a-z0-9_-]", "-", path.stem.lower())
    if not is_token(name):
        raise HostError(f"{name!r} cannot be the name of a host: lower-case letters, digits, _ and - only")
    return name


def _permits(rules: Sequence[_Allow]) -> Any:
    def permits(agent: str, tool: Definition, arguments: Mapping[str, Json]) -> str:
        if any(rule.covers(agent, tool, arguments) for rule in rules):
            return ""
        return f"agent {agent} may not call {tool.name} with these arguments"

    return permits
