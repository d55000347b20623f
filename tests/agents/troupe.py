"""Agents for the tests of the kit. What a test must be able to see is written into the folder that MARKS names."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from consort_agents import Agent, Context, Decline, NotDone, SkillError
from consort_shared.profile import Profile
from consort_shared.usage import Usage


def mark(name: str, text: str = "") -> None:
    with (Path(os.environ["MARKS"]) / name).open("a") as file:
        file.write(f"{os.getpid()} {text}\n")


def go(name: str) -> bool:
    return (Path(os.environ["MARKS"]) / f"go-{name}").exists()


# --- effects

payer = Agent("payer", slots=8, lease=1.0)
_unknown: Any = "ask"


@payer.skill("pay")
async def pay(ctx: Context, unknown: str = "ask") -> Any:
    def charge(key: str) -> dict[str, Any]:
        mark("charged", key)
        return {"charge": 7, "key": key}

    chosen: Any = unknown
    try:
        return await ctx.once("charge", charge, unknown=chosen)
    except Exception as exc:  # noqa: BLE001 - what ends an attempt must not be caught by this
        return f"caught {type(exc).__name__}"


@payer.skill("pay.sync")
def pay_sync(ctx: Context) -> Any:
    first = ctx.once_sync("charge", lambda: mark("charged") or 7)
    assert ctx.once_sync("charge", lambda: mark("charged") or 8) == first
    return first


@payer.skill("pay.many")
async def pay_many(ctx: Context) -> Any:
    async with asyncio.TaskGroup() as group:
        for key in ("a", "b"):
            group.create_task(ctx.once(key, lambda: mark("charged")))
    return "paid"


@payer.skill("pay.not")
async def pay_not(ctx: Context) -> Any:
    async def charge() -> None:
        raise NotDone("the card was refused")

    return await ctx.once("charge", charge)


@payer.skill("pay.odd")
async def pay_odd(ctx: Context) -> Any:
    return await ctx.once("charge", lambda: object())


@payer.skill("pay.swallow")
async def pay_swallow(ctx: Context) -> Any:
    try:
        return await ctx.once("charge", lambda: mark("charged"))
    except BaseException:  # noqa: BLE001 - as badly as it can be written
        return "swallowed"


@payer.skill("big")
async def big() -> Any:
    return 2**70


# --- orders

clerk = Agent("clerk", slots=4, lease=1.0, poison_after=3)


@clerk.skill("sleep")
async def sleep(name: str = "x") -> str:
    mark("at", name)
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        mark("cancelled", name)
        raise
    return name


@clerk.skill("block")
def block(name: str = "x") -> str:
    mark("at", name)
    while not go(name):
        time.sleep(0.01)
    mark("returned", name)
    return name


@clerk.skill("polite")
def polite(ctx: Context, name: str = "x") -> str:
    mark("at", name)
    while not go(name):
        time.sleep(0.01)
        ctx.check()
    return name


@clerk.skill("stubborn")
async def stubborn(name: str = "x") -> str:
    mark("at", name)
    while not go(name):
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            mark("refused", name)
    return name


@clerk.skill("quick")
def quick(name: str = "x") -> str:
    mark("quick", name)
    return name


@clerk.skill("cancels")
async def cancels() -> str:
    task = asyncio.create_task(asyncio.sleep(3600))
    task.cancel()
    await task
    return "never"


# --- isolation

cell = Agent("cell", slots=2, lease=1.0, isolation="process")


@cell.skill("cell.add")
def add(left: int, right: int, ctx: Context) -> dict[str, Any]:
    return {"sum": left + right, "pid": os.getpid(), "step": ctx.step, "run": ctx.run}


@cell.skill("cell.hang")
def hang(name: str = "x") -> str:
    child = subprocess.Popen(["sleep", "3600"])
    mark("at", f"{name} {child.pid}")
    time.sleep(3600)
    return "never"


@cell.skill("cell.die")
def die(how: str) -> str:
    if how == "exit":
        os._exit(3)
    if how == "segv":
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@cell.skill("cell.raise")
def raises(how: str) -> Any:
    match how:
        case "error":
            raise RuntimeError("it broke")
        case "skill":
            raise SkillError("cannot", retry=False, kind="own")
        case "decline":
            raise Decline("not mine")
        case "json":
            return object()
        case "large":
            return "x" * (65 * 1024 * 1024)
        case "exit":
            raise SystemExit(4)
    return how


@cell.skill("cell.talk")
def talk(ctx: Context) -> dict[str, Any]:
    ctx.progress("begun", 0, 1)
    ctx.milestone_sync("half", 1, 2)
    ref = ctx.artefacts.put_sync(b"bytes" * 100_000, name="file.bin")
    answer = ctx.put_sync("note", {"n": 2**40})
    ctx.write("total", 4, confidence=0.5)
    ctx.check()
    paid = ctx.once_sync("charge", lambda key: mark("charged", key) or {"key": key})
    return {
        "size": len(ctx.artefacts.get_sync(ref)),
        "accepted": answer.accepted,
        "paid": paid,
        "known": ctx.context,
        "id": ctx.effect_id("charge"),
        "stopping": ctx.stopping,
    }


@cell.skill("cell.doubt")
def doubt(ctx: Context) -> Any:
    return ctx.once_sync("charge", lambda: mark("charged"))


@cell.skill("cell.wait")
async def wait() -> str:
    return "an async skill stays in the agent's own process"


# --- profiles and usage

scribe = Agent("scribe", slots=4, lease=1.0, poison_after=2, profile=Profile(role="a scribe"))
USED = Usage(calls=1, input_tokens=15, cost=1_000)


@scribe.skill("who")
async def who(ctx: Context) -> list[str]:
    return [ctx.profile.role, ctx.profile_version]


@scribe.skill("who.isolated", isolation="process")
def who_isolated(ctx: Context) -> list[str]:
    return [ctx.profile.role, ctx.profile_version]


@scribe.skill("spend")
async def spend(ctx: Context) -> None:
    ctx.spent(USED)
    ctx.spent(USED)


@scribe.skill("spend.and.fail")
def spend_and_fail(ctx: Context) -> None:
    ctx.spent(USED)
    ctx.spent(USED)
    raise SkillError("no luck")


@scribe.skill("spend.isolated", isolation="process")
def spend_isolated(ctx: Context) -> None:
    ctx.spent(USED)
    ctx.spent(USED)
