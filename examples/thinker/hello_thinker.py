from consort_agents import Agent, Context, tool


@tool
def population(city: str) -> int:
    """How many people live in a city."""
    return {"Rome": 2_750_000, "Oslo": 717_000}[city]


agent = Agent("thinker", tools=[population], profile={"role": "a geographer", "goal": "Be brief."})


@agent.skill("think")
async def think(question: str, ctx: Context) -> str:
    return (await ctx.model.work(question)).text
