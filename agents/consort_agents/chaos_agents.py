"""The agent of `consort chaos`: skills that do little, slowly, and tell whose task it was.

Every result holds the id of the task that made it. What a skill does to the outside
world is a line in a file, which is the effect itself: there is no way to take it
back, and no way to do it twice unnoticed.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from consort_agents.context import Context
from consort_agents.errors import SkillError
from consort_agents.kit import Agent

LEDGER = "CONSORT_CHAOS_LEDGER"
"""Names the file that stands for the outside world."""

agent = Agent(
    "chaos",
    description="Works for `consort chaos`.",
    slots=8,
    lease=1.0,
    poison_after=1000,  # it is killed for other reasons than its tasks
)


@agent.skill("chaos.add")
async def add(text: str, by: str, ctx: Context, pause: float = 0.0) -> dict[str, Any]:
    await asyncio.sleep(pause)
    return {"task": ctx.task, "value": f"{text}.{by}"}


@agent.skill("chaos.join")
async def join(
    parts: list[dict[str, Any]], last: dict[str, Any], ctx: Context, pause: float = 0.0
) -> dict[str, Any]:
    await asyncio.sleep(pause)
    return {"task": ctx.task, "value": " ".join(str(part["value"]) for part in [*parts, last])}


@agent.skill("chaos.count")
def count(number: int, enough: int, ctx: Context, pause: float = 0.0) -> dict[str, Any]:
    time.sleep(pause)
    return {"task": ctx.task, "value": number, "enough": number >= enough}


@agent.skill("chaos.stumble")
async def stumble(text: str, times: int, ctx: Context, pause: float = 0.0) -> dict[str, Any]:
    """Fails so many times, then does it."""
    await asyncio.sleep(pause)
    if ctx.attempt <= times:
        raise SkillError(f"stumbled in attempt {ctx.attempt}")
    return {"task": ctx.task, "value": f"{text}.stumbled"}


@agent.skill("chaos.refuse")
async def refuse(text: str, pause: float = 0.0) -> dict[str, Any]:
    await asyncio.sleep(pause)
    raise SkillError(f"nobody can do {text}", retry=False)


@agent.skill("chaos.charge")
async def charge(key: str, amount: int, ctx: Context, pause: float = 0.0) -> dict[str, Any]:
    """Does something outside that must happen once."""

    async def happen() -> str:
        await asyncio.sleep(pause)  # asked for, not done yet
        receipt = f"charged {amount} for {key}"
        _append(effect=ctx.effect_id(key), run=ctx.run, path=ctx.step, key=key, value=receipt)
        await asyncio.sleep(pause)  # done, and nobody was told yet
        return receipt

    receipt = await ctx.once(key, happen)
    return {"task": ctx.task, "value": receipt}


def _append(**told: str) -> None:
    """One write at the end of the file, on the disk when this returns."""
    line = json.dumps({**told, "pid": os.getpid(), "at": time.time()}) + "\n"
    file = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
        os.fsync(file)
    finally:
        os.close(file)
