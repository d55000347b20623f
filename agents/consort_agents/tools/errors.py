"""What can go wrong with a tool before it is called.

AgentError
└── ToolError           a tool cannot be used as it is declared
    ├── ToolsFileError  a file of tools, with every fault and its line
    ├── OpenApiError    a description of an HTTP service, with every fault and its place
    ├── ServerTrouble   an MCP server cannot be reached, or does not speak as it should
    ├── ToolChanged     a tool is no longer the one that was approved
    ├── NotProtected    the sandbox lacks a protection that was required
    └── SecretMissing   the environment has no such secret

What goes wrong *in* a call is an answer with `is_error`, never an exception: a model reads
it and mends its call.
"""

from __future__ import annotations

from collections.abc import Sequence

from consort_agents.errors import AgentError
from consort_shared.errors import Fault


class ToolError(AgentError):
    """A tool cannot be used as it is declared."""


class ToolsFileError(ToolError):
    """A file of tools that cannot be used, with every fault found in it."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{source}: {len(faults)} fault{'s' if len(faults) != 1 else ''}\n{lines}")
        self.source = source
        self.faults = tuple(faults)


class OpenApiError(ToolError):
    """A description of an HTTP service that tools cannot be made from. Places are JSON pointers."""

    def __init__(self, source: str, faults: Sequence[tuple[str, str]]) -> None:
        lines = "\n".join(f"  {place or '#'}: {what}" for place, what in faults)
        super().__init__(f"{source}: {len(faults)} fault{'s' if len(faults) != 1 else ''}\n{lines}")
        self.source = source
        self.faults = tuple(faults)


class ServerTrouble(ToolError):
    """An MCP server cannot be reached, or does not speak as it should."""


class ToolChanged(ToolError):
    """A tool is no longer the one that was approved; it is refused until its new digest is."""

    def __init__(self, name: str, what: Sequence[str], approved: str, found: str) -> None:
        changed = ", ".join(what) or "its definition"
        super().__init__(
            f"tool {name!r} is not the one that was approved ({changed} changed); it is refused until its "
            f"digest {found} is approved (approved: {approved})"
        )
        self.name = name
        self.what = tuple(what)
        self.approved = approved
        self.found = found


class NotProtected(ToolError):
    """The sandbox lacks a protection that was required."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(
            f"the sandbox of this system has no protection of {', '.join(missing)}, and the tool requires it; "
            "`consort_agents.tools.sandbox_protections()` tells why, `require=()` goes without"
        )
        self.missing = tuple(missing)


class SecretMissing(ToolError):
    """The environment has no such secret."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the environment variable {name} is not set; the tool needs the secret that belongs there"
        )
        self.name = name
