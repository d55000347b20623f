"""A message as the events of a stream, in the order that the API documents. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PIECE = 24
"""Characters of text, or of JSON, in one event."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `text` counts the characters of the answer's text that it brings."""

    data: Mapping[str, Any]
    text: int = 0

    @property
    def wire(self) -> bytes:
        body = json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))
        return f"event: {self.data['type']}\ndata: {body}\n\n".encode()


def events_of(message: Mapping[str, Any], end: int | None = None) -> Iterator[Event]:
    """The events of a message. With `end` they stop after so many characters of its text, in the midst of a word."""
    usage = message["usage"]
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    yield Event({"type": "message_start", "message": {**start, "usage": {**usage, "output_tokens": 1}}})
    yield Event({"type": "ping"})
    left = end
    for index, block in enumerate(message["content"]):
        yield Event({"type": "content_block_start", "index": index, "content_block": _opened(block)})
        for delta, characters in _deltas(block):
            if left is not None and characters >= left:
                if left and characters:
                    cut = {**delta, "text": delta["text"][:left]}
                    yield Event({"type": "content_block_delta", "index": index, "delta": cut}, left)
                return
            left = None if left is None else left - characters
            yield Event({"type": "content_block_delta", "index": index, "delta": delta}, characters)
        yield Event({"type": "content_block_stop", "index": index})
    if end is not None:
        return
    delta = {name: message.get(name) for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield Event({"type": "message_delta", "delta": delta, "usage": usage})
    yield Event({"type": "message_stop"})


def error_event(kind: str, message: str, request_id: str) -> Event:
    return Event({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id})


def _opened(block: Mapping[str, Any]) -> dict[str, Any]:
    match block["type"]:
        case "text":
            return {**block, "text": ""}
        case "tool_use" | "server_tool_use":
            return {**block, "input": {}}
        case "thinking":
            return {**block, "thinking": "", "signature": ""}
        case _:
            return dict(block)


def _deltas(block: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    """What is added to a block that was opened, and the characters of text in it."""
    match block["type"]:
        case "text":
            for piece in _pieces(block["text"]):
                yield {"type": "text_delta", "text": piece}, len(piece)
        case "tool_use" | "server_tool_use":
            yield {"type": "input_json_delta", "partial_json": ""}, 0
            for piece in _pieces(json.dumps(block["input"], ensure_ascii=False)):
                yield {"type": "input_json_delta", "partial_json": piece}, 0
        case "thinking":
            for piece in _pieces(block["thinking"]):
                yield {"type": "thinking_delta", "thinking": piece}, 0
            yield {"type": "signature_delta", "signature": block["signature"]}, 0


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + PIECE] for at in range(0, len(text), PIECE))
