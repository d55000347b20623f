"""An agent that says that it has asked a model."""

from __future__ import annotations

from consort_agents import Agent, Context
from consort_shared.profile import Profile
from consort_shared.usage import Usage

agent = Agent("thinker", slots=4, lease=1.0, profile=Profile(role="a thinker", goal="Think."))


@agent.skill("thinker.think")
async def think(cost: int, ctx: Context) -> str:
    ctx.spent(
        Usage(
            calls=1,
            input_tokens=1100,
            cache_read_tokens=500,
            output_tokens=100,
            cost=cost,
            unpriced=0 if cost else 1,
        )
    )
    return ctx.profile.role


@agent.skill("thinker.compute")
def compute() -> int:
    return 7
