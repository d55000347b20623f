"""A real MCP server for the tests: `python mcp_server.py NOTES [PORT]`; without a port it speaks on its pipes.

NOTES is a folder: what is in `description` there describes the tool `greet`, and calls are noted in `calls`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp_types import ToolAnnotations

NOTES = Path(sys.argv[1])
server = MCPServer("pets", log_level="ERROR")


def note(what: str) -> None:
    with (NOTES / "calls").open("a") as file:
        file.write(f"{what}\n")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Adds."""
    note("add")
    return a + b


def greet(name: str) -> str:
    return f"Hello, {name}!"


def described() -> None:
    server.add_tool(greet, description=(NOTES / "description").read_text())


described()


@server.tool(annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True))
async def change(ctx: Context) -> str:
    """Describes `greet` anew."""
    server.remove_tool("greet")
    described()
    await ctx.notify_tools_changed()
    return "changed"


@server.tool()
def erase() -> str:
    """Says nothing of what it does."""
    raise ValueError("cannot be erased")


@server.tool()
def many(megabytes: int) -> str:
    return "x" * (megabytes * 1_000_000)


@server.tool()
def hang() -> str:
    note("hang")
    time.sleep(60)
    return "late"


@server.tool()
def die() -> str:
    note("die")
    os._exit(3)


@server.tool()
def environment() -> list[str]:
    return sorted(os.environ)


@server.tool()
def picture() -> Image:
    return Image(data=b"\x89PNG" * 10, format="png")


@server.tool()
def reveal(name: str) -> str:
    return os.environ[name]


if len(sys.argv) > 2:
    server.run("streamable-http", port=int(sys.argv[2]))
else:
    server.run()
