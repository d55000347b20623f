"""Exporters of spans: the one the environment names, and how its failures are told.

An exporter that fails says so at every attempt; here it is told once, in one line with
what is most likely wrong, and once more when it works again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from consort_shared.telemetry.collector import GRPC, GRPC_PORT, HTTP, HTTP_PORT, PROTOCOL

_REPEATING = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")

log = logging.getLogger("consort.telemetry")


def otlp_exporter(protocol: str) -> SpanExporter:
    """An OTLP exporter, set up by the environment as the specification says."""
    for name in _REPEATING:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if protocol == GRPC:
        from consort_shared.telemetry.over_grpc import GrpcExporter

        return GrpcExporter()
    from consort_shared.telemetry.over_http import HttpExporter

    return HttpExporter()


class Told(SpanExporter):
    """Another exporter, whose failures are told of once."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result, why = self._exporter.export(spans), getattr(self._exporter, "why", "")
        except Exception as exc:  # noqa: BLE001 - whatever an exporter does wrong, work goes on
            result, why = SpanExportResult.FAILURE, f": {type(exc).__name__}: {exc}"
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self.failing:
            told = why or _hint(self._exporter)
            log.warning("spans cannot be exported to %s%s; runs do not notice", _where(self._exporter), told)
        elif self.failing and not failing:
            log.info("spans are exported to %s again", _where(self._exporter))
        self.failing = failing
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _where(exporter: object) -> str:
    return str(getattr(exporter, "_endpoint", None) or getattr(exporter, "folder", type(exporter).__name__))


def _hint(exporter: object) -> str:
    """What may be wrong, for the mistakes that are made most."""
    where, over_http = _where(exporter), type(exporter).__module__.endswith("over_http")
    if over_http and GRPC_PORT in where:
        return f": that port speaks gRPC as a rule; set {PROTOCOL}={GRPC}, or use port {HTTP_PORT[1:]}"
    if not over_http and HTTP_PORT in where:
        return f": that port speaks {HTTP} as a rule; set {PROTOCOL}={HTTP}"
    return ": nobody answers there, it refuses, or its certificate is not trusted"
