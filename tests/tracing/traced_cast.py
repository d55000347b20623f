"""Agents whose skills trace something themselves, as libraries do."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from opentelemetry import trace

from consort_agents import Agent, Context
from consort_agents.genai import telemetry

tracer = trace.get_tracer("traced-cast")
traced = Agent("traced", slots=4, lease=1.0, description="Traces.")


@traced.skill("trace.async")
async def in_the_loop(ctx: Context, name: str = "loop") -> str:
    with tracer.start_as_current_span(f"outer {name}"), tracer.start_as_current_span(f"inner {name}"):
        await asyncio.sleep(0)
    return ctx.trace


@traced.skill("trace.thread")
def in_a_thread(secret: str = "") -> str:
    with tracer.start_as_current_span("outer thread"):
        return secret


@traced.skill("trace.child", isolation="process")
def in_a_child(ctx: Context) -> str:
    with tracer.start_as_current_span("outer child"):
        return str(os.getpid())


@traced.skill("trace.held")
def held_up(ctx: Context) -> str:
    """Leaves a span that has ended within one that has not, and waits to be killed or let go."""
    with tracer.start_as_current_span("outer held"):
        with tracer.start_as_current_span("inner held"):
            pass
        marks = Path(os.environ["MARKS"])
        (marks / "at-held").open("a").write(f"{os.getpid()} 0 held\n")
        while not (marks / "go-held").exists():
            time.sleep(0.02)
    return "let go"


@traced.skill("trace.genai")
def asks_a_model(query: str) -> str:
    with telemetry().tool("search", tool_type="function"):
        pass
    with telemetry().inference("nobody", request_model="none-1"):
        return query


@traced.skill("trace.fail")
def fails() -> str:
    raise RuntimeError("the password is canary-4711")
