"""Tools declared in a file, `tools.yaml`: which there are, who may call them, how often.

`load_tools` reads and checks the text and starts nothing; `build` imports, connects and gives
the tools. What is wrong is told with its line, all of it at once. What the limits mean is for
whoever serves the tools; here they are only read.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from consort_agents.tools.collection import ToolBox, promising
from consort_agents.tools.declarations import (
    Contents,
    Declaration,
    FunctionDeclaration,
    McpDeclaration,
    OpenApiDeclaration,
    Promises,
    ShellDeclaration,
    ToolLimits,
    limits_of,
)
from consort_agents.tools.definition import Tool
from consort_agents.tools.errors import ToolError, ToolsFileError
from consort_agents.tools.functions import FunctionTool, tool
from consort_agents.tools.mcp import mcp_tools
from consort_agents.tools.openapi import openapi
from consort_agents.tools.permissions import Allow
from consort_agents.tools.shell import shell
from consort_shared.errors import Fault, InvalidInput
from consort_shared.plan.reader import Document, read_json, read_yaml

Path_ = tuple[str | int, ...]
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class ToolsFile:
    """A file of tools that was read and checked."""

    path: Path
    contents: Contents
    lines: Mapping[Path_, int]

    @property
    def allow(self) -> tuple[Allow, ...]:
        return self.contents.allow

    def limits(self, name: str) -> ToolLimits:
        """What holds for one tool: the tightest of all that concern it."""
        return limits_of(self.contents.limits, name)


def load_tools(path: str | Path) -> ToolsFile:
    """Read a file of tools. Raises ToolsFileError with every fault and its line."""
    file = Path(path)
    source = str(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise ToolsFileError(source, [Fault("", f"cannot be read: {exc}")]) from exc
    try:
        document = read_json(text, source) if file.suffix == ".json" else read_yaml(text, source)
    except InvalidInput as exc:
        raise ToolsFileError(
            source, [Fault("", str(exc).removeprefix(f"{source}, ").removeprefix(f"{source}: "))]
        ) from exc
    if document.faults:
        raise ToolsFileError(source, document.faults)
    if not isinstance(document.value, Mapping):
        raise ToolsFileError(source, [Fault("", "has no tools; it begins with `tools:` and a list", 1)])
    try:
        contents = Contents.model_validate(document.value)
    except ValidationError as exc:
        raise ToolsFileError(source, [_fault(error, document) for error in exc.errors()]) from exc
    return ToolsFile(file, contents, document.lines)


@asynccontextmanager
async def build(file: ToolsFile) -> AsyncIterator[ToolBox]:
    """The tools of a file, with its rules; connections to MCP servers are open as long as the block is.

    Raises ToolsFileError with the line of what cannot be made, or names no tool.
    """
    contents = file.contents
    made: list[Tool] = []
    async with AsyncExitStack() as stack:
        for at, declaration in enumerate(contents.tools):
            try:
                made += await _tools(declaration, file.path.resolve().parent, stack)
            except ToolError as exc:
                line = file.lines.get(("tools", at))
                raise ToolsFileError(str(file.path), [Fault(f"tools[{at}]", str(exc), line)]) from exc
        try:
            box = ToolBox(made, rules=contents.allow, approved=contents.approved)
        except ToolError as exc:
            raise ToolsFileError(
                str(file.path), [Fault("tools", str(exc), file.lines.get(("tools",)))]
            ) from exc
        _check_names(file, box)
        yield box


async def _tools(declaration: Declaration, folder: Path, stack: AsyncExitStack) -> list[Tool]:
    made: list[Tool]
    common = _given(owner=declaration.owner, data_class=declaration.data_class, limit=declaration.limit)
    timed = _given(timeout=declaration.timeout)
    match declaration:
        case FunctionDeclaration():
            return [_promised(found, declaration, timed) for found in functions(declaration.function, folder)]
        case OpenApiDeclaration():
            api = declaration.openapi
            file = folder / api.file
            options = api.options()
            made = [*openapi(file, **options, **common, **timed)]
        case ShellDeclaration():
            return [_promised(_command(declaration, folder, {**common, **timed}), declaration, {})]
        case McpDeclaration():
            options = {**declaration.mcp.options(), "folder": str(folder)}
            server = mcp_tools(declaration.mcp.target, **options, **common, **timed)
            made = [*(await stack.enter_async_context(server)).tools]
    unknown = sorted(set(declaration.each) - {found.definition.name for found in made})
    if unknown:
        offered = ", ".join(found.definition.name for found in made) or "none"
        raise ToolError(f"`each` names {', '.join(unknown)}, but the tools are: {offered}")
    return [_promised(found, declaration, {}) for found in made]


def _command(declaration: ShellDeclaration, folder: Path, more: Mapping[str, Any]) -> Tool:
    command = declaration.shell
    read = [str(folder / path) for path in command.read]
    return shell(command.name, command.command, **command.options(), read=read, **more)


def _promised(found: Tool, declaration: Declaration, more: Mapping[str, Any]) -> Tool:
    own = declaration.each.get(found.definition.name, Promises())
    changes = {**declaration.changes(), **own.changes(), **more}
    return promising(found, **changes)


def functions(reference: str, folder: Path) -> list[Tool]:
    """The tools that `module:name` or `module` names; a function that is no tool becomes one.

    The module is looked for in `folder` too. Raises ToolError.
    """
    module_name, _, attribute = reference.partition(":")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(module_name.removesuffix(".py"))
    except ModuleNotFoundError as exc:
        if exc.name is not None and not module_name.startswith(exc.name):
            raise ToolError(f"{module_name} needs the package {exc.name!r}, which is not installed") from exc
        raise ToolError(f"there is no module {module_name!r}") from exc
    except (Exception, SystemExit) as exc:
        raise ToolError(f"{module_name} cannot be imported: {type(exc).__name__}: {exc}") from exc
    named = {key: value for key, value in vars(module).items() if isinstance(value, FunctionTool)}
    if not attribute:
        if not named:
            raise ToolError(
                f"{module_name} has no tools; decorate functions with @tool, or name one: module:function"
            )
        return [*dict.fromkeys(named.values())]
    found = getattr(module, attribute, None)
    if isinstance(found, FunctionTool):
        return [found]
    if callable(found) and not isinstance(found, type):
        return [tool(found)]
    raise ToolError(
        f"{module_name} has no function {attribute!r}; its tools are: {', '.join(named) or 'none'}"
    )


def _check_names(file: ToolsFile, box: ToolBox) -> None:
    """What is said of a tool that there is not holds for nothing, and nobody would notice. Raises ToolsFileError."""
    named: list[tuple[Path_, str]] = [(("approved", name), name) for name in sorted(file.contents.approved)]
    named += [(("allow", at, "tool"), rule.tool) for at, rule in enumerate(file.contents.allow)]
    named += [(("limits", at, "tool"), limit.tool) for at, limit in enumerate(file.contents.limits)]
    there = ", ".join(sorted(box.digests)) or "none"
    faults = [
        Fault(_where(place), f"there is no tool {name!r}; there are: {there}", file.lines.get(place))
        for place, name in named
        if name not in box.digests and (place[0] == "approved" or not _GLOB.search(name))
    ]
    if faults:
        raise ToolsFileError(str(file.path), faults)


def _where(place: Path_) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _fault(error: Mapping[str, Any], document: Document) -> Fault:
    """One fault of the models, with its place in the file."""
    loc = list(error["loc"])
    if loc[0] == "tools" and len(loc) > 2:
        del loc[2]  # the kind of the declaration, which is no place
    path: list[str | int] = []
    value = document.value
    for part in loc:
        inside = value if isinstance(value, Mapping) else range(len(value)) if isinstance(value, list) else ()
        if part in inside:
            path.append(part)
            value = value[part]
    where = _where(tuple(path))
    places = [tuple(path[:end]) for end in range(len(path), -1, -1)]
    line = next((document.lines[place] for place in places if place in document.lines), None)
    match error["type"]:
        case "missing":
            what = f"`{loc[-1]}` is missing"
        case "extra_forbidden":
            what = f"`{loc[-1]}` is not known here"
        case "tuple_type":
            what = "a list is wanted"
        case _:
            what = str(error["msg"]).removeprefix("Value error, ")
    return Fault(where, what, line)
