"""A chain of prompts in one agent: each question builds on the answer before."""

from __future__ import annotations

from consort_agents import Agent, Context
from consort_agents.models.port import user

agent = Agent("praiser", profile={"role": "a writer of travel guides"})


@agent.skill("praise")
async def praise(city: str, ctx: Context) -> dict[str, str]:
    """Praise a city, say what is weak in it, and write it again."""
    draft = await ctx.model.ask(f"Praise {city} in two sentences.")
    critique = await ctx.model.ask([*draft.messages, user("What is weak in it?")], max_tokens=300)
    final = await ctx.model.ask([*critique.messages, user("Write it again without that.")])
    return {"draft": draft.text, "critique": critique.text, "final": final.text}
