"""What a trace shows of a host's work: one span for each call that it answered.

It hangs below the attempt's span, whose id everybody can compute, and is linked with the caller's: the
caller's own span never comes if its process is killed, and a trace has no span whose parent is missing. No
content is in it. Nothing of the SDK is loaded where nobody asks for spans.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from consort_shared.ids import root_span_id
from consort_shared.telemetry import names
from consort_shared.telemetry.records import Attribute, Link, SpanRecord
from consort_shared.telemetry.span_ids import attempt_span_id, parse_traceparent

if TYPE_CHECKING:
    from consort_shared.telemetry.tracing import Tracing
    from consort_shared.tooling import Definition, ToolCall, ToolReply


def service_of(host: str) -> str:
    """The `service.name` of a host's processes."""
    return f"consort-tools-{host}"


class HostSpans:
    """Makes the spans of one process of a host; none where nobody traces."""

    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing
        self._new_id = random.Random().getrandbits  # noqa: S311 # no secret depends on it

    def answered(self, call: ToolCall, reply: ToolReply, definition: Definition | None, held: float) -> None:
        """A call was answered that was in hand for `held` seconds."""
        tracing = self._tracing
        if tracing is None:
            return
        sender = parse_traceparent(call.trace)
        own = sender is not None and sender.trace == call.run
        if not (sender.sampled if sender is not None and own else tracing.sampled(call.run)):
            return
        from consort_shared.telemetry.spans import Ready

        links = (Link(sender.trace, sender.span, "called by"),) if sender is not None else ()
        now = time.time_ns()
        error = _error(reply)
        record = SpanRecord(
            trace=call.run,
            span=f"{self._new_id(64) or 1:016x}",
            parent=attempt_span_id(call.run, call.task) if call.task else root_span_id(call.run),
            name=f"execute_tool {call.tool}",
            kind="server",
            start=now - round(held * 1e9),
            end=now,
            attributes=_attributes(call, reply, definition, error),
            links=links,
            error=error,
        )
        tracing.emit([Ready(record, tracing.resource)])


def _attributes(
    call: ToolCall, reply: ToolReply, definition: Definition | None, error: str | None
) -> dict[str, Attribute]:
    about: dict[str, Attribute] = {
        names.GENAI_OPERATION: "execute_tool",
        "gen_ai.tool.name": call.tool,
        "gen_ai.tool.call.id": call.id,
        names.GENAI_CONVERSATION: call.run,
        names.CALLER_NAME: call.agent,
        names.HOST: call.host,
        names.STEP: call.step,
        names.OUTCOME: reply.how,
        names.SAVED: reply.saved,
        names.QUEUE_WAIT: round(reply.waited, 6),
        names.SECONDS: round(reply.seconds, 6),
    }
    if definition is not None:
        about[names.RISK] = definition.risk
    if error is not None:
        about[names.ERROR_TYPE] = error
    return about


def _error(reply: ToolReply) -> str | None:
    if reply.how != "done":
        return reply.how
    answer = reply.kept.answer
    return "tool-error" if answer is not None and answer.is_error else None
