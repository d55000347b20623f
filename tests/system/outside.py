"""Agents with consequences outside, each run as a process of its own: `python -m consort_agents outside.py:<name>`."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from cast import LEASE, mark, may_go

from consort_agents import Agent, Context, SkillError

payer = Agent("payer", slots=8, lease=LEASE)
cell = Agent("cell", slots=2, lease=LEASE, isolation="process")


@payer.skill("pay")
async def pay(name: str, ctx: Context, unknown: str = "ask") -> Any:
    chosen: Any = unknown

    def charge(key: str) -> dict[str, str]:
        mark(f"paid-{name}", key)
        return {"receipt": name}

    return await ctx.once("charge", charge, unknown=chosen)


@payer.skill("pay.back")
def pay_back(name: str, ctx: Context) -> None:
    ctx.once_sync("refund", lambda: mark("back", name))


@payer.skill("pay.hang")
async def pay_hang(name: str, ctx: Context) -> Any:
    """Pays, and hangs in its first attempt."""
    receipt = await ctx.once("charge", lambda: mark(f"paid-{name}") or name)
    if ctx.attempt == 1:
        await asyncio.sleep(3600)
    return receipt


@payer.skill("fail")
def fails() -> None:
    raise SkillError("as it was to", retry=False)


@cell.skill("hang")
def hang(name: str) -> str:
    """Hangs until the test lets it go on."""
    mark(f"hang-{name}")
    while not may_go(name):
        time.sleep(0.01)
    return name


@cell.skill("crash")
def crash(times: int, ctx: Context) -> int:
    if ctx.attempt <= times:
        os.kill(os.getpid(), signal.SIGSEGV)
    return ctx.attempt
