"""How a process exports spans: what the environment asks for, and nothing otherwise.

`OTEL_*` variables mean what the OpenTelemetry specification says. Besides a
collector, spans can be kept as files: `CONSORT_TRACES` names a folder. With neither
there is no `Tracing`, no SDK is imported, and spans cost nothing.

An exporter that fails is told of once, in one line, and once more when it works
again. Work never waits for it: what does not fit into the queue is dropped.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from consort_shared.errors import InvalidInput
from consort_shared.telemetry.collector import endpoint_of, protocol_of
from consort_shared.telemetry.contexts import OWN

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Tracing", "exported", "folder_for_spans", "open_tracing"]

FOLDER = "CONSORT_TRACES"
DELAY_MS, QUEUE = 1000, 16_384
"""Milliseconds between exports, and spans that may wait for one, where the environment does not say."""
SWITCH = 0.001
"""Seconds for which the exporter's thread may keep the interpreter from the event loop; by default five times that."""
LAST_TRY_MS = 2000
"""Milliseconds that a process which stops waits for its last spans to be exported."""


def open_tracing(service: str, instance: str, *, folder: Path | None = None) -> Tracing | None:
    """The tracing of this process, or None where nobody asks for it.

    `service` is `service.name` unless `OTEL_SERVICE_NAME` says otherwise; spans are kept in `folder` where the
    environment does not say. Raises InvalidInput for settings that cannot be meant.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporters = _exporters(folder_for_spans(folder), f"{service}-{instance}")
    return Tracing(service, instance, exporters) if exporters else None


def folder_for_spans(otherwise: Path | None) -> Path | None:
    """Where spans are kept as files: where the environment says, which may be nowhere, or else `otherwise`."""
    named = os.environ.get(FOLDER)
    return otherwise if named is None else Path(named) if named else None


@asynccontextmanager
async def exported(
    service: str, instance: str, *, folder: Path | None = None
) -> AsyncIterator[Tracing | None]:
    """The tracing of a program of Consort's own while a block lasts.

    Spans are kept in `folder` where the environment does not say. Raises InvalidInput.
    """
    tracing = open_tracing(service, instance, folder=folder)
    if tracing is None:
        yield None
        return
    sys.setswitchinterval(SWITCH)
    token = OWN.set(tracing.provider)
    try:
        yield tracing
    finally:
        OWN.reset(token)
        await asyncio.to_thread(tracing.close)


class Tracing:
    """The spans of one process on their way out."""

    def __init__(self, service: str, instance: str, exporters: Sequence[SpanExporter]) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from consort_shared.telemetry.exporters import Told
        from consort_shared.telemetry.holding import Holding

        resource = _resource(service, instance)
        self.provider: TracerProvider = TracerProvider(resource=resource)
        self._processors: list[SpanProcessor] = []
        told = [Told(exporter) for exporter in exporters]
        for one in told:
            batching = BatchSpanProcessor(
                one,
                schedule_delay_millis=_number("OTEL_BSP_SCHEDULE_DELAY", DELAY_MS),
                max_queue_size=_number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE),
            )
            self._processors.append(batching)
        self.provider.add_span_processor(Holding(self._processors))
        self.resource = resource
        self._told = told

    @property
    def failed(self) -> bool:
        """Whether an exporter could not do its last export."""
        return any(told.failing for told in self._told)

    def emit(self, spans: Sequence[ReadableSpan]) -> None:
        """Export spans that are ready made."""
        for span in spans:
            for processor in self._processors:
                processor.on_end(span)

    def sampled(self, run: str) -> bool:
        """Whether the sampler wants a run's trace, by its id alone: every process comes to the same answer."""
        decision = self.provider.sampler.should_sample(None, int(run, 16), "invoke_workflow").decision
        return bool(decision.is_sampled())  # type: ignore[no-untyped-call] # of the SDK

    def resource_of(self, instance: str) -> Resource:
        """The resource of a process of this service, as far as the log and the environment tell of it.

        Where all orchestrators have the same `OTEL_RESOURCE_ATTRIBUTES`, each comes to the same one.
        """
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource

        named = {key: self.resource.attributes[key] for key in ("service.name", "service.namespace")}
        said = OTELResourceDetector().detect().attributes
        return Resource({**said, **named, "service.instance.id": instance})

    def become_global(self) -> None:
        """Let what instruments the libraries of this process use it; only where nobody has set another up."""
        from opentelemetry import trace

        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self.provider)

    def flush(self) -> None:
        """Have what waits exported now, within two seconds; blocks."""
        for processor in self._processors:
            processor.force_flush(LAST_TRY_MS)

    def close(self) -> None:
        """Export what is left, within two seconds; blocks."""
        self.flush()
        for processor in self._processors:
            processor.shutdown()


def _exporters(folder: Path | None, name: str) -> list[SpanExporter]:
    found: list[SpanExporter] = []
    if folder is not None:
        from consort_shared.telemetry.files import FileExporter

        found.append(FileExporter(folder, name))
    if _exporter_name() == "otlp":
        from consort_shared.telemetry.exporters import otlp_exporter

        found.append(otlp_exporter(protocol_of("TRACES", os.environ)))
    return found


def _exporter_name() -> str:
    """Which exporter besides files: `otlp` or `none`. Raises InvalidInput."""
    wanted = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if wanted in ("", "otlp"):
        return "otlp" if wanted or endpoint_of("TRACES", os.environ) else "none"
    if wanted == "none":
        return "none"
    raise InvalidInput(f"OTEL_TRACES_EXPORTER is {wanted!r}; Consort's processes know otlp and none")


def _resource(service: str, instance: str) -> Resource:
    from opentelemetry.sdk.resources import Resource

    return Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME") or service,
            "service.namespace": "consort",
            "service.instance.id": instance,
            "host.name": socket.gethostname(),
            "process.pid": os.getpid(),
        }
    )


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return otherwise
    if not text.isdecimal() or int(text) < 1:
        raise InvalidInput(f"{name} is {text!r}; a whole number above 0 is wanted")
    return int(text)
