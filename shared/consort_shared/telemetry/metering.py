"""Where the figures of one of our own processes go: to a page that Prometheus scrapes, or to a collector.

    OTEL_METRICS_EXPORTER   `otlp`, `prometheus`, both, or `none`; without it: a page where health checks
                            are answered, a collector where one is named
    OTEL_EXPORTER_OTLP_ENDPOINT, …_METRICS_ENDPOINT    the collector
    OTEL_EXPORTER_OTLP_PROTOCOL, …_METRICS_PROTOCOL    `grpc` or `http/protobuf`

Where neither is wanted nothing is loaded. Called by entry points of ours only: in a
program of somebody else figures go to its own provider, and one that is there already
is never replaced. A collector that is away or slow is told of once, and harms nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consort_shared.errors import InvalidInput
from consort_shared.telemetry.collector import endpoint_of, protocol_of
from consort_shared.telemetry.health import Page, Scrape

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, MetricsData

LAST_EXPORT = 2.0
"""Seconds for the last figures to leave when the process ends."""
EXPORT_LIMIT = 10.0

log = logging.getLogger("consort.metrics")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where figures go; `protocol` is that of the collector."""

    page: bool
    collector: bool
    protocol: str = ""

    @property
    def nowhere(self) -> bool:
        return not (self.page or self.collector)


class Meters:
    """The figures of a process; `scrape` is its page, if it has one."""

    def __init__(self, scrape: Scrape | None = None, provider: MeterProvider | None = None) -> None:
        self.scrape = scrape
        self._provider = provider

    def close(self) -> None:
        """Send the last figures; returns in time whatever becomes of them."""
        provider, self._provider = self._provider, None
        if provider is None:
            return
        closing = threading.Thread(target=_shut_down, args=(provider,), name="last figures", daemon=True)
        closing.start()
        closing.join(LAST_EXPORT)


def wanted(has_page: bool, environment: Mapping[str, str]) -> Wanted:
    """What the environment asks for."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Wanted(False, False)
    endpoint = endpoint_of("METRICS", environment)
    asked = environment.get("OTEL_METRICS_EXPORTER", "")
    named = {name.strip().lower() for name in asked.split(",")} - {""}
    if unknown := named - {"otlp", "prometheus", "none"}:
        log.warning("OTEL_METRICS_EXPORTER names %s; there are otlp, prometheus, none", ", ".join(unknown))
    collector = "otlp" in named if named else bool(endpoint)
    protocol = ""
    if collector:
        try:
            protocol = protocol_of("METRICS", environment)
        except InvalidInput as exc:
            log.warning("metrics are not sent: %s", exc)
            collector = False
    return Wanted(has_page and (not named or "prometheus" in named), collector, protocol)


@contextmanager
def metering(role: str, name: str, has_page: bool) -> Iterator[Meters]:
    """Keep figures while the block lasts, where somebody wants them. `has_page`: they can be scraped."""
    asked = wanted(has_page, os.environ)
    meters = Meters() if asked.nowhere else _set_up(asked, role, name)
    try:
        yield meters
    finally:
        meters.close()


def _set_up(asked: Wanted, role: str, name: str) -> Meters:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider

    readers: list[MetricReader] = []
    scrape: Scrape | None = None
    if asked.page:
        reader, scrape = _page()
        readers.append(reader)
    there = metrics.get_meter_provider()
    if isinstance(there, MeterProvider):  # set up from outside, as `opentelemetry-instrument` does
        for reader in readers:
            there.add_metric_reader(reader)
        return Meters(scrape)
    if asked.collector:
        try:
            readers.append(_sending(asked.protocol))
        except Exception as exc:  # noqa: BLE001 - whatever a variable says, the work goes on without
            log.warning("metrics are not sent, an OTEL_ variable is wrong: %s: %s", type(exc).__name__, exc)
    provider = MeterProvider(readers, resource=_resource(role, name), shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return Meters(scrape, provider)


def _resource(role: str, name: str) -> Any:
    from opentelemetry.sdk.resources import Resource

    known = {"service.namespace": "consort", "service.instance.id": f"{name}-{os.getpid()}"}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        known["service.name"] = f"consort-{role}"
    return Resource.create(known)


def _page() -> tuple[MetricReader, Scrape]:
    """A page of figures in Prometheus's format, with those of the process itself."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    reader = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
    one_at_a_time = threading.Lock()

    def scrape() -> Page:
        with one_at_a_time:
            return Page(CONTENT_TYPE_LATEST, generate_latest(registry))

    return reader, scrape


def _sending(protocol: str) -> MetricReader:
    """Figures sent to a collector every now and then; how often is OTEL_METRIC_EXPORT_INTERVAL's to say."""
    from opentelemetry.sdk.metrics.export import (
        MetricExporter,
        MetricExportResult,
        PeriodicExportingMetricReader,
    )

    inner: MetricExporter
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc

        inner = grpc.OTLPMetricExporter()
    else:
        from opentelemetry.exporter.otlp.proto.http import metric_exporter as http

        inner = http.OTLPMetricExporter()
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)  # it complains at every try

    class ToldOnce(MetricExporter):
        """Tells once that a collector is away, and once that it is back."""

        def __init__(self) -> None:
            super().__init__(inner._preferred_temporality, inner._preferred_aggregation)
            self._away = False

        def export(
            self, metrics_data: MetricsData, timeout_millis: float = EXPORT_LIMIT * 1000, **kwargs: Any
        ) -> MetricExportResult:
            try:
                result = inner.export(metrics_data, timeout_millis=timeout_millis, **kwargs)
            except Exception as exc:  # whatever it is, it is not the work's trouble
                log.debug("an exporter fails", exc_info=exc)
                result = MetricExportResult.FAILURE
            away = result is not MetricExportResult.SUCCESS
            if away is not self._away:
                log.warning("metrics %s", "cannot be sent; trying on" if away else "are sent again")
            self._away = away
            return result

        def force_flush(self, timeout_millis: float = EXPORT_LIMIT * 1000) -> bool:
            return inner.force_flush(timeout_millis)

        def shutdown(self, timeout_millis: float = EXPORT_LIMIT * 1000, **kwargs: Any) -> None:
            inner.shutdown()

    return PeriodicExportingMetricReader(ToldOnce())


def _shut_down(provider: MeterProvider) -> None:
    began = time.monotonic()
    try:
        provider.shutdown(LAST_EXPORT * 1000)
    except Exception as exc:  # the last words of a process: it ends either way
        log.debug("the last figures were not sent", exc_info=exc)
    log.debug("the last figures took %.1f s", time.monotonic() - began)
