"""What a script can see of a request: a reading of the wire form, made once.

Pure. Tokens are counted at four characters each, as a plausible stand-in for a tokenizer
that no provider gives away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from consort_agents.models.caching import estimated_tokens
from consort_shared.values import digest

_NOT_ASKED = frozenset({"stream", "metadata"})
"""Parts of a body that do not change what is asked."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of a request up to a cache mark."""

    digest: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as rules see it."""

    digest: str
    """over the body, however it is to be answered: two that are equal ask the same"""
    agent: str
    key: str
    model: str
    system: str
    user: str
    """the last text of the user; results of tools are none"""
    turn: int
    offers: frozenset[str]
    results: tuple[tuple[str, str], ...]
    """tool and what it gave, of the last message"""
    schema: Mapping[str, Any] | None
    max_tokens: int
    stop_sequences: tuple[str, ...]
    tokens: int
    prefixes: tuple[Prefix, ...]

    @property
    def result(self) -> str:
        return "\n".join(text for _, text in self.results)


def asked_of(body: Mapping[str, Any], *, agent: str = "", key: str = "") -> Asked:
    """The request that a valid body is."""
    plain = {name: value for name, value in body.items() if name not in _NOT_ASKED}
    messages = body["messages"]
    form = (body.get("output_config") or {}).get("format") or {}
    return Asked(
        digest=digest(plain),
        agent=agent,
        key=key,
        model=body["model"],
        system=text_of(body.get("system")),
        user=next(
            filter(None, (text_of(m["content"]) for m in reversed(messages) if m["role"] == "user")), ""
        ),
        turn=1 + sum(message["role"] == "assistant" for message in messages),
        offers=frozenset(tool.get("name", "") for tool in body.get("tools") or ()),
        results=_results(messages),
        schema=form.get("schema"),
        max_tokens=body.get("max_tokens", 0),
        stop_sequences=tuple(body.get("stop_sequences") or ()),
        tokens=tokens_of(body),
        prefixes=tuple(_prefixes(body)),
    )


def tokens_of(body: Mapping[str, Any]) -> int:
    """Tokens of input."""
    parts = [body.get("tools"), text_of(body.get("system")), *(m["content"] for m in body["messages"])]
    return sum(estimated_tokens(_unmarked(part)) for part in parts) + len(body["messages"])


def blocks_of(content: Any) -> list[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())


def text_of(content: Any) -> str:
    return "".join(block.get("text", "") for block in blocks_of(content) if block.get("type") == "text")


def _results(messages: list[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    names = {
        block.get("id"): block.get("name", "")
        for message in messages
        for block in blocks_of(message["content"])
        if block.get("type") == "tool_use"
    }
    return tuple(
        (names.get(block.get("tool_use_id"), ""), text_of(block.get("content")))
        for block in blocks_of(messages[-1]["content"])
        if block.get("type") == "tool_result"
    )


def _prefixes(body: Mapping[str, Any]) -> Iterator[Prefix]:
    """What stands before each mark, in the order in which it is read: tools, system, messages."""
    read: list[Any] = []
    tokens = 0
    parts: list[tuple[str, Any]] = [("tool", tool) for tool in body.get("tools") or ()]
    parts += [("system", block) for block in blocks_of(body.get("system"))]
    for message in body["messages"]:
        parts += [(message["role"], block) for block in blocks_of(message["content"])]
    for place, part in parts:
        read.append([place, _unmarked(part)])
        tokens += estimated_tokens(part.get("text") if part.get("type") == "text" else _unmarked(part))
        if part.get("cache_control"):
            yield Prefix(digest([body["model"], read]), tokens)


def _unmarked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _unmarked(part) for key, part in value.items() if key != "cache_control"}
    return [_unmarked(part) for part in value] if isinstance(value, list) else value
