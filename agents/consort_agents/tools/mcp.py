"""The tools of an MCP server: `async with mcp_tools("uvx some-server") as server: server.tools`.

A tool is what its server says it is, as far as it was approved: whoever connects approves
what is there then, or names digests (`pins`). A tool that is described otherwise later is
refused, by name and with what changed, until the new description is approved. What a
server says of itself gives the risk only where it makes it higher than nothing said.

When a server dies, calls in flight are answered with an error, because nobody knows
whether they were done; the next call connects again.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from consort_agents.tools.answers import LONGEST, failed, unfit
from consort_agents.tools.definition import Caller, Definition, ToolAnswer
from consort_agents.tools.errors import ServerTrouble, ToolChanged, ToolError
from consort_agents.tools.mcp_sessions import Session, told_by
from consort_agents.tools.mcp_shapes import answer_of, definition_of
from consort_agents.tools.secret import Secret, without
from consort_shared.values import Json

if TYPE_CHECKING:
    from mcp_types import Tool as Offered

_CONNECTING = 30.0
"""Seconds until a server has to be there with its list of tools."""
_RECHECK = 60.0
"""Seconds after which the list of tools is asked for again before a call."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is reached, and what its tools promise."""

    argv: tuple[str, ...]
    url: str
    name: str
    only: frozenset[str] | None
    pins: Mapping[str, str]
    env: Mapping[str, str | Secret] = field(default_factory=dict)
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    owner: str = ""
    data_class: str = "public"
    cost: int = 0
    timeout: float = 60.0
    limit: int = LONGEST
    recheck: float = _RECHECK
    folder: str = ""
    """where a command runs; empty for where this process does"""

    def secrets(self) -> list[str]:
        """Raises SecretMissing."""
        named = [value for value in (*self.env.values(), *self.headers.values()) if isinstance(value, Secret)]
        return [text for value in named for text in (value.sent(), value.read())]


