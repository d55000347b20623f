"""Tools of agents: functions, HTTP services, commands in a sandbox, and what MCP servers offer.

    from consort_agents import tool
    from consort_agents.tools import mcp_tools, openapi, secret, shell

`definition` says what a tool is, `collection` holds them by name, `permissions` says who may call
them, `files` reads them from `tools.yaml` and is imported by whoever does that. Everything is
imported when it is first used: most agents have no tools.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consort_agents.tools.collection import ToolBox, promising
    from consort_agents.tools.definition import Caller, Definition, Tool, ToolAnswer
    from consort_agents.tools.errors import (
        NotProtected,
        OpenApiError,
        SecretMissing,
        ServerTrouble,
        ToolChanged,
        ToolError,
        ToolsFileError,
    )
    from consort_agents.tools.functions import tool
    from consort_agents.tools.labels import RULE, labelled
    from consort_agents.tools.mcp import McpServer, mcp_tools
    from consort_agents.tools.openapi import openapi
    from consort_agents.tools.permissions import Allow, permitted
    from consort_agents.tools.sandbox import Limits, sandbox_protections
    from consort_agents.tools.secret import secret
    from consort_agents.tools.shell import shell

__all__ = [
    "RULE",
    "Allow",
    "Caller",
    "Definition",
    "Limits",
    "McpServer",
    "NotProtected",
    "OpenApiError",
    "SecretMissing",
    "ServerTrouble",
    "Tool",
    "ToolAnswer",
    "ToolBox",
    "ToolChanged",
    "ToolError",
    "ToolsFileError",
    "labelled",
    "mcp_tools",
    "openapi",
    "permitted",
    "promising",
    "sandbox_protections",
    "secret",
    "shell",
    "tool",
]

_HOMES = {
    "Allow": "permissions",
    "Caller": "definition",
    "Definition": "definition",
    "Limits": "sandbox",
    "McpServer": "mcp",
    "NotProtected": "errors",
    "OpenApiError": "errors",
    "RULE": "labels",
    "SecretMissing": "errors",
    "ServerTrouble": "errors",
    "Tool": "definition",
    "ToolAnswer": "definition",
    "ToolBox": "collection",
    "ToolChanged": "errors",
    "ToolError": "errors",
    "ToolsFileError": "errors",
    "labelled": "labels",
    "mcp_tools": "mcp",
    "openapi": "openapi",
    "permitted": "permissions",
    "promising": "collection",
    "sandbox_protections": "sandbox",
    "secret": "secret",
    "shell": "shell",
    "tool": "functions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


class _Named(ModuleType):
    """This package: of a function and a module of one name (`secret`, `shell`, `openapi`), the function is meant.

    Importing such a module would put it in the function's place.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Named
