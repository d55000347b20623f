"""Contexts for spans that hang below a span of a run, with the API alone, which needs no SDK.

A program that hosts a client or an agent has set its own tracing up, or none. What it
has is used; nothing is set up here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from consort_shared.ids import root_span_id
from consort_shared.telemetry import names

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanContext, TracerProvider

CLIENT_SERVICE = "consort-client"
"""The `service.name` of the command line where it hands in runs."""
OWN: ContextVar[TracerProvider | None] = ContextVar("consort-tracer-provider", default=None)
"""The provider of a program of Consort's own; without one that of the host is used."""
IN_TEMPLATE = "in.client.{client}.{run}"


def span_context(trace: str, span: str, *, remote: bool = False, sampled: bool = True) -> SpanContext:
    """The identity of a span."""
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return SpanContext(int(trace, 16), int(span, 16), remote, flags)


def below(trace: str, span: str, context: Context | None = None) -> Context:
    """A context in which new spans are children of a span that is recorded elsewhere."""
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    return set_span_in_context(NonRecordingSpan(span_context(trace, span, remote=True)), context)


@contextmanager
def submission(run: str) -> Iterator[str]:
    """The span of handing in a run, if anybody in this process traces; gives its `traceparent`, or nothing.

    Within a span of the host's it is part of the host's trace, and linked with the run's. Otherwise it is the
    first span of the run's own trace, which makes the run visible before anything has ended.
    """
    provider = OWN.get()
    if provider is None and "opentelemetry.trace" not in sys.modules:
        yield ""  # nobody can have set tracing up
        return
    from opentelemetry.trace import Link, SpanKind, get_current_span, get_tracer

    root = root_span_id(run)
    within_host = get_current_span().get_span_context().is_valid
    with get_tracer(names.SCOPE, tracer_provider=provider).start_as_current_span(
        f"publish {IN_TEMPLATE}",
        context=None if within_host else below(run, root),
        kind=SpanKind.PRODUCER,
        links=[Link(span_context(run, root), {names.LINK: "hands in"})] if within_host else None,
        attributes={
            names.MESSAGING_SYSTEM: names.NATS,
            names.OPERATION_NAME: "publish",
            names.OPERATION_TYPE: "send",
            names.DESTINATION_TEMPLATE: IN_TEMPLATE,
            names.CONVERSATION: run,
            names.RUN: run,
        },
    ) as span:
        made = span.get_span_context()
        own = made.is_valid and f"{made.span_id:016x}" != root
        yield f"00-{made.trace_id:032x}-{made.span_id:016x}-{made.trace_flags:02x}" if own else ""
