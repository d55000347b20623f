"""Spans whose times and attributes are all known, in the form that the SDK's processors pass on.

Such a span is not started and ended but handed over as a value, which costs a tenth. It
becomes what an exporter needs when it is exported, in the exporter's thread.
"""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from consort_shared.telemetry import names
from consort_shared.telemetry.contexts import span_context
from consort_shared.telemetry.records import SpanRecord

_SOME_SAMPLED = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
_SCOPE = InstrumentationScope(names.SCOPE)
_KINDS = {kind.name.lower(): kind for kind in SpanKind}
_UNSET = Status(StatusCode.UNSET)


class Ready(ReadableSpan):
    """A complete span on its way to an exporter of ours; to a processor it only shows that it is sampled."""

    def __init__(self, record: SpanRecord, resource: Resource) -> None:
        self._context = _SOME_SAMPLED
        self._resource = resource
        self.record = record


def whole(spans: Iterable[ReadableSpan]) -> list[ReadableSpan]:
    """All of them as the SDK makes spans."""
    return [_made(span.record, span.resource) if isinstance(span, Ready) else span for span in spans]


def _made(record: SpanRecord, resource: Resource) -> ReadableSpan:
    links = [
        Link(span_context(link.trace, link.span), {names.LINK: link.what} if link.what else None)
        for link in record.links
    ]
    return ReadableSpan(
        record.name,
        context=span_context(record.trace, record.span),
        parent=span_context(record.trace, record.parent, remote=True) if record.parent else None,
        resource=resource,
        attributes=dict(record.attributes),
        links=links,
        kind=_KINDS[record.kind],
        status=_UNSET if record.error is None else Status(StatusCode.ERROR, record.error),
        start_time=record.start,
        end_time=record.end,
        instrumentation_scope=_SCOPE,
    )
