"""Where a request is marked for the provider's prompt cache.

A mark says: keep what was read up to here. Tools, system prompt and messages are read
in this order, so a mark behind one of them covers all before it. Writing costs a quarter
more than reading plainly, a hit nine tenths less, and a cache lives some minutes: a mark
pays as soon as the same beginning is asked once more in that time. So:

* tools and system prompt are marked when they are long enough to be kept at all. An agent
  sends them with every call of every task.
* messages are marked where another turn will follow: when a turn of the model is already
  among them, or tools are offered. Two marks, at the last message and at the user's
  message before it: a hit is looked for a limited number of blocks before a mark, and a
  turn with many parallel tool calls is longer than that.

Providers keep no beginning shorter than 1,024 tokens (some models want more), and a mark
on one is a mark for nothing. Tokens are estimated at four characters each.
"""

from __future__ import annotations

import json
from typing import Any

from consort_agents.models.wire import Body

LEAST_TOKENS = 1024
"""Estimated tokens that a beginning has at least to be marked."""
CHARACTERS_PER_TOKEN = 4
_MARK = {"type": "ephemeral"}
_MARKABLE = frozenset({"text", "tool_use", "tool_result", "image", "document"})


def estimated_tokens(value: Any) -> int:
    """Tokens of a part of a request, at four characters each; at least 1 for what is not empty."""
    if not value:
        return 0
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return max(1, len(text) // CHARACTERS_PER_TOKEN)


def marked(body: Body) -> Body:
    """The body with marks where they pay; the body given is left as it is."""
    made = dict(body)
    tools, system = body.get("tools", []), body.get("system", "")
    fixed = estimated_tokens(tools) + estimated_tokens(system)
    if fixed >= LEAST_TOKENS:
        if system:
            made["system"] = [{"type": "text", "text": system, "cache_control": _MARK}]
        else:
            made["tools"] = [*tools[:-1], {**tools[-1], "cache_control": _MARK}]
    messages = body["messages"]
    goes_on = bool(tools) or any(message["role"] == "assistant" for message in messages)
    if goes_on and fixed + estimated_tokens(messages) >= LEAST_TOKENS:
        made["messages"] = _marked_messages(messages)
    return made


def _marked_messages(messages: list[Body]) -> list[Body]:
    made = list(messages)
    earlier = [at for at, message in enumerate(messages[:-1]) if message["role"] == "user"]
    for at in {len(messages) - 1, *earlier[-1:]}:
        blocks = messages[at]["content"]
        if blocks and blocks[-1].get("type") in _MARKABLE:  # thinking cannot bear a mark
            made[at] = {**messages[at], "content": [*blocks[:-1], {**blocks[-1], "cache_control": _MARK}]}
    return made
