"""The fake, reachable: on a loopback port for any process, or within this one for the SDK's HTTP client."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from consort_agents.fake_llm.record import Asking, Heard, Record
from consort_agents.models.script import Script
from consort_shared.errors import InvalidInput

if TYPE_CHECKING:
    import httpx2
    import uvicorn
    from starlette.types import ASGIApp

GRACE = 1
"""Seconds that answers under way have when it stops."""


class Fake:
    """A fake that is being served."""

    def __init__(self, url: str, record: Record) -> None:
        self.url = url
        self._record = record

    @property
    def requests(self) -> list[Asking]:
        return list(self._record.requests)

    def distinct(self) -> int:
        """How many different requests were answered."""
        return self._record.distinct()


@asynccontextmanager
async def serving(
    script: Script,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    record: str | Path | None = None,
    heard: Heard | None = None,
) -> AsyncIterator[Fake]:
    """Serve a script until the block ends; port 0 takes a free one.

    Raises InvalidInput for a port that is taken, or a record that cannot be written.
    """
    from consort_agents.fake_llm.app import FakeApi

    kept = Record(record, heard)
    listening: socket.socket | None = None
    try:
        listening = _listen(host, port)
        server, ready = _server(FakeApi(script, kept).app)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(server.serve(sockets=[listening]))
            waiting = group.create_task(ready.wait())
            try:
                await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
                shown = f"[{host}]" if ":" in host else host
                yield Fake(f"http://{shown}:{listening.getsockname()[1]}", kept)
            finally:
                waiting.cancel()
                server.should_exit = True
    finally:
        kept.close()
        if listening is not None:
            listening.close()


@asynccontextmanager
async def client(
    script: Script, *, record: str | Path | None = None
) -> AsyncIterator[tuple[httpx2.AsyncClient, Fake]]:
    """An HTTP client whose every request goes to a fake in this process: `http_client` for the SDK, or a provider."""
    import httpx2

    from consort_agents.fake_llm.app import FakeApi
    from consort_agents.fake_llm.transport import InProcess

    kept = Record(record)
    async with httpx2.AsyncClient(transport=InProcess(FakeApi(script, kept).app)) as made:
        try:
            yield made, Fake("http://fake.invalid", kept)
        finally:
            kept.close()


def _server(app: ASGIApp) -> tuple[uvicorn.Server, asyncio.Event]:
    """A web server that leaves signals to whoever serves, and the event that it is ready."""
    import uvicorn

    ready = asyncio.Event()

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready.set()

    # An answer that breaks off on purpose is an error to the server, which would log it with a traceback.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=GRACE
    )
    return Server(config), ready


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as exc:
        made.close()
        advice = "; --port takes another, 0 a free one" if exc.errno == errno.EADDRINUSE else ""
        raise InvalidInput(f"{host}:{port} cannot be listened on: {exc.strerror}{advice}") from exc
    return made
