"""The agent of the benchmark: its skills give on what they are given, and do nothing."""

from __future__ import annotations

from benchmarks.workloads import AGENT, JOIN_SKILL, SKILL, SLOTS
from consort_agents import Agent

agent = Agent(AGENT, slots=SLOTS)


@agent.skill(SKILL)
async def give_on(text: str) -> str:
    return text


@agent.skill(JOIN_SKILL)
async def join(texts: list[str]) -> str:
    return texts[-1]
