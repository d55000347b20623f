"""How an MCP server is reached: as a process that is started here, or over HTTP.

Both read no more of one answer than `MOST_BYTES`: what is longer becomes an error for the
call that wanted it, and is never held. A process gets next to no environment, runs in a
group of its own, and is gone with its group when the connection ends. The SDK is imported
when the first server is connected.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp.shared.message import SessionMessage

MOST_BYTES = 4_000_000
"""Bytes of one answer that are taken."""
_CHUNK = 65536
_LAST_WORDS = 2000
_GRACE = 1.0
"""Seconds for a server to end once its input is closed, and again once it is told to."""
_ID = re.compile(rb'"id"\s*:\s*(\d+|"[^"]{1,100}")')
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE")
"""Of the environment; what a server needs besides is given to it by name."""


class Process:
    """A server as a process; `gone` is set when it has closed its output."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], folder: str = "") -> None:
        self.argv = list(argv)
        self.folder = folder or None
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self.env = {**kept, "PATH": _path(kept.get("PATH", os.defpath)), **env}
        self.gone = asyncio.Event()
        self.last_words = b""
        """the end of what it wrote to its error output"""

    @asynccontextmanager
    async def transport(self) -> AsyncIterator[Any]:
        """The two streams that the SDK wants. Raises OSError when the program cannot be started."""
        import anyio

        process = await asyncio.create_subprocess_exec(
            *self.argv,
            env=self.env,
            cwd=self.folder,
            start_new_session=True,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        heard, reader = anyio.create_memory_object_stream[Any](0)
        writer, said = anyio.create_memory_object_stream[Any](0)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._hear(process, heard)),
                    group.create_task(_say(process, said)),
                    group.create_task(self._note(process)),
                ]
                try:
                    yield reader, writer
                finally:
                    for task in tasks:
                        task.cancel()
        finally:
            for stream in (heard, reader, writer, said):
                stream.close()
            await _end(process)

    async def _hear(self, process: asyncio.subprocess.Process, heard: MemoryObjectSendStream[Any]) -> None:
        """One message a line; then nothing more comes."""
        import anyio

        assert process.stdout is not None
        try:
            async for line in _lines(process.stdout):
                message = _message(line)
                if message is not None:
                    await heard.send(message)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            pass
        finally:
            self.gone.set()
            heard.close()

    async def _note(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while chunk := await process.stderr.read(_CHUNK):
            self.last_words = (self.last_words + chunk)[-_LAST_WORDS:]


def _path(known: str) -> str:
    """Programs beside the interpreter that runs here come first: `python` is that one, with its packages."""
    return os.pathsep.join((os.path.dirname(sys.executable), known))


async def _say(process: asyncio.subprocess.Process, said: MemoryObjectReceiveStream[SessionMessage]) -> None:
    import anyio

    assert process.stdin is not None
    with suppress(ConnectionError, anyio.ClosedResourceError, anyio.BrokenResourceError):
        async for item in said:
            text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
            process.stdin.write(text.encode() + b"\n")
            await process.stdin.drain()


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Lines; of one that is too long the beginning, with nothing but its length told at its end."""
    kept = bytearray()
    dropped = 0
    while chunk := await stream.read(_CHUNK):
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            dropped += max(0, len(kept) + len(part) - MOST_BYTES)
            kept += part[: MOST_BYTES - len(kept)]
            yield bytes(kept) if not dropped else _too_long(kept, dropped)
            kept, dropped = bytearray(), 0
        dropped += max(0, len(kept) + len(rest) - MOST_BYTES)
        kept += rest[: MOST_BYTES - len(kept)]


def _too_long(kept: bytearray, dropped: int) -> bytes:
    """In place of an answer that was too long: an error for the same request, if it can be told which."""
    found = _ID.search(kept[:500])
    told = f"the answer has {len(kept) + dropped} bytes, more than the {MOST_BYTES} that are taken"
    if found is None:
        return b""
    return b'{"jsonrpc":"2.0","id":%s,"error":{"code":-32001,"message":"%s"}}' % (
        found.group(1),
        told.encode(),
    )


def _message(line: bytes) -> Any:
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    if not line.strip():
        return None
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as exc:
        return ValueError(f"a line of {len(line)} bytes is no message: {type(exc).__name__}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close its input, ask it to end, and end it; cancelled, at once."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        for step in (None, signal.SIGTERM):
            if step is not None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, step)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _GRACE)
                break
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


@asynccontextmanager
async def over_http(url: str, headers: Mapping[str, str], timeout: float) -> AsyncIterator[Any]:
    """The two streams for a server at a URL. `timeout` in seconds, for any one silence of it."""
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would log every URL
    async with (
        httpx2.AsyncClient(
            headers=dict(headers),
            timeout=httpx2.Timeout(30.0, read=timeout),
            transport=_bounded(httpx2.AsyncHTTPTransport()),
            trust_env=False,
        ) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=MOST_BYTES) as streams,
    ):
        yield streams


def _bounded(inner: httpx2.AsyncHTTPTransport) -> httpx2.AsyncBaseTransport:
    """A transport that breaks off a JSON answer when it becomes too long; events have a limit of their own."""
    import httpx2

    class Bounded(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            request.headers["Accept-Encoding"] = "identity"
            response = await inner.handle_async_request(request)
            if response.headers.get("content-type", "").startswith("application/json"):
                assert isinstance(response.stream, httpx2.AsyncByteStream)
                response.stream = Counted(response.stream)
            return response

        async def aclose(self) -> None:
            await inner.aclose()

    class Counted(httpx2.AsyncByteStream):
        def __init__(self, stream: httpx2.AsyncByteStream) -> None:
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            taken = 0
            async for chunk in self.stream:
                taken += len(chunk)
                if taken > MOST_BYTES:
                    raise httpx2.ReadError(f"the answer has more than the {MOST_BYTES} bytes that are taken")
                yield chunk

        async def aclose(self) -> None:
            await self.stream.aclose()

    return Bounded()
