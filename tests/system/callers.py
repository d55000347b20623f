"""Agents whose calls cost something; what was really asked for is marked, as who charges for it would know."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from cast import LEASE, mark, may_go

from consort_agents import Agent, Context
from consort_agents.journal.port import Call, Divergence
from consort_agents.models.finding import open_provider
from consort_agents.models.port import Reply, Request, user

_policy: Any = os.environ.get("DIVERGENCE", "fail")
policy: Divergence = _policy
caller = Agent("caller", slots=8, lease=LEASE, divergence=policy)


async def ask(ctx: Context, what: str, gate: str = "", size: int = 0) -> str:
    async def perform(call: Call) -> str:
        mark("asked", f"{what} {call.id} {'again' if call.again else ''}")
        while gate and not may_go(gate):
            await asyncio.sleep(0.02)
        return f"{what}{'.' * size}"

    recorded = await ctx.journal.call("model", "m", {"messages": [what]}, perform, shown={"asks": what})
    answer: str = recorded.value
    return answer


@caller.skill("call.chain")
async def chain(count: int, ctx: Context, gate_at: int = 0) -> list[str]:
    """One call after the other; at the gate it waits until the test lets it go on."""
    return [await ask(ctx, f"q{n}", "call" if n == gate_at else "") for n in range(1, count + 1)]


@caller.skill("call.many")
async def many(count: int, ctx: Context) -> list[str]:
    """All at once, each of odd number as soon as the test lets it."""
    return await asyncio.gather(*(ask(ctx, f"q{n}", "call" if n % 2 else "") for n in range(count)))


@caller.skill("call.changed")
async def changed(ctx: Context) -> list[str]:
    """Code that asks for something else after an update."""
    version = os.environ.get("VERSION", "1")
    return [await ask(ctx, "same"), await ask(ctx, f"version {version}"), await ask(ctx, "last", "call")]


@caller.skill("call.large")
async def large(ctx: Context) -> int:
    return sum([len(await ask(ctx, f"q{n}", size=200_000)) for n in range(3)])


@caller.skill("call.plain")
def plain(count: int, ctx: Context) -> list[Any]:
    """A plain function; what comes out differently each time goes through the journal too."""
    return _plain(count, ctx)


@caller.skill("call.isolated", isolation="process")
def isolated(count: int, ctx: Context) -> list[Any]:
    """The same in a child process."""
    return _plain(count, ctx)


def _plain(count: int, ctx: Context) -> list[Any]:
    found: list[Any] = [ctx.journal.value_sync("start", time.time)]
    mark("start", str(found[0]))
    for n in range(1, count + 1):

        def perform(call: Call, what: str = f"q{n}") -> str:
            mark("asked", f"{what} {call.id}")
            return what

        found.append(ctx.journal.call_sync("tool", "t", {"n": n}, perform).value)
    return found[1:]


@caller.skill("call.model")
async def model(topic: str, ctx: Context) -> list[str]:
    """A conversation of three turns with whatever model the process is given."""
    provider, name = open_provider(os.environ["CONSORT_MODEL"])
    messages = [user(f"{os.environ.get('WORDS', 'Tell me')} about {topic}.")]
    for _ in range(3):
        request = Request(model=name, messages=tuple(messages), system="Be brief.", agent="caller")

        async def perform(_: Call, request: Request = request) -> Any:
            mark("asked", request.messages[-1].text.replace(" ", "_"))
            return (await provider.ask(request)).model_dump(mode="json")

        asked = request.model_dump(mode="json")
        recorded = await ctx.journal.call("model", name, asked, perform, shown={"asks": messages[-1].text})
        reply = Reply.model_validate(recorded.value)
        messages += [reply.message, user(f"And then? ({len(messages)})")]
    return [message.text for message in messages if message.role == "assistant"]
