"""Two agents at the desk of a shop: one does steps without a model, one thinks, and both use the same tools."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

from pydantic import BaseModel

from consort_agents import Agent, Context, SkillError, tool

TOOLS = ["tools.*"]  # those of the host that serves tools.yaml

desk = Agent(
    "desk", version="1", description="Reads messages and looks things up, without a model.", tools=TOOLS
)
clerk = Agent(
    "clerk",
    version="1",
    description="Answers customers.",
    tools=TOOLS,
    profile={
        "role": "a clerk at the desk of a coffee shop",
        "goal": "Answer what the customer asks, from the order, the carrier and the handbook alone.",
        "instructions": "Look up what you need, and no more. Two or three sentences. Promise nothing.",
        "limits": {"turns": 8, "tool_calls": 10},
    },
)


@tool
def days_between(first: str, last: str) -> int:
    """How many days lie between two days, both written like 2026-11-05."""
    return (date.fromisoformat(last) - date.fromisoformat(first)).days


class Message(BaseModel):
    order: str
    name: str
    subject: str


@desk.skill("desk.read")
def read(message: str) -> Message:
    """A plain function: which order a message is about, and who wrote it."""
    number = re.search(r"\b\d{4}\b", message)
    if number is None:
        raise SkillError("the message names no order: its four digits are needed to look it up", retry=False)
    *_, last = [line for line in message.strip().splitlines() if line.strip()]
    name = last.strip() if re.fullmatch(r"\s*[A-Z]\w+( [A-Z]\w+)*\s*", last) else ""
    return Message(order=number[0], name=name, subject=f"your order {number[0]}")


@desk.skill("desk.order")
async def order(number: str, ctx: Context) -> Any:
    """An HTTP tool as a step."""
    return await ctx.call_tool("tools.getOrder", number=number)


@desk.skill("desk.handbook")
async def handbook(question: str, ctx: Context) -> list[str]:
    """An MCP tool as a step."""
    found: Any = await ctx.call_tool("tools.shop__search_handbook", question=question)
    return found["result"]  # type: ignore[no-any-return]


@desk.skill("desk.parcel")
async def parcel(scans: str, ctx: Context) -> list[str]:
    """A shell job in the sandbox as a step."""
    return str(await ctx.call_tool("tools.newest_first", scans=scans)).splitlines()


class Answer(BaseModel):
    text: str
    by: str
    tools: list[str] = []


@clerk.skill("clerk.answer")
async def answer(
    message: str, today: str, order: dict[str, str], parcel: list[str], handbook: list[str], ctx: Context
) -> Answer:
    """A model that works with the same tools; without one, what the steps before found."""
    if not ctx.model.available:
        ctx.log.info("the answer is put together without a model: %s", ctx.model.trouble)
        text = f"The carrier's last word on order {order['number']}: {parcel[0]}."
        return Answer(text=" ".join([text, *handbook[:1]]), by="computed")
    done = await ctx.model.work(json.dumps({"message": message, "today": today, "order": order}))
    used = [use.name for said in done.messages for use in said.tool_uses]
    return Answer(text=done.text, by=ctx.model.name.partition(":")[0], tools=used)
