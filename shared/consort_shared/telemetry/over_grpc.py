"""OTLP over gRPC, with the encoder of `encoding`; everything else is the SDK's exporter."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan

from consort_shared.telemetry.encoding import encoded


class GrpcExporter(OTLPSpanExporter):
    """Sends requests of OTLP over gRPC."""

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return encoded(data)
