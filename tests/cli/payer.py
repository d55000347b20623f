"""An agent with effects, and with a task that kills its process, for the tests of the command line."""

from __future__ import annotations

import os
import time

from consort_agents import Agent, Context

agent = Agent(
    "payer", version="1", description="Pays, and dies of some tasks.", slots=2, lease=1, poison_after=1
)


@agent.skill("payer.pay")
async def pay(amount: int, context: Context) -> dict[str, int]:
    """Pays; the first time the answer gets lost on its way."""

    async def charge() -> dict[str, int]:
        if context.attempt == 1:
            raise ConnectionError("the answer was lost")
        return {"paid": amount}

    paid: dict[str, int] = await context.once("charge", charge)
    return paid


@agent.skill("payer.die")
def die(word: str) -> str:
    """Dies of a bad word."""
    if word == "bad":
        os._exit(9)
    return word.upper()


@agent.skill("payer.hang")
def hang(seconds: float) -> str:
    """Cannot be interrupted."""
    time.sleep(seconds)
    return "done"
