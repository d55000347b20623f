"""Which bodies the Messages API takes, as far as its answers depend on it.

Not a copy of its validation: the mistakes that programs make. Each is refused with the
place, in the words of the API, because a test should fail here and not with a customer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from consort_agents.models.asked import blocks_of

KNOWN = frozenset(
    {
        "model",
        "max_tokens",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "stop_sequences",
        "stream",
        "metadata",
        "thinking",
        "output_config",
        "cache_control",
        "container",
        "context_management",
        "inference_geo",
        "mcp_servers",
        "service_tier",
        "speed",
        "diagnostics",
        "user_profile_id",
        "workspace_id",
    }
)
MOST_MARKS = 4
"""Cache marks that a request may have."""


def fault_of(body: Any, *, counting: bool = False) -> str:
    """What is wrong with a body, or an empty text. `counting`: of a request that only counts tokens."""
    if not isinstance(body, dict):
        return "the body must be a JSON object"
    if "thread" in body:
        return "thread: threads are not supported here; send the whole conversation"
    for key in body:
        if key not in KNOWN:
            return f"{key}: Extra inputs are not permitted"
    for check in _CHECKS:
        if told := check(body):
            return told
    return "" if counting else _max_tokens(body)


def _model(body: Mapping[str, Any]) -> str:
    if "model" not in body:
        return "model: Field required"
    return "" if isinstance(body["model"], str) and body["model"] else "model: Input should be a valid string"


def _max_tokens(body: Mapping[str, Any]) -> str:
    value = body.get("max_tokens")
    if value is None:
        return "max_tokens: Field required"
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        return "max_tokens: Input should be greater than or equal to 1"
    return ""


def _messages(body: Mapping[str, Any]) -> str:
    messages = body.get("messages")
    if messages is None:
        return "messages: Field required"
    if not isinstance(messages, list) or not messages:
        return "messages: at least one message is required"
    for at, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in {"user", "assistant"}:
            return f"messages.{at}.role: Input should be 'user' or 'assistant'"
        content = message.get("content")
        if not isinstance(content, str | list):
            return f"messages.{at}.content: Field required"
        if not content and (at < len(messages) - 1 or message["role"] == "user"):
            return f"messages.{at}: all messages must have non-empty content"
        if told := _blocks(blocks_of(content), f"messages.{at}.content"):
            return told
    return "messages: first message must use the user role" if messages[0]["role"] != "user" else ""


def _blocks(blocks: list[Any], where: str) -> str:
    for at, block in enumerate(blocks):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            return f"{where}.{at}.type: Field required"
        if block["type"] == "text" and not block.get("text"):
            return f"{where}.{at}: text content blocks must be non-empty"
        if block["type"] == "tool_use" and not isinstance(block.get("input"), dict):
            return f"{where}.{at}.input: Input should be a valid dictionary"
        if block["type"] == "thinking" and not block.get("signature"):
            return f"{where}.{at}.signature: Field required"
    return ""


def _pairs(body: Mapping[str, Any]) -> str:
    """Each use of a tool has its result in the very next message, and each result its use in the one before."""
    wanted: set[str] = set()
    for at, message in enumerate(body["messages"]):
        blocks = blocks_of(message["content"])
        given = [block.get("tool_use_id") for block in blocks if block["type"] == "tool_result"]
        for called in given:
            if called not in wanted:
                return (
                    f"messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {called}. Each "
                    "`tool_result` block must have a corresponding `tool_use` block in the previous message"
                )
        if missing := wanted - set(given):
            return (
                f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(sorted(missing))}"
            )
        wanted = {str(block.get("id")) for block in blocks if block["type"] == "tool_use"}
    return ""


def _tools(body: Mapping[str, Any]) -> str:
    names: set[str] = set()
    for at, tool in enumerate(body.get("tools") or ()):
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            return f"tools.{at}.name: Field required"
        if tool["name"] in names:
            return "tools: Tool names must be unique"
        if "type" not in tool and not isinstance(tool.get("input_schema"), dict):
            return f"tools.{at}.input_schema: Field required"
        names.add(tool["name"])
    choice = body.get("tool_choice") or {}
    if choice.get("type") == "tool" and choice.get("name") not in names:
        return f"tool_choice.name: Tool '{choice.get('name')}' not found in provided tools"
    return ""


def _output(body: Mapping[str, Any]) -> str:
    form = (body.get("output_config") or {}).get("format")
    if form is None:
        return ""
    if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        return "output_config.format.schema: Field required"
    return _strictness(form["schema"], "output_config.format.schema")


def _strictness(schema: Any, where: str) -> str:
    if isinstance(schema, list):
        return next(filter(None, (_strictness(part, f"{where}.{at}") for at, part in enumerate(schema))), "")
    if not isinstance(schema, dict):
        return ""
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false"
    named = [*schema.get("properties", {}).items(), *schema.get("$defs", {}).items()]
    parts = [*named, *((key, schema[key]) for key in ("items", "anyOf", "allOf") if key in schema)]
    return next(filter(None, (_strictness(part, f"{where}.{key}") for key, part in parts)), "")


def _marks(body: Mapping[str, Any]) -> str:
    parts: list[Any] = [*(body.get("tools") or ()), *blocks_of(body.get("system"))]
    for message in body["messages"]:
        parts += blocks_of(message["content"])
    count = sum(bool(part.get("cache_control")) for part in parts)
    if count > MOST_MARKS:
        return f"A maximum of {MOST_MARKS} blocks with cache_control may be provided. Found {count}."
    return ""


_CHECKS: tuple[Callable[[Mapping[str, Any]], str], ...] = (_model, _messages, _pairs, _tools, _output, _marks)
