"""Spans of a task are held until the task's own span has ended, and go out with it.

A process that is killed in the middle of a task would otherwise leave spans behind
whose parent never comes. A task with more spans than `MOST` lets them go as they end:
work that long is worth seeing before it is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.context import Context, get_current, get_value, set_value
from opentelemetry.sdk.trace import SpanProcessor

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, Span

MOST = 512
"""Spans that are held of one task."""
_KEY = "consort-held"


class Held:
    """The spans of one task that have ended."""

    __slots__ = ("_over", "spans")

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self._over = False

    def keep(self, span: ReadableSpan) -> bool:
        """Whether it is held; not any more when the task is over, or has too many."""
        if self._over:
            return False
        if len(self.spans) >= MOST:
            self._over = True
            return False
        self.spans.append(span)
        return True

    def release(self) -> list[ReadableSpan]:
        """All that is held; later ones are not."""
        self._over = True
        spans, self.spans = self.spans, []
        return spans


def holding(held: Held, context: Context) -> Context:
    """A context whose spans are held."""
    return set_value(_KEY, held, context)


class Holding(SpanProcessor):
    """Passes spans on to other processors, or keeps them for the task under way."""

    def __init__(self, onward: Sequence[SpanProcessor]) -> None:
        self._onward = onward
        self._by_span: dict[int, Held] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        held = get_value(_KEY, parent_context if parent_context is not None else get_current())
        if isinstance(held, Held):
            self._by_span[span.get_span_context().span_id] = held

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        held = self._by_span.pop(context.span_id, None) if context is not None else None
        if held is not None:
            kept = held.spans
            if held.keep(span):
                return
            self._pass(held.release() if kept else [])
        self._pass([span])

    def _pass(self, spans: Sequence[ReadableSpan]) -> None:
        for span in spans:
            for processor in self._onward:
                processor.on_end(span)

    def shutdown(self) -> None:
        for processor in self._onward:
            processor.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return all(processor.force_flush(timeout_millis) for processor in self._onward)
