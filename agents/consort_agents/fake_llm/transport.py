"""The fake within this process: an HTTP transport that hands requests to a web application.

Unlike the one that comes with the HTTP library it passes pieces on as they come, ends in
an error where the application breaks off, and keeps the read timeout: so that a stalled or
a cut answer looks the same here as over a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import httpx2
from starlette.types import ASGIApp

Message = MutableMapping[str, Any]


class InProcess(httpx2.AsyncBaseTransport):
    """Each request runs the application in a task, which ends with the response at the latest."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        patience = (request.extensions.get("timeout") or {}).get("read")
        running = _Running(self._app, _scope(request), body, patience)
        start = await running.next()
        assert start is not None  # an application begins with its status
        return httpx2.Response(start["status"], headers=start["headers"], stream=running, request=request)


class _Running(httpx2.AsyncByteStream):
    """An application at work on one request, as the stream of its answer."""

    def __init__(self, app: ASGIApp, scope: Message, body: bytes, patience: float | None) -> None:
        self._patience = patience
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(app, scope, body))

    async def next(self) -> Message | None:
        """The next message of the application; None after its last. Raises httpx2.TransportError."""
        try:
            async with asyncio.timeout(self._patience):
                message = await self._messages.get()
        except TimeoutError as exc:
            self._task.cancel()
            raise httpx2.ReadTimeout("the application does not answer") from exc
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if message is None and self._broke_off():
            raise httpx2.RemoteProtocolError("peer closed connection without sending complete message body")
        return message

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.next()) is not None:
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        self._broke_off()

    def _broke_off(self) -> bool:
        return self._task.done() and not self._task.cancelled() and self._task.exception() is not None

    async def _run(self, app: ASGIApp, scope: Message, body: bytes) -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            self._messages.put_nowait(message)

        try:
            await app(scope, receive, send)
        finally:
            # One turn of the loop later, so that whoever waits finds this task ended.
            asyncio.get_running_loop().call_soon(self._messages.put_nowait, None)


def _scope(request: httpx2.Request) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(key.lower(), value) for key, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 0),
        "root_path": "",
    }
