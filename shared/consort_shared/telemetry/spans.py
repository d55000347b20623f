"""Making spans from values that are complete.

A span whose times and attributes are all known is built whole, which costs a tenth of
starting and ending one. The SDK is imported by whoever imports this.
"""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from consort_shared.telemetry import names
from consort_shared.telemetry.contexts import span_context
from consort_shared.telemetry.records import SpanRecord

_SCOPE = InstrumentationScope(names.SCOPE)
_KINDS = {kind.name.lower(): kind for kind in SpanKind}
_OK = Status(StatusCode.UNSET)


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
