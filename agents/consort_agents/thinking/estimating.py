"""How many tokens a request has, before a provider has counted them.

Four characters are a token, roughly, and four bytes in scripts beyond ASCII; how roughly is learned
from what the last reply of the same conversation says it really read. Pure, and the same for the
same conversation, so that a replayed task comes to the same decisions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from consort_agents.models.port import Block, Message, Opaque, Request, Text, ToolResult, ToolUse
from consort_shared.values import Json

CHARACTERS = 4
"""of a token"""
_OF_A_BLOCK, _OF_A_MESSAGE = 4, 4
"""Tokens for what stands around each."""
_LEAST, _MOST = 0.5, 4.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How many real tokens an estimated one is."""

    factor: float = 1.0

    def of(self, estimate: int) -> int:
        return round(estimate * self.factor)

    def learned(self, estimate: int, real: int) -> Scale:
        """After a reply that says what it read; one that says nothing teaches nothing."""
        if estimate <= 0 or real <= 0:
            return self
        return Scale(min(_MOST, max(_LEAST, real / estimate)))


def estimate(request: Request) -> int:
    """Tokens of a request as input."""
    tools = sum(_json(tool.model_dump()) for tool in request.tools)
    schema = 0 if request.output_schema is None else _json(request.output_schema)
    return _text(request.system) + tools + schema + estimate_messages(request.messages)


def estimate_messages(messages: Iterable[Message]) -> int:
    return sum(_OF_A_MESSAGE + sum(_block(block) for block in message.content) for message in messages)


def tokens_of(characters: int) -> int:
    return -(-characters // CHARACTERS)


def _block(block: Block) -> int:
    match block:
        case Text():
            return _OF_A_BLOCK + _text(block.text)
        case ToolUse():
            return _OF_A_BLOCK + _text(block.name) + _json(block.input)
        case ToolResult():
            return _OF_A_BLOCK + _text(block.content)
        case Opaque():
            return _OF_A_BLOCK + _json(block.data)


def _json(value: Json) -> int:
    return _text(json.dumps(value, ensure_ascii=False, default=str))


def _text(text: str) -> int:
    return tokens_of(len(text) if text.isascii() else len(text.encode("utf-8", "replace")))
