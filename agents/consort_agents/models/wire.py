"""Between the model port and the wire form of the Messages API.

Pure: a request becomes the body of `POST /v1/messages`, the message that comes back
becomes a reply. Knows no SDK, no connection and no key, so that everything which
speaks this form (the `anthropic` provider, the scripted model) shares one translation.
Cache marks are put on by `caching`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from consort_agents.models.errors import ModelError
from consort_agents.models.port import Block, Message, Opaque, Reply, Request, Text, ToolResult, ToolUse
from consort_shared.usage import Usage

Body = dict[str, Any]


def body_of(request: Request) -> Body:
    """The body of a request, without `stream` and without cache marks. The schema stands in it as it was given."""
    body: Body = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "messages": [_message(message) for message in request.messages],
    }
    if request.system:
        body["system"] = request.system
    if request.tools:
        body["tools"] = [tool.model_dump(mode="json") for tool in request.tools]
        body["tool_choice"] = _choice(request.tool_choice)
    if request.stop_sequences:
        body["stop_sequences"] = list(request.stop_sequences)
    output: Body = {}
    if request.effort is not None:
        output["effort"] = request.effort
    if request.output_schema is not None:
        output["format"] = {"type": "json_schema", "schema": request.output_schema}
    if output:
        body["output_config"] = output
    return body


def reply_of(message: Mapping[str, Any], request_id: str = "") -> Reply:
    """The reply that a message of the API is. Raises ModelError for one that cannot be understood."""
    try:
        return Reply(
            id=message.get("id") or "",
            model=message["model"],
            content=tuple(_block(block) for block in message["content"]),
            stop_reason=message["stop_reason"],
            stop_details=message.get("stop_details"),
            usage=usage_of(message.get("usage") or {}),
            request_id=request_id,
        )
    except (ValidationError, KeyError, TypeError, AttributeError) as exc:
        what = exc.errors()[0]["msg"] if isinstance(exc, ValidationError) else f"{type(exc).__name__} {exc}"
        raise ModelError(
            f"the answer is none that the Messages API describes "
            f"(stop_reason {message.get('stop_reason')!r}): {what}",
            request_id=request_id,
        ) from None


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """Tokens of one call. Each cache field may be absent or null; the API's `input_tokens` leaves cached ones out."""
    read = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    details = usage.get("output_tokens_details") or {}
    return Usage(
        calls=1,
        input_tokens=(usage.get("input_tokens") or 0) + read + written,
        cache_read_tokens=read,
        cache_write_tokens=written,
        output_tokens=usage.get("output_tokens") or 0,
        reasoning_tokens=details.get("thinking_tokens") or 0,
    )


def _message(message: Message) -> Body:
    # The API refuses empty texts, and a model's own turn may hold one.
    blocks = [block for block in message.content if not (isinstance(block, Text) and not block.text)]
    return {"role": message.role, "content": [_wire_block(block) for block in blocks]}


def _wire_block(block: Block) -> Body:
    match block:
        case Opaque():
            return dict(block.data)
        case ToolResult():
            made = block.model_dump(mode="json")
            return made if block.is_error else {key: made[key] for key in made if key != "is_error"}
        case Text() | ToolUse():
            return block.model_dump(mode="json")


def _block(block: Mapping[str, Any]) -> Block:
    match block.get("type"):
        case "text":
            return Text(text=block["text"])
        case "tool_use":
            return ToolUse(id=block["id"], name=block["name"], input=block["input"] or {})
        case kind:
            # Signed thinking must go back unchanged; so does whatever later versions of the API bring.
            return Opaque(
                kind=str(kind), data={key: value for key, value in block.items() if value is not None}
            )


def _choice(choice: str) -> Body:
    return {"type": choice} if choice in {"auto", "any", "none"} else {"type": "tool", "name": choice}
