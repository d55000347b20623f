"""From what MCP says of a tool to a definition, and from its results to answers. Pure.

Hints of a server are its own word. A tool that says nothing counts as `danger`, as the
specification has it; only an operator can trust it further.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from consort_agents.tools.answers import cut
from consort_agents.tools.definition import Definition, Risk, ToolAnswer
from consort_agents.tools.secret import without
from consort_shared.values import Json, canonical

if TYPE_CHECKING:
    from mcp_types import CallToolResult
    from mcp_types import Tool as Offered

_log = logging.getLogger("consort.tools")
_LONGEST_DESCRIPTION = 4_000
_LARGEST_SCHEMA = 100_000
"""Bytes of canonical JSON."""


class Promises(Protocol):
    """What an operator says of all tools of a server."""

    @property
    def owner(self) -> str: ...
    @property
    def data_class(self) -> str: ...
    @property
    def cost(self) -> int: ...
    @property
    def timeout(self) -> float: ...


def definition_of(offered: Offered, name: str, promises: Promises) -> Definition | None:
    """A server's tool as everybody here knows it; None, and a line in the log, for one that cannot be used."""
    import jsonschema

    hints = offered.annotations
    reads = hints is not None and hints.read_only_hint is True
    adds = hints is not None and hints.destructive_hint is False
    risk: Risk = "read" if reads else "write" if adds else "danger"
    try:
        jsonschema.Draft202012Validator.check_schema(offered.input_schema)
        if len(canonical(offered.input_schema)) > _LARGEST_SCHEMA:
            raise ValueError("its schema is too large")
        return Definition(
            name=name,
            description=(offered.description or offered.title or "")[:_LONGEST_DESCRIPTION],
            input_schema=offered.input_schema,
            output_schema=offered.output_schema,
            kind="mcp",
            risk=risk,
            idempotent=reads or (hints is not None and hints.idempotent_hint is True),
            owner=promises.owner,
            data_class=promises.data_class,
            cost=promises.cost,
            timeout=promises.timeout,
            cache=reads,
        )
    except (jsonschema.SchemaError, ValidationError, ValueError, TypeError, RecursionError) as exc:
        _log.warning("the tool %s is left out: %s", name, " ".join(str(exc).split())[:300])
        return None


def answer_of(result: CallToolResult, limit: int, secrets: list[str]) -> ToolAnswer:
    """A result as an answer: its text, its JSON, and a note on what is neither."""
    shown = "\n".join(_shown(block) for block in result.content)
    value: Json = result.structured_content
    if value is not None and not shown.strip():
        shown = json.dumps(value, ensure_ascii=False)
    text, missing = cut(without(shown, secrets), limit)
    if missing or not _fits(value, limit):
        value = None
    elif value is not None and secrets:
        value = json.loads(without(json.dumps(value, ensure_ascii=False), secrets))
    return ToolAnswer(
        content=text or "(no content)", value=value, is_error=bool(result.is_error), truncated=missing
    )


def _fits(value: Json, limit: int) -> bool:
    try:
        return len(canonical(value)) <= 4 * limit
    except (ValueError, TypeError):
        return False


def _shown(block: Any) -> str:
    match block.type:
        case "text":
            return str(block.text)
        case "image" | "audio":
            return f"[{block.type}, {block.mime_type}, {_size(block.data)} bytes, is not shown]"
        case "resource_link":
            return f"[resource {block.uri} ({block.name}), is not shown]"
        case "resource" if getattr(block.resource, "text", None) is not None:
            return str(block.resource.text)
        case "resource":
            return f"[resource {block.resource.uri}, {block.resource.mime_type or 'binary'}, is not shown]"
        case other:
            return f"[{other}, is not shown]"


def _size(base64: str) -> int:
    return len(base64) * 3 // 4 - base64.count("=", -2)
