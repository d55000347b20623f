"""An agent that asks a model once for each task, for `benchmarks.answering`."""

from __future__ import annotations

from consort_agents import Agent, Context

agent = Agent("thinker", slots=64)
SKILL = "bench.think"


@agent.skill(SKILL)
async def think(text: str, ctx: Context) -> str:
    return (await ctx.model.ask(text)).text
