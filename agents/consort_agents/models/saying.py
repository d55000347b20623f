"""What a scripted model says: the message of the API that an answer of a script becomes.

Pure, and the same for the same request: ids are digests. The limits that a real model
has are kept here too: `max_tokens`, stop sequences and the context window end the text,
with the stop reason that says so, unless the script names one itself.
"""

from __future__ import annotations

from typing import Any

from consort_agents.models.asked import Asked
from consort_agents.models.caching import CHARACTERS_PER_TOKEN, estimated_tokens
from consort_agents.models.filling import Filling, as_text, filled
from consort_agents.models.script import Answer
from consort_shared.values import digest

SIGNATURE = "c2NyaXB0ZWQ="
"""Stands where a provider's signature of thinking would."""


def said(answer: Answer, asked: Asked, filling: Filling, window: int | None) -> dict[str, Any]:
    """The message, without its id and with the usage of output only. Raises Unfilled."""
    text = _text(answer, filling)
    stop, sequence = answer.stop_reason, answer.stop_sequence
    if stop is None and text is not None:
        text, stop, sequence = _ended(text, asked, window)
    uses = [_use(answer, at, asked, filling) for at in range(len(answer.use))]
    content: list[dict[str, Any]] = []
    if answer.thinking:
        thought = as_text(filled(answer.thinking, filling))
        content.append({"type": "thinking", "thinking": thought, "signature": SIGNATURE})
    if text is not None and (text or not uses):
        content.append({"type": "text", "text": text})
    content += [filled(block, filling) for block in answer.blocks]
    if stop is None or stop in {"tool_use", "end_turn"}:
        stop = stop or ("tool_use" if uses else "end_turn")
        content += uses
    elif answer.stop_reason is not None:
        content += uses  # the script wants them beside a reason of its own
    return {
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": sequence,
        "stop_details": filled(answer.stop_details, filling),
        "usage": _usage(answer, content),
    }


def _text(answer: Answer, filling: Filling) -> str | None:
    if answer.text is not None:
        return as_text(filled(answer.text, filling))
    if "json_value" in answer.model_fields_set:
        return as_text(filled(answer.json_value, filling)) if answer.json_value is not None else "null"
    return None


def _use(answer: Answer, at: int, asked: Asked, filling: Filling) -> dict[str, Any]:
    use = answer.use[at]
    called = f"toolu_{digest([asked.digest, at])[:24]}"
    return {"type": "tool_use", "id": called, "name": use.tool, "input": filled(use.input, filling)}


def _ended(text: str, asked: Asked, window: int | None) -> tuple[str, Any, str | None]:
    """The text as far as it comes, and why it ends there; None for at its own end."""
    ends = [(text.find(sequence), sequence) for sequence in asked.stop_sequences if sequence in text]
    stop: str | None = None
    sequence: str | None = None
    if ends:
        at, sequence = min(ends)
        text, stop = text[:at], "stop_sequence"
    room = asked.max_tokens
    reason = "max_tokens"
    if window is not None and window - asked.tokens < room:
        room, reason = window - asked.tokens, "model_context_window_exceeded"
    if len(text) > room * CHARACTERS_PER_TOKEN:
        return text[: room * CHARACTERS_PER_TOKEN], reason, None
    return text, stop, sequence


def _usage(answer: Answer, content: list[dict[str, Any]]) -> dict[str, Any]:
    parts = [
        block.get("text") or block.get("thinking") or block.get("input") or block.get("data")
        for block in content
    ]
    thinking = answer.usage.thinking
    if thinking is None:
        thinking = sum(estimated_tokens(block.get("thinking")) for block in content)
    output = answer.usage.output
    if output is None:
        output = max(1, sum(map(estimated_tokens, parts)), thinking)
    return {
        "input_tokens": 0,
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": thinking},
        "service_tier": "standard",
    }
