"""Agents for the tests, each run as a process of its own: `python -m consort_agents cast.py:<name>`.

They leave marks in the folder that MARKS names, so that a test can tell what ran, where and how often.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from consort_agents import Agent, Context, Decline, SkillError
from consort_shared.profile import Profile
from consort_shared.usage import Usage
from consort_shared.values import ArtefactRef

LEASE = 1.0


def mark(name: str, text: str = "") -> None:
    with (Path(os.environ["MARKS"]) / name).open("a") as file:
        file.write(f"{os.getpid()} {time.time():.4f} {text}\n")


def may_go(name: str) -> bool:
    return (Path(os.environ["MARKS"]) / f"go-{name}").exists()


worker = Agent("worker", slots=8, lease=LEASE, description="Does small things.")
other = Agent("other", slots=8, lease=LEASE, description="Does the same small things.")
crowd = Agent("crowd", slots=120, lease=5.0, description="Has many hands.")
odd = Agent("odd", slots=4, lease=LEASE, description="Does things wrong.")
_barrier: asyncio.Barrier | None = None


class Text(BaseModel):
    text: str


@worker.skill("text.make")
@other.skill("text.make")
def make(name: str, pause: float = 0.0) -> Text:
    mark("make", name)
    time.sleep(pause)
    return Text(text=f"made {name}")


@worker.skill("text.join")
def join(parts: list[Text], pause: float = 0.0) -> Text:
    mark("join")
    time.sleep(pause)
    return Text(text=" + ".join(part.text for part in parts))


@worker.skill("text.extend")
async def extend(text: str, by: str, ctx: Context, pause: float = 0.0, cost: int = 0) -> Text:
    mark("extend", by)
    mark("handoff", ",".join(f"{prior.path}:{prior.digest}" for prior in ctx.handoff.priors))
    await asyncio.sleep(pause)
    ctx.write("last", by)
    if cost:
        ctx.spent(Usage(calls=1, input_tokens=9, output_tokens=3, cost=cost))
    return Text(text=f"{text}.{by}")


@worker.skill("text.gate")
async def gate(name: str, ctx: Context) -> Text:
    """Waits until the test lets it go on."""
    mark(f"at-{name}", ctx.task)
    while not may_go(name):
        await asyncio.sleep(0.02)
    return Text(text=name)


@worker.skill("count.to")
def count_to(number: int, enough: int) -> dict[str, Any]:
    return {"number": number, "ok": number >= enough}


@worker.skill("blob.make")
async def blob_make(size: int, ctx: Context) -> dict[str, Any]:
    ref = await ctx.artefacts.put(bytes(range(256)) * (size // 256), name="blob.bin")
    return {"blob": ref.model_dump()}


@worker.skill("blob.measure")
async def blob_measure(blob: ArtefactRef, ctx: Context) -> int:
    return len(await ctx.artefacts.get(blob))


@worker.skill("value.make")
def value_make(size: int) -> dict[str, Any]:
    return {"text": "x" * size, "items": list(range(10)), "small": 7}


@worker.skill("value.measure")
def value_measure(text: str) -> int:
    return len(text)


@worker.skill("context.put")
async def context_put(ctx: Context) -> list[dict[str, Any]]:
    first = await ctx.put("note", "one", seen=0)
    stale = await ctx.put("note", "two", seen=0)
    second = await ctx.put("note", "two", seen=1)
    return [answer.model_dump() for answer in (first, stale, second)]


@worker.skill("milestone.tell")
async def milestone(ctx: Context) -> str:
    await ctx.milestone("half-way", 1, 2)
    ctx.progress("nearly", 3, 4)
    return "told"


@crowd.skill("meet")
async def meet(count: int) -> str:
    """Returns only when `count` tasks are at work at the same time."""
    global _barrier
    _barrier = _barrier or asyncio.Barrier(count)
    await _barrier.wait()
    return "met"


@worker.skill("effect.once")
async def effect_once(name: str, ctx: Context) -> str:
    """Does something in the world outside that must not be done twice."""

    def pay() -> str:
        mark(f"effect-{name}", ctx.effect_id(name))
        return name

    paid: str = await ctx.once(name, pay)
    return paid


@worker.skill("call.three")
async def call_three(ctx: Context) -> list[str]:
    """Asks for something three times that costs something."""

    async def asked(what: str) -> str:
        async def perform(_: object) -> str:
            mark("called", what)
            return what

        recorded = await ctx.journal.call("tool", "t", {"what": what}, perform)
        found: str = recorded.value
        return found

    return [await asked(what) for what in ("a", "b", "c")]


@odd.skill("raise")
def raises() -> str:
    mark("raise")
    raise RuntimeError("it broke")


@odd.skill("leave")
def leaves() -> str:
    raise SystemExit(4)


@odd.skill("leave.async")
async def leaves_too() -> str:
    raise SystemExit(4)


@odd.skill("refuse")
def refuses() -> str:
    mark("refuse")
    raise SkillError("this cannot be done by anybody", retry=False)


@odd.skill("decline")
def declines() -> str:
    raise Decline("not mine")


@odd.skill("lie")
def lies() -> int:
    return "seven"  # type: ignore[return-value] # the point of it


@odd.skill("large")
def large() -> str:
    return "y" * 5_000_000


@odd.skill("hang")
async def hangs() -> str:
    mark("hang")
    await asyncio.sleep(3600)
    return "never"


@odd.skill("die")
def dies(times: int) -> str:
    mark("die")
    if len((Path(os.environ["MARKS"]) / "die").read_text().splitlines()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


# --- profiles and usage

persona = Agent("persona", slots=8, lease=LEASE, profile=Profile(role="its own"))


@persona.skill("persona.tell")
async def persona_tell(name: str, ctx: Context, gate: bool = False, cost: int = 0) -> list[str]:
    """Waits, if it is to, and says under which profile it works."""
    mark(f"at-{name}", f"{ctx.task} {ctx.profile.role} {ctx.profile_version}")
    while gate and not may_go(name):
        await asyncio.sleep(0.02)
    if cost:
        ctx.spent(Usage(calls=1, input_tokens=100, output_tokens=10, cost=cost))
    return [ctx.profile.role, ctx.profile_version]


@persona.skill("persona.see")
def persona_see(offers: list[dict[str, Any]]) -> dict[str, Any]:
    """How the agent that offers this is described among what is on offer."""
    [mine] = [offer for offer in offers if offer["skill"] == "persona.see"]
    [agent] = mine["agents"]
    return dict(agent)
