"""An agent whose model calls shared tools."""

from __future__ import annotations

from consort_agents import Agent, Context

agent = Agent("asker", tools=["shop.*"], lease=3)
lost = Agent("lost", tools=["shop.nothing"])


@agent.skill("ask")
async def ask(ctx: Context, question: str) -> dict[str, int | str]:
    """Ask the model, which has shared tools."""
    outcome = await ctx.model.work(question)
    return {"text": outcome.text, "saved": ctx.usage.tool_calls_saved, "calls": ctx.usage.tool_calls}


@lost.skill("wander")
async def wander() -> str:
    """Never begun."""
    return "here"
