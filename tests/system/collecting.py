"""A collector of OpenTelemetry figures for tests: notes which service sent which."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as service
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

Names = set[tuple[str, str]]
"""Service and figure."""


def note(names: Names, request: ExportMetricsServiceRequest) -> None:
    for resource in request.resource_metrics:
        whose = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
        for scope in resource.scope_metrics:
            names.update((whose["service.name"], metric.name) for metric in scope.metrics)


@contextmanager
def collector(protocol: str) -> Iterator[tuple[str, Names]]:
    """Its address, and what it has heard so far."""
    names: Names = set()
    with (_http if protocol == "http/protobuf" else _grpc)(names) as port:
        yield f"http://127.0.0.1:{port}", names


@contextmanager
def _http(names: Names) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/metrics":
                note(names, ExportMetricsServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _grpc(names: Names) -> Iterator[int]:
    class Service(service.MetricsServiceServicer):  # type: ignore[misc] # it is generated
        def Export(self, request: ExportMetricsServiceRequest, context: Any) -> ExportMetricsServiceResponse:
            note(names, request)
            return ExportMetricsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    service.add_MetricsServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
