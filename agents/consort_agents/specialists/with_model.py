"""Thinking where there is a model to think with, and going on without where there is none.

A specialist computes its result in any case. What a model adds to it is an addition: with no
model, or with one that gives nothing that can be used, the result is the computed one, and
says why. Decides nothing about what is asked; calls that were called off still end the task.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from consort_agents import Context
from consort_agents.thinking.errors import ThinkingFailed
from consort_shared.values import Json

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Thought(Generic[T]):
    """What a model added, None where it added nothing; and if one was asked in vain, why."""

    value: T | None = None
    trouble: str = ""


def thought(ctx: Context, what: str, think: Callable[[], T]) -> Thought[T]:
    """What thinking gives; `what` names it for the log. Never fails for want of a model or of a usable answer."""
    if not ctx.model.available:
        if ctx.model.name:
            ctx.log.warning("%s is computed: %s", what, ctx.model.trouble)
        return Thought(trouble=ctx.model.trouble if ctx.model.name else "")
    try:
        return Thought(think())
    except ThinkingFailed as exc:
        ctx.log.warning("%s is computed, the model gave nothing to use: %s", what, exc)
        ctx.progress(f"{what} is computed, the model gave nothing to use")
        return Thought(trouble=str(exc))


def prompt(parts: Mapping[str, Json]) -> str:
    """What is asked, as one JSON object: data beside data, so that nothing in it reads as an order."""
    return json.dumps(parts, ensure_ascii=False)
