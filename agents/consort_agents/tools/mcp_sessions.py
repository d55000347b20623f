"""One connection to an MCP server, held in a task of its own.

The SDK's scopes must be left by the task that entered them, while calls come from any; so
a task opens the connection, waits, and closes it again. Knows nothing of approval.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from consort_agents.signatures import sentences
from consort_agents.tools.errors import ServerTrouble
from consort_agents.tools.mcp_transports import Process, over_http
from consort_agents.tools.secret import Secret, without
from consort_shared.telemetry.redacting import redacted_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mcp import Client
    from mcp_types import CallToolResult
    from mcp_types import Tool as Offered

_log = logging.getLogger("consort.tools")
_MOST_PAGES = 50
_MOST_TOOLS = 1000
_CLOSED = -32000
"""JSON-RPC's code of the SDK for a connection that ended."""


class Target(Protocol):
    """What a session has to know of how a server is reached."""

    @property
    def argv(self) -> tuple[str, ...]: ...
    @property
    def folder(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def env(self) -> Mapping[str, str | Secret]: ...
    @property
    def headers(self) -> Mapping[str, str | Secret]: ...
    @property
    def timeout(self) -> float: ...
    def secrets(self) -> list[str]: ...


class Session:
    """A connection; `broken` once it must not be used again, `stale` once the list of tools may differ."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.listed: Sequence[Offered] = ()
        self.broken = asyncio.Event()
        self.stale = asyncio.Event()
        self._client: Client | None = None
        self._process: Process | None = None
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self, within: float) -> Sequence[Offered]:
        """Connect, and the tools that are offered. Raises ServerTrouble, SecretMissing."""
        secrets = self.target.secrets()
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(ready))
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(ready)
        except TimeoutError as exc:
            raise self._trouble(f"is not there after {within:g} s", secrets) from exc
        except Exception as exc:
            raise self._trouble(f"cannot be used: {told_by(exc)}", secrets) from exc
        return self.listed

    async def close(self) -> None:
        """End the connection, and the process with it."""
        self._stop.set()
        self.broken.set()
        if self._task is None:
            return
        done, _ = await asyncio.wait({self._task}, timeout=10.0)
        if not done:
            self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._task

    async def list_tools(self) -> Sequence[Offered]:
        """All pages of them. Raises what the SDK raises."""
        client = self._connected()
        found: list[Offered] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await client.list_tools(cursor=cursor, cache_mode="bypass")
            found += page.tools
            cursor = page.next_cursor
            if not cursor or len(found) > _MOST_TOOLS:
                break
        self.listed = found[:_MOST_TOOLS]
        return self.listed

    async def call_tool(self, name: str, arguments: dict[str, Any], timeout: float) -> CallToolResult:
        """Raises what the SDK raises."""
        return await self._connected().call_tool(name, arguments, read_timeout_seconds=timeout)

    def is_lost(self, error: BaseException) -> bool:
        """Whether an error means that the connection is of no more use."""
        import anyio
        import httpx2
        from mcp.shared.exceptions import MCPError

        if self._process is not None and self._process.gone.is_set():
            return True
        if isinstance(error, MCPError):
            return error.code == _CLOSED
        lost = (ConnectionError, anyio.ClosedResourceError, anyio.BrokenResourceError, httpx2.TransportError)
        return isinstance(error, lost)

    def _connected(self) -> Client:
        if self._client is None:
            raise ConnectionError("not connected")
        return self._client

    async def _hold(self, ready: asyncio.Future[None]) -> None:
        from mcp import Client

        try:
            async with Client(
                self._transport(), message_handler=self._heard, read_timeout_seconds=self.target.timeout
            ) as client:
                self._client = client
                await self.list_tools()
                if not ready.done():
                    ready.set_result(None)
                async with self._listening(client):
                    await self._until_over()
        except Exception as exc:  # noqa: BLE001  the edge of a connection: it is told to who waits, or logged
            if not ready.done():
                ready.set_exception(exc)
            elif not self._stop.is_set():
                _log.warning(
                    "the connection to the MCP server %s broke: %s", self.target.name, type(exc).__name__
                )
        finally:
            self.broken.set()
            self._client = None

    def _transport(self) -> Any:
        if self.target.url:
            return over_http(self.target.url, _plain(self.target.headers), self.target.timeout + 5.0)
        self._process = Process(self.target.argv, _plain(self.target.env), self.target.folder)
        return self._process.transport()

    async def _until_over(self) -> None:
        waits = [asyncio.ensure_future(self._stop.wait()), asyncio.ensure_future(self.broken.wait())]
        if self._process is not None:
            waits.append(asyncio.ensure_future(self._process.gone.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _heard(self, message: Any) -> None:
        """Of servers that speak the older protocol."""
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            self.stale.set()

    @asynccontextmanager
    async def _listening(self, client: Client) -> AsyncIterator[None]:
        """Hear of changes from servers that speak the newer protocol; not every server tells."""
        from mcp.client.subscriptions import ListenNotSupportedError

        async def listen() -> None:
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        self.stale.set()
            except ListenNotSupportedError:
                return
            except Exception as exc:  # noqa: BLE001  hearing of changes is a help; the list is asked for again anyway
                _log.debug("the MCP server %s tells no changes: %s", self.target.name, type(exc).__name__)
            self.stale.set()

        task = asyncio.create_task(listen())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _trouble(self, what: str, secrets: list[str]) -> ServerTrouble:
        words = (
            self._process.last_words.decode("utf-8", "replace").strip() if self._process is not None else ""
        )
        told = f"; it said: {words[-600:]}" if words else ""
        return ServerTrouble(
            redacted_text(without(f"the MCP server {self.target.name!r} {what}{told}", secrets))
        )


def told_by(error: BaseException) -> str:
    """What an error says, without the groups that task groups make."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, ValidationError):
        return f"what it says is not as the protocol wants it: {sentences(error)}"
    text = " ".join(str(getattr(error, "message", "") or error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _plain(named: Mapping[str, str | Secret]) -> dict[str, str]:
    return {name: value.sent() if isinstance(value, Secret) else value for name, value in named.items()}
