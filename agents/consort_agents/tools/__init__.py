"""Tools of agents: functions, HTTP services, commands in a sandbox, and what MCP servers offer.

    from consort_agents import tool
    from consort_agents.tools import mcp_tools, openapi, secret, shell

`definition` says what a tool is, `collection` holds them by name, `permissions` says who may call
them, `files` reads them from `tools.yaml` and is imported by whoever does that. The clients of HTTP
and MCP are imported when they are first used.
"""

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
