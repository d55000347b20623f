"""Processes die at any moment; the run ends right, and no step is completed twice."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from system_kit import System, until

from consort_bus import embedded

pytestmark = pytest.mark.slow

SLOW: dict[str, Any] = {
    "steps": {
        "first": {"skill": "text.make", "with": {"name": "a", "pause": 0.2}},
        "left": {
            "skill": "text.extend",
            "needs": ["first"],
            "with": {"text": "${{ steps.first.output.text }}", "by": "l", "pause": 0.3},
        },
        "right": {
            "skill": "text.extend",
            "needs": ["first"],
            "with": {"text": "${{ steps.first.output.text }}", "by": "r", "pause": 0.2},
        },
        "each": {
            "skill": "text.make",
            "needs": ["first"],
            "for_each": {"items": ["x", "y", "z"], "in_flight": 2},
            "with": {"name": "${{ item }}", "pause": 0.2},
        },
        "both": {
            "skill": "text.join",
            "needs": ["left", "right", "each"],
            "with": {
                "parts": [
                    "${{ steps.left.output }}",
                    "${{ steps.right.output }}",
                    "${{ steps.each.output[2] }}",
                ],
                "pause": 0.2,
            },
        },
        "loop": {
            "needs": ["both"],
            "repeat": {"until": "steps.check.output.ok", "max": 3},
            "steps": {"check": {"skill": "count.to", "with": {"number": "${{ iteration }}", "enough": 2}}},
        },
    },
    "output": "${{ steps.both.output.text }}",
}
RESULT = "made a.l + made a.r + made z"
PATHS = {"first", "left", "right", "each[0]", "each[1]", "each[2]", "both", "loop[1].check", "loop[2].check"}
"""Every step of the plan, once."""


async def _ends_right(system: System, run: str) -> None:
    assert await system.client.result(run, timeout=60) == RESULT
    assert set(await system.accepted_once(run)) == PATHS


async def test_orchestrator_killed_five_times(system: System) -> None:
    orchestrator = system.orchestrator()
    system.agent("worker")
    run = await system.run(SLOW)
    for killed in range(5):
        seen = 0

        async def moved(at: int = killed) -> None:
            nonlocal seen
            async for logged in system.client.watch(run):
                seen = logged.entry.n
                if seen > at:
                    return

        await asyncio.wait_for(moved(), 30)
        orchestrator.kill()
        orchestrator = system.orchestrator()
    await _ends_right(system, run)


async def test_agent_killed_five_times(system: System) -> None:
    system.orchestrator()
    agent = system.agent("worker")
    run = await system.run(SLOW)
    for _ in range(5):
        before = sum(len(system.marked(name)) for name in ("make", "extend", "join"))
        await until(
            lambda before=before: sum(len(system.marked(n)) for n in ("make", "extend", "join")) > before
        )
        agent.kill()
        agent = system.agent("worker")
    await _ends_right(system, run)


async def test_bus_killed_and_restarted(system: System) -> None:
    system.orchestrator()
    system.agent("worker")
    run = await system.run(SLOW)
    await until(lambda: system.marked("make"))
    there = embedded.status(system.folder)
    assert there is not None
    os.kill(there.pid, signal.SIGKILL)
    await until(lambda: embedded.status(system.folder) is None)
    again = embedded.start(system.folder)
    assert again.url == there.url
    await _ends_right(system, run)


async def test_everything_killed_at_once(system: System) -> None:
    """C6."""
    children = [system.orchestrator(), system.agent("worker")]
    run = await system.run(SLOW)
    await until(lambda: system.marked("extend"))
    for child in children:
        child.kill()
    system.orchestrator()
    system.agent("worker")
    await _ends_right(system, run)


async def test_two_orchestrators_one_killed(system: System) -> None:
    first, second = system.orchestrator("one"), system.orchestrator("two")
    system.agent("worker")
    runs = [await system.run(SLOW) for _ in range(6)]
    await until(lambda: len(system.marked("extend")) >= 3)
    first.kill()
    for run in runs:
        await _ends_right(system, run)
    assert second.stop() == 0
