"""Agents that think, for tests with real processes."""

from __future__ import annotations

import os
from pathlib import Path

from consort_agents import Agent, Context, tool
from consort_agents.tools.definition import Caller


def mark(name: str, text: str) -> None:
    with (Path(os.environ["MARKS"]) / name).open("a") as file:
        file.write(f"{text}\n")


@tool
def read_file(name: str) -> str:
    """Read a file of the case."""
    mark("read", name)
    return f"{name} names a suspect. password=swordfish-{name}"


@tool
def count(words: str) -> int:
    """Count words."""
    mark("counted", words)
    return len(words.split())


@tool(risk="write", idempotent=False)
def note(text: str, caller: Caller) -> str:
    """Write a note into the case's book."""
    mark("noted", f"{caller.call_id} {text}")
    return "noted"


detective = Agent(
    "detective", lease=1.0, profile="detective.toml", tools=[read_file, count, note], poison_after=10
)


@detective.skill("solve")
async def solve(ctx: Context, case: str) -> dict[str, object]:
    outcome = await ctx.model.work(f"Solve the case: {case}")
    return {"text": outcome.text, "turns": outcome.turns, "role": ctx.profile.role}


@detective.skill("solve.plain")
def solve_plainly(ctx: Context, case: str) -> str:
    return str(ctx.model.ask_sync(f"Name the culprit: {case}").text)


@detective.skill("solve.apart", isolation="process")
def solve_apart(ctx: Context, case: str) -> str:
    assert not ctx.model.available
    return str(ctx.model.ask_sync(f"Name the culprit: {case}").text)
