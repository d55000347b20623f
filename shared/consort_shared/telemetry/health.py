"""Whether a process is well, told by HTTP: for supervisors, load balancers and Prometheus.

    /livez    200 while the event loop turns, 503 when it has not for `STALE` seconds: start the process anew
    /readyz   200 while the process does its part, 503 with one sentence why not: leave it, and wait
    /metrics  its figures as text, where it keeps any

The answers come from a thread, so that they come also when the loop hangs. It reads
what the loop has put down and never waits for it. Decides nothing about what "ready"
means: the process says so by a function that returns why it is not.

Nobody is asked who they are: the address is this machine's own unless another is named.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import NamedTuple, TypeAlias

from consort_shared.errors import ConsortError

BEAT, STALE = 0.5, 5.0
"""Seconds between two signs that the loop turns, and without one after which it counts as hung."""
CLIENT_LIMIT = 5.0
"""Seconds that a client may take over its request."""
JSON = "application/json"
PORT_VARIABLE = "CONSORT_HEALTH_PORT"
NOT_CONNECTED, STOPPING = "it is not connected to the bus", "it is stopping"
"""Why a process is not ready, where all of them say the same."""

log = logging.getLogger("consort.health")


class Page(NamedTuple):
    """Something to answer with."""

    media_type: str
    body: bytes


Scrape: TypeAlias = Callable[[], Page]
"""Takes all figures; called in the server's threads."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to answer; with port 0 the system chooses one."""

    host: str
    port: int


class PortTaken(ConsortError):
    """The address for health checks cannot be used."""

    exit_code = 3

    def __init__(self, at: Address, why: str) -> None:
        super().__init__(
            f"health checks cannot be answered at {at.host}:{at.port}: {why}; "
            "name another with --health-port and --health-host, or port 0 to have a free one chosen"
        )
        self.at = at
        self.why = why


class Vitals:
    """What is known of this process. Written by its loop, read by the server's threads."""

    def __init__(self, scrape: Scrape | None = None, stale: float = STALE) -> None:
        self._scrape = scrape
        self._stale = stale
        self._beat = time.monotonic()
        self._unready: Callable[[], str] = lambda: NOT_CONNECTED

    def ready_unless(self, unready: Callable[[], str]) -> None:
        """Say how to tell whether the process does its part: by one sentence why not, empty when it does."""
        self._unready = unready

    def beat(self) -> None:
        """The loop turns."""
        self._beat = time.monotonic()

    @property
    def hangs(self) -> str:
        """Why the loop counts as hung, empty while it does not."""
        silent = time.monotonic() - self._beat
        return f"the event loop has not turned for {silent:.0f} s" if silent > self._stale else ""

    @property
    def unready(self) -> str:
        """Why the process does not do its part, empty while it does."""
        return self.hangs or self._unready()

    def answer(self, path: str) -> tuple[HTTPStatus, Page]:
        """What to say to a request."""
        match path.partition("?")[0]:
            case "/livez":
                return _told(self.hangs)
            case "/readyz":
                return _told(self.unready)
            case "/metrics" if self._scrape is not None:
                return HTTPStatus.OK, self._scrape()
            case "/metrics":
                return HTTPStatus.NOT_FOUND, _page({"reason": "this process exports no metrics here"})
        return HTTPStatus.NOT_FOUND, _page({"paths": ["/livez", "/readyz", "/metrics"]})


def _told(why_not: str) -> tuple[HTTPStatus, Page]:
    if why_not:
        return HTTPStatus.SERVICE_UNAVAILABLE, _page({"status": "unavailable", "reason": why_not})
    return HTTPStatus.OK, _page({"status": "ok"})


def _page(told: dict[str, object]) -> Page:
    return Page(JSON, json.dumps(told).encode() + b"\n")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "consort", ""
    protocol_version = "HTTP/1.1"
    timeout = CLIENT_LIMIT

    def do_GET(self) -> None:
        try:
            status, page = self.server.vitals.answer(self.path)
        except Exception:  # the request's edge: whoever asks is told, and the process goes on
            log.exception("a health check cannot be answered")
            status, page = HTTPStatus.INTERNAL_SERVER_ERROR, _page({"reason": "see the process's log"})
        self.send_response(status)
        self.send_header("Content-Type", page.media_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


class _Server(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    allow_reuse_port = False  # two processes would share the port, and each request reach either of them

    def __init__(self, at: Address, vitals: Vitals) -> None:
        self.vitals = vitals
        self.address_family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
        super().__init__((at.host, at.port), _Handler)

    def server_bind(self) -> None:
        """Without looking up the host's name, which may take seconds and is of no use here."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("a client of the health checks went away", exc_info=True)


def for_children(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for processes to be started: the one port that was named cannot be all of theirs."""
    port = environment.get(PORT_VARIABLE, "0")
    return {name: value for name, value in environment.items() if name != PORT_VARIABLE or port == "0"}


@asynccontextmanager
async def answering(
    at: Address | None, scrape: Scrape | None = None, *, stale: float = STALE
) -> AsyncIterator[Vitals]:
    """Answer health checks while the block lasts; without an address nothing listens. Raises PortTaken."""
    vitals = Vitals(scrape, stale)
    if at is None:
        yield vitals
        return
    try:
        server = _Server(at, vitals)
    except (OSError, OverflowError) as exc:
        raise PortTaken(at, getattr(exc, "strerror", None) or str(exc)) from exc
    thread = threading.Thread(target=server.serve_forever, args=(0.2,), name="health", daemon=True)
    thread.start()
    shown = f"[{at.host}]" if ":" in at.host else at.host
    log.info("health checks are answered at http://%s:%d", shown, server.server_port)
    beating = asyncio.create_task(_keep_beating(vitals))
    try:
        yield vitals
    finally:
        beating.cancel()
        server.shutdown()
        server.server_close()


async def _keep_beating(vitals: Vitals) -> None:
    while True:
        vitals.beat()
        await asyncio.sleep(BEAT)
