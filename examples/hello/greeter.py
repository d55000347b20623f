# greeter.py
from consort_agents import Agent, Context

agent = Agent("greeter", description="Greets people.", slots=4)


@agent.skill("greet.one")
def greet(name: str, polite: bool = False) -> str:  # plain functions run in threads
    return f"Good day, {name}." if polite else f"Hi {name}!"


@agent.skill("greet.all")
async def greet_all(greetings: list[str], ctx: Context) -> dict[str, int | str]:
    ctx.progress("putting it together", done=0, total=len(greetings))
    ctx.write("greeted", len(greetings))  # shared context, judged with the result
    return {"text": " ".join(greetings), "count": len(greetings)}
