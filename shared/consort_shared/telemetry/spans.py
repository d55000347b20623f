"""Making spans: from values that are complete, and contexts for those that are to nest.

A span whose times and attributes are all known is built whole, which costs a tenth of
starting and ending one. The SDK is imported by whoever imports this.
"""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from consort_shared.telemetry import names
from consort_shared.telemetry.records import SpanRecord

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope(names.SCOPE)
_KINDS = {kind.name.lower(): kind for kind in SpanKind}
_OK = Status(StatusCode.UNSET)


def span_context(trace: str, span: str, *, remote: bool = False, sampled: bool = True) -> SpanContext:
    """The identity of a span."""
    return SpanContext(int(trace, 16), int(span, 16), remote, _SAMPLED if sampled else TraceFlags(0))


def below(trace: str, span: str, context: Context | None = None) -> Context:
    """A context in which new spans are children of a span that is recorded elsewhere."""
    return set_span_in_context(NonRecordingSpan(span_context(trace, span, remote=True)), context)


def ready_made(record: SpanRecord, resource: Callable[[SpanRecord], Resource]) -> ReadableSpan:
    """A complete span, as exporters take it."""
    links = [
        Link(span_context(link.trace, link.span), {names.LINK: link.what} if link.what else None)
        for link in record.links
    ]
    return ReadableSpan(
        record.name,
        context=span_context(record.trace, record.span),
        parent=span_context(record.trace, record.parent, remote=True) if record.parent else None,
        resource=resource(record),
        attributes=dict(record.attributes),
        links=links,
        kind=_KINDS[record.kind],
        status=_OK if record.error is None else Status(StatusCode.ERROR, record.error),
        start_time=record.start,
        end_time=record.end,
        instrumentation_scope=_SCOPE,
    )
