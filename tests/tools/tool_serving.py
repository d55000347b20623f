"""A real HTTP service for the tests of tools: answers as it is told, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Response:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    chunks: Iterator[bytes] | None = None
    """sent after the body, without a length, until the client goes away"""
    wait: threading.Event | None = None


@dataclass
class Service:
    url: str
    asked: list[Asked]
    gone_away: threading.Event
    """set when a client left before everything was sent"""


@contextmanager
def serving(answer: Callable[[Asked], Response]) -> Iterator[Service]:
    asked: list[Asked] = []
    gone = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            request = Asked(self.command, self.path, dict(self.headers), self.rfile.read(length))
            asked.append(request)
            response = answer(request)
            if response.wait is not None:
                response.wait.wait(20)
            try:
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                if response.chunks is None:
                    self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(response.body)
                    for chunk in response.chunks or ():
                        self.wfile.write(chunk)
            except OSError:
                gone.set()

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Service(f"http://127.0.0.1:{server.server_port}", asked, gone)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
