"""A collector of a test's own: takes OTLP over HTTP or gRPC, and can refuse, stall or talk nonsense."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from consort_shared.telemetry.records import SpanRecord, records_of

Mood = Literal["takes", "refuses", "stalls", "nonsense"]


class Collector:
    """Spans that were sent here, and how it behaves."""

    def __init__(self) -> None:
        self.mood: Mood = "takes"
        self.told: list[dict[str, Any]] = []
        self.url = ""
        self.over = threading.Event()

    def take(self, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        told = MessageToDict(request)
        for group in told.get("resourceSpans", []):
            for scope in group.get("scopeSpans", []):
                for span in scope.get("spans", []):
                    _in_hex(span)
        self.told.append(told)

    @property
    def spans(self) -> list[SpanRecord]:
        return [span for told in list(self.told) for span in records_of(told)]

    def of(self, run: str) -> list[SpanRecord]:
        return [span for span in self.spans if span.trace == run]


def _in_hex(span: dict[str, Any]) -> None:
    """Protobuf's own JSON has ids in base64, OTLP's has them in hex."""
    import base64

    for name in ("traceId", "spanId", "parentSpanId"):
        if name in span:
            span[name] = base64.b64decode(span[name]).hex()
    for link in span.get("links", []):
        _in_hex(link)


@contextmanager
def over_http() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            match collector.mood:
                case "refuses":
                    self.send_response(400)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                case "stalls":
                    collector.over.wait(60)
                    return
                case "nonsense":
                    self.wfile.write(b"220 mail.example.org ESMTP\r\n")
                    return
            body = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
            collector.take(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with _served(Handler) as port:
        collector.url = f"http://127.0.0.1:{port}"
        try:
            yield collector
        finally:
            collector.over.set()


@contextmanager
def over_grpc() -> Iterator[Collector]:
    collector = Collector()

    class Service(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]
        def Export(self, request: Any, context: Any) -> Any:
            collector.take(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    collector.url = f"http://127.0.0.1:{port}"
    try:
        yield collector
    finally:
        server.stop(None)


@contextmanager
def query_api(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """Answers by path, as a Jaeger would; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = answers.get(self.path, (404, b"{}"))
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with _served(Handler) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def as_otlp(told: object) -> bytes:
    """What a query API answers with."""
    return json.dumps({"result": told}).encode()
