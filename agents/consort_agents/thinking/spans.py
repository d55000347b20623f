"""What a trace shows of model and tool calls, by the GenAI conventions.

A call that is made gets its span and its metrics from `opentelemetry-util-genai`. One that
is answered from the journal gets a span too, since that of the process which made it was
lost with that process, but no metrics: those were counted when it was made. Content is
there only where `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` asks for it, and then
without what looks like a secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from consort_agents.models.port import (
    Block,
    Message,
    Opaque,
    Reply,
    Request,
    StopReason,
    Text,
    ToolResult,
    ToolUse,
)
from consort_agents.thinking.errors import ThinkingFailed
from consort_shared.telemetry import names
from consort_shared.telemetry.records import Attribute
from consort_shared.telemetry.redacting import redacted, redacted_text
from consort_shared.values import Json

if TYPE_CHECKING:
    from opentelemetry.util.genai.invocation import InferenceInvocation, ToolInvocation
    from opentelemetry.util.genai.types import MessagePart

    from consort_agents.tools.definition import Definition, ToolAnswer

_FINISHES: dict[StopReason, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_call",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "pause_turn": "pause_turn",
}


class ModelSpan:
    """The span of a call that is being made."""

    def __init__(self, invocation: InferenceInvocation) -> None:
        self._invocation = invocation

    def piece(self) -> None:
        """A piece of the answer has come."""
        self._invocation.record_stream_chunk()

    def retried(self, tries: int, kind: str, delay: float) -> None:
        """It was refused, and is asked again after `delay` seconds."""
        self._invocation.span.add_event(
            names.RETRY, {names.ATTEMPT: tries, names.ERROR_TYPE: kind, names.DELAY: round(delay, 3)}
        )

    def answered(self, reply: Reply) -> None:
        invocation, usage = self._invocation, reply.usage
        invocation.response_model_name = reply.model
        invocation.response_id = reply.id or None
        invocation.finish_reasons = [_FINISHES[reply.stop_reason]]
        invocation.input_tokens, invocation.output_tokens = usage.input_tokens, usage.output_tokens
        invocation.cache_read_input_tokens = usage.cache_read_tokens or None
        invocation.cache_write_input_tokens = usage.cache_write_tokens or None
        invocation.thinking_tokens = usage.reasoning_tokens or None
        invocation.attributes.update(_of_reply(reply))
        if invocation.should_capture_content:
            from opentelemetry.util.genai.types import OutputMessage

            invocation.output_messages = [OutputMessage("assistant", _parts(reply.content))]


@contextmanager
def model_call(provider: str, request: Request, n: int, run: str) -> Iterator[ModelSpan]:
    """The span of a model call, number `n` of its task."""
    from consort_agents.genai import telemetry

    invocation = telemetry().inference(provider, request_model=request.model, conversation_id=run)
    invocation.max_tokens = request.max_tokens
    invocation.reasoning_level = request.effort
    invocation.output_type = "json" if request.output_schema is not None else "text"
    invocation.attributes.update({names.CALL: n, names.AGENT_NAME: request.agent})
    if invocation.should_capture_content:
        from opentelemetry.util.genai.types import InputMessage, TextPart

        invocation.input_messages = [InputMessage(one.role, _parts(one.content)) for one in request.messages]
        invocation.system_instruction = [TextPart(redacted_text(request.system))] if request.system else []
    try:
        yield ModelSpan(invocation)
    except BaseException as exc:
        _fail(invocation, exc)
        raise
    invocation.stop()


def model_replayed(request: Request, reply: Reply, n: int, run: str) -> None:
    """A model call was answered from the journal."""
    usage = reply.usage
    attributes: dict[str, Attribute] = {
        names.GENAI_OPERATION: "chat",
        "gen_ai.request.model": request.model,
        "gen_ai.request.max_tokens": request.max_tokens,
        "gen_ai.response.model": reply.model,
        "gen_ai.response.finish_reasons": (_FINISHES[reply.stop_reason],),
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        names.GENAI_CONVERSATION: run,
        names.AGENT_NAME: request.agent,
        **_of_reply(reply),
    }
    if reply.id:
        attributes["gen_ai.response.id"] = reply.id
    _replayed(f"chat {request.model}", n, attributes)


class ToolSpan:
    """The span of a tool call that is being made."""

    def __init__(self, invocation: ToolInvocation) -> None:
        self._invocation = invocation

    def answered(self, answer: ToolAnswer) -> None:
        invocation = self._invocation
        invocation.attributes[names.SAVED] = answer.saved
        if invocation.should_capture_content:
            invocation.tool_result = redacted_text(answer.content)
        if answer.is_error:
            invocation.attributes[names.ERROR_TYPE] = "tool-error"
            invocation.metric_attributes[names.ERROR_TYPE] = "tool-error"


@contextmanager
def tool_call(definition: Definition, use: ToolUse, n: int, agent: str) -> Iterator[ToolSpan]:
    """The span of a tool call, number `n` of its task."""
    from consort_agents.genai import telemetry

    kind = "function" if definition.kind == "function" else "extension"
    invocation = telemetry().tool(definition.name, tool_type=kind, agent_name=agent)
    invocation.tool_call_id = use.id
    invocation.attributes.update({names.CALL: n, names.RISK: definition.risk})
    if invocation.should_capture_content:
        invocation.arguments = redacted(use.input)
    try:
        yield ToolSpan(invocation)
    except BaseException as exc:
        _fail(invocation, exc)
        raise
    invocation.stop()


def tool_replayed(definition: Definition, use: ToolUse, n: int, agent: str, failed: bool) -> None:
    """A tool call was answered from the journal."""
    attributes: dict[str, Attribute] = {
        names.GENAI_OPERATION: "execute_tool",
        "gen_ai.tool.name": definition.name,
        "gen_ai.tool.call.id": use.id,
        names.AGENT_NAME: agent,
        names.RISK: definition.risk,
    }
    if failed:
        attributes[names.ERROR_TYPE] = "tool-error"
    _replayed(f"execute_tool {definition.name}", n, attributes)


def traceparent() -> str:
    """The span that is current here, as a W3C `traceparent`; empty where none is recorded."""
    from opentelemetry.trace import get_current_span

    here = get_current_span().get_span_context()
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}" if here.is_valid else ""


def _replayed(name: str, n: int, attributes: dict[str, Attribute]) -> None:
    from opentelemetry.trace import get_tracer

    told = {**attributes, names.CALL: n, names.REPLAYED: True}
    get_tracer(names.SCOPE).start_span(name, attributes=told).end()


def _of_reply(reply: Reply) -> dict[str, Any]:
    told: dict[str, Any] = {names.COST: reply.usage.dollars}
    if reply.request_id:
        told[names.REQUEST_ID] = reply.request_id
    return told


def _fail(invocation: InferenceInvocation | ToolInvocation, exc: BaseException) -> None:
    from opentelemetry.util.genai.types import Error

    kind = exc.kind if isinstance(exc, ThinkingFailed) else type(exc).__name__
    invocation.fail(Error(message=redacted_text(str(exc)), type=kind))


def _parts(content: tuple[Block, ...]) -> list[MessagePart]:
    from opentelemetry.util.genai.types import TextPart, ToolCallRequestPart, ToolCallResponsePart

    parts: list[MessagePart] = []
    for block in content:
        match block:
            case Text():
                parts.append(TextPart(redacted_text(block.text)))
            case ToolUse():
                parts.append(ToolCallRequestPart(_redacted(block.input), block.name, block.id))
            case ToolResult():
                parts.append(ToolCallResponsePart(redacted_text(block.content), block.tool_use_id))
            case Opaque():
                pass
    return parts


def _redacted(value: Json) -> Json:
    return redacted(value)


def last_words(messages: tuple[Message, ...]) -> str:
    """The end of what is asked, redacted and short: for people who look at the journal."""
    text = next((one.text for one in reversed(messages) if one.role == "user" and one.text), "")
    return redacted_text(text)[-300:]
