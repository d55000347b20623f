"""Whether an agent's process makes spans, and the way into a child process of an isolated slot.

Nothing of the SDK is loaded where nobody asks for spans.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from consort_shared.card import AgentCard
from consort_shared.telemetry.span_ids import parse_traceparent
from consort_shared.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from consort_agents.task_spans import AgentSpans


def service_of(agent: str) -> str:
    """The `service.name` of an agent's processes."""
    return f"consort-agent-{agent}"


def spans_of(tracing: Tracing | None, card: AgentCard, instance: str) -> AgentSpans | None:
    """What makes the spans of a process's tasks; None where none are exported."""
    if tracing is None:
        return None
    from consort_agents.task_spans import AgentSpans

    return AgentSpans(tracing, card, instance)


@contextmanager
def inside(tracing: Tracing | None, trace: str) -> Iterator[None]:
    """Let spans of this block be children of a span of another process, by its `traceparent`; then export them.

    This process may be killed as soon as it has answered, so the export is waited for.
    """
    sender = parse_traceparent(trace)
    if tracing is None or sender is None or not sender.sampled:
        yield
        return
    from opentelemetry import context as contexts

    from consort_shared.telemetry.contexts import below
    from consort_shared.telemetry.holding import Held, holding

    held = Held()
    token = contexts.attach(holding(held, below(sender.trace, sender.span, contexts.get_current())))
    try:
        yield
    finally:
        contexts.detach(token)
        if spans := held.release():
            tracing.emit(spans)
            tracing.flush()