class McpTool:
    """A tool of a server."""

    def __init__(self, server: McpServer, theirs: str, definition: Definition) -> None:
        self.definition = definition
        self.theirs = theirs
        """its name at the server"""
        self._server = server

    def __repr__(self) -> str:
        return f"<tool {self.definition.name}>"

    async def call(self, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer:
        name = self.definition.name
        try:
            session = await self._server.ready()
        except ToolError as exc:
            return failed(f"{name} was not called: {exc}")
        if (changed := self._server.changed.get(name)) is not None:
            return failed(f"{name} was not called: {changed}")
        if (why := unfit(self.definition.input_schema, arguments)) is not None:
            return failed(f"{name} was not called, its arguments do not fit: {why}")
        return await self._server.call(session, self, arguments)


class McpServer:
    """A connection to a server, held open, and its tools. An async context manager."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tools: list[McpTool] = []
        self.changed: dict[str, ToolError] = {}
        """tools that are not what was approved, by name"""
        self._found: dict[str, Definition] = {}
        self._session: Session | None = None
        self._connecting = asyncio.Lock()
        self._listed_at = 0.0
        self._approved = False

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def digests(self) -> dict[str, str]:
        """Of the tools as they were approved; to be given as `pins`."""
        return {tool.definition.name: tool.definition.digest for tool in self.tools}

    async def __aenter__(self) -> Self:
        """Connect. Raises ServerTrouble, SecretMissing; ToolError where what is wanted is not offered."""
        session = await self._connect()
        try:
            self._approve_first(session)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    def approve(self, name: str) -> None:
        """Take a changed tool as it is now. Raises ToolError for one that is gone, or never was."""
        tool = next((tool for tool in self.tools if tool.definition.name == name), None)
        if tool is None or name not in self._found:
            raise ToolError(f"the server {self.name!r} offers no tool {name!r} to approve")
        tool.definition = self._found[name]
        self.changed.pop(name, None)

    async def ready(self) -> Session:
        """A connection on which the list of tools is known to be fresh. Raises ServerTrouble, SecretMissing."""
        session = await self._connect()
        if session.stale.is_set() or time.monotonic() - self._listed_at > self.settings.recheck:
            async with self._connecting:
                session.stale.clear()
                try:
                    async with asyncio.timeout(_CONNECTING):
                        self._compare(await session.list_tools())
                except Exception as exc:
                    session.broken.set()
                    told = without(told_by(exc), self.settings.secrets())
                    raise ServerTrouble(f"the server {self.name!r} does not list its tools: {told}") from exc
        return session

    async def call(self, session: Session, tool: McpTool, arguments: Mapping[str, Json]) -> ToolAnswer:
        """One call on a connection; whatever goes wrong is the answer."""
        name, timeout = tool.definition.name, tool.definition.timeout
        secrets = self.settings.secrets()
        try:
            async with asyncio.timeout(timeout):
                result = await session.call_tool(tool.theirs, dict(arguments), timeout)
        except TimeoutError:
            done = "" if tool.definition.risk == "read" else "; whether it was done is not known"
            return failed(f"{name}: the server did not answer within {timeout:g} s{done}")
        except Exception as exc:  # noqa: BLE001  the SDK, the transport and the server's content can fail in any way
            told = without(told_by(exc), secrets)
            if session.is_lost(exc):
                session.broken.set()
                unknown = "; whether the call was done is not known" if tool.definition.risk != "read" else ""
                return failed(f"{name}: the server is gone ({told}){unknown}; the next call connects again")
            return failed(f"{name}: {told}")
        return answer_of(result, self.settings.limit, secrets)

    async def _connect(self) -> Session:
        async with self._connecting:
            if self._session is not None and not self._session.broken.is_set():
                return self._session
            await self._close()
            session = Session(self.settings)
            try:
                listed = await session.open(_CONNECTING)
            except BaseException:
                await session.close()
                raise
            self._session = session
            if self._approved:
                self._compare(listed)
            else:
                self._remember(listed)
            return session

    async def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _remember(self, offered: Sequence[Offered]) -> None:
        """What is offered now, as definitions."""
        self._listed_at = time.monotonic()
        self._found = {}
        for tool in offered:
            definition = definition_of(tool, made(self.name, tool.name), self.settings)
            if definition is not None:
                self._found.setdefault(definition.name, definition)

    def _approve_first(self, session: Session) -> None:
        theirs: dict[str, str] = {}
        for offered in session.listed:
            theirs.setdefault(made(self.name, offered.name), offered.name)
        wanted = self.settings.only
        if wanted is not None:
            missing = sorted(wanted - set(theirs.values()) - set(theirs))
            if missing:
                there = ", ".join(sorted(theirs.values())) or "none"
                raise ToolError(
                    f"the server {self.name!r} offers no {', '.join(missing)}; there are: {there}"
                )
        self._approved = True
        for name, definition in self._found.items():
            if wanted is None or name in wanted or theirs[name] in wanted:
                self.tools.append(McpTool(self, theirs[name], definition))
                pin = self.settings.pins.get(name)
                if pin is not None and pin != definition.digest:
                    self.changed[name] = ToolChanged(name, (), pin, definition.digest)

    def _compare(self, offered: Sequence[Offered]) -> None:
        """Refuse from now on what is described otherwise than it was approved; allow what is as it was again."""
        self._remember(offered)
        for tool in self.tools:
            approved, name = tool.definition, tool.definition.name
            pin = self.settings.pins.get(name, approved.digest)
            found = self._found.get(name)
            if found is None:
                self.changed[name] = ToolError(f"the server {self.name!r} no longer offers it")
            elif found.digest == approved.digest and (name not in self.changed or pin == approved.digest):
                self.changed.pop(name, None)
            else:
                what = [
                    field
                    for field in Definition.model_fields
                    if getattr(found, field) != getattr(approved, field)
                ]
                self.changed[name] = ToolChanged(name, what, pin, found.digest)


def made(server: str, theirs: str) -> str:
    """The name of a server's tool here."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", f"{server}__{theirs}")[:64]


def mcp_tools(
    target: str | Sequence[str],
    *,
    name: str = "",
    only: Sequence[str] | None = None,
    pins: Mapping[str, str] | None = None,
    env: Mapping[str, str | Secret] | None = None,
    headers: Mapping[str, str | Secret] | None = None,
    owner: str = "",
    data_class: str = "public",
    cost: int = 0,
    timeout: float = 60.0,
    limit: int = LONGEST,
    recheck: float = _RECHECK,
    folder: str = "",
) -> McpServer:
    """The tools of an MCP server: a command that starts one (`"uvx some-server"`), or the URL of one.

    `only` are its names for the tools that are wanted. `pins` maps names here (`server__tool`) to the digests
    that are approved. A command gets no environment but `env` and runs in `folder`, a URL is sent `headers`; both
    take secrets. `timeout` and `recheck` are seconds, `limit` characters of an answer, `cost` nano-dollars a call.
    Raises ToolError for what cannot be a server; connecting is for `async with`.
    """
    url = target if isinstance(target, str) and re.match(r"https?://", target) else ""
    try:
        argv = () if url else tuple(shlex.split(target) if isinstance(target, str) else target)
    except ValueError as exc:
        raise ToolError(f"the command {target!r} cannot be taken apart: {exc}") from exc
    if not url and not argv:
        raise ToolError("an MCP server is a command or a URL; this is empty")
    if (url and env) or (argv and headers):
        raise ToolError("env is for a command, headers are for a URL")
    label = re.sub(r"[^A-Za-z0-9_-]", "_", name or _named_after(argv, url))[:30]
    return McpServer(
        Settings(
            argv,
            url,
            label,
            frozenset(only) if only is not None else None,
            dict(pins or {}),
            dict(env or {}),
            dict(headers or {}),
            owner,
            data_class,
            cost,
            timeout,
            limit,
            recheck,
            folder,
        )
    )


def _named_after(argv: Sequence[str], url: str) -> str:
    """The server's own word for itself would do, but is not known before it runs."""
    if url:
        return re.sub(r"^https?://(?:[^@/]*@)?", "", url).split("/", 1)[0].split(":", 1)[0]
    words = [word for word in argv[1:] if not word.startswith("-")] or [argv[0]]
    return words[0].rstrip("/").rsplit("/", 1)[-1].removesuffix(".py").lstrip("@") or "mcp"
