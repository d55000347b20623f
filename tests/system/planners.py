"""Planners that do not do what they should, or not at once."""

from __future__ import annotations

import asyncio
from typing import Any

from cast import LEASE, mark, may_go

from consort_agents import Agent, Context

careless = Agent(
    "careless", slots=4, lease=LEASE, description="Answers with a plan that cannot be, and mends it."
)
stubborn = Agent(
    "stubborn", lease=LEASE, description="Answers with a plan that cannot be, and never mends it."
)


def good(goal: str) -> dict[str, Any]:
    return {
        "name": "two steps",
        "inputs": {"goal": {"type": "string"}},
        "steps": {
            "first": {"skill": "text.make", "with": {"name": "${{ inputs.goal }}"}},
            "second": {
                "skill": "text.extend",
                "needs": ["first"],
                "with": {"text": "${{ steps.first.output.text }}", "by": "it"},
            },
        },
        "output": "${{ steps.second.output.text }}",
    }


@careless.skill("plan")
async def plan(
    goal: str, offers: list[dict[str, Any]], inputs: dict[str, Any], ctx: Context
) -> dict[str, Any]:
    mark("planned", ctx.trouble.partition("\n")[0])
    mark("offered", ",".join(offer["skill"] for offer in offers))
    while not may_go("plan"):
        await asyncio.sleep(0.02)
    made = good(goal)
    if not ctx.trouble.startswith("bad-plan"):
        made["steps"]["first"]["needs"] = ["second"]
        made["steps"]["third"] = {"skill": "text.translate"}
    else:
        mark("told", ctx.trouble)
    return made


@stubborn.skill("plan")
def never(goal: str, offers: list[dict[str, Any]], inputs: dict[str, Any]) -> str:
    return f"I would rather talk about {goal}."
