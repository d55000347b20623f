"""How answers of a host are worded and kept: bounded, and stored apart where they are large."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from consort_bus.artefacts import Artefacts
from consort_bus.errors import BusError
from consort_shared.codec import JSON, decode
from consort_shared.tooling import Kept, ToolAnswer
from consort_shared.values import INLINE_LIMIT, canonical

LONGEST_CONTENT = 1_000_000
"""Characters of content that a host passes on; what a tool gives beyond is cut off."""
LARGEST = 32 * 1024 * 1024
"""Bytes of an answer that a host passes on, or an agent takes."""

_answer: TypeAdapter[ToolAnswer] = TypeAdapter(ToolAnswer)


def error(text: str, kind: str) -> ToolAnswer:
    """An answer that tells of trouble; `kind` is for programs."""
    return ToolAnswer(content=text, value={"kind": kind}, is_error=True)


def bounded(answer: ToolAnswer) -> ToolAnswer:
    """An answer with no more content than is passed on."""
    over = len(answer.content) - LONGEST_CONTENT
    if over <= 0:
        return answer
    content = f"{answer.content[:LONGEST_CONTENT]}\n[{over} more characters were cut off]"
    return answer.model_copy(update={"content": content, "truncated": answer.truncated + over})


async def kept(answer: ToolAnswer, store: Artefacts) -> tuple[ToolAnswer, Kept]:
    """An answer as it can be passed on, and as it is kept. Raises BusError."""
    answer = bounded(answer)
    try:
        raw = canonical(answer.model_dump(mode="json"))
    except (TypeError, ValueError, RecursionError) as exc:
        answer = error(f"the tool gave what is not JSON: {exc}", "bad-output")
        raw = canonical(answer.model_dump(mode="json"))
    if len(raw) > LARGEST:
        told = f"the tool gave {len(raw)} bytes; {LARGEST} are passed on at most"
        answer = error(told, "too-large")
        raw = canonical(answer.model_dump(mode="json"))
    if len(raw) <= INLINE_LIMIT:
        return answer, Kept(answer=answer)
    return answer, Kept(stored=await store.put(raw, media_type=JSON))


async def unkept(kept: Kept, store: Artefacts, host: str) -> ToolAnswer:
    """The answer again. What cannot be had is an answer that says so. Raises BusError."""
    if kept.answer is not None:
        return kept.answer
    if kept.stored is None or kept.stored.writer != f"toolhost.{host}" or kept.stored.size > LARGEST:
        return error(
            "the host's answer cannot be used: it is none, too large, or not the host's own", "unreadable"
        )
    raw = await store.get(kept.stored)
    try:
        return decode(_answer, raw, JSON)
    except (BusError, ValidationError, ValueError) as exc:
        return error(f"the host's answer cannot be read: {exc}", "unreadable")
