"""Looking at a run over interruptions: what is stored comes whole and in order, to any number of viewers."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from system_kit import LIMIT, System, until

from consort_bus import embedded

pytestmark = pytest.mark.slow

GATED: dict[str, Any] = {
    "steps": {
        "a": {"skill": "text.make", "with": {"name": "a"}},
        "gate": {"skill": "text.gate", "needs": ["a"], "with": {"name": "held"}},
        "b": {"skill": "text.extend", "needs": ["gate"], "with": {"text": "x", "by": "b"}},
        "c": {"skill": "text.extend", "needs": ["b"], "with": {"text": "y", "by": "c"}},
    }
}
TOLD: dict[str, Any] = {"steps": {"one": {"skill": "milestone.tell"}}}


async def test_viewers_miss_nothing_and_see_nothing_twice_when_the_bus_is_killed(system: System) -> None:
    """F4: from the beginning, from entry 2 on, and one that comes after the bus was away."""
    system.orchestrator()
    system.agent("worker")
    run = await system.run(GATED)

    async def seen(after: int = 0) -> list[int]:
        return [logged.entry.n async for logged in system.client.watch(run, after=after)]

    early = [asyncio.create_task(seen()) for _ in range(3)] + [asyncio.create_task(seen(2))]
    await until(lambda: system.marked("at-held"))
    there = embedded.status(system.folder)
    assert there is not None
    os.kill(there.pid, signal.SIGKILL)
    await until(lambda: embedded.status(system.folder) is None)
    await asyncio.to_thread(embedded.start, system.folder)
    late = asyncio.create_task(seen())
    system.let_go("held")
    async with asyncio.timeout(LIMIT):
        found = [await task for task in (*early, late)]
    stored = [logged.entry.n for logged in await system.client.entries(run)]
    assert stored == list(range(1, len(stored) + 1))
    assert found == [stored, stored, stored, stored[2:], stored]


async def test_what_a_task_says_meanwhile_comes_in_order(system: System) -> None:
    """F3: progress over the bus while the task goes on; a milestone is on the log as well."""
    system.orchestrator()
    run = await system.run(TOLD)
    async with system.client.progress(run) as said:
        system.agent("worker")
        await system.client.result(run, timeout=LIMIT)
        async with asyncio.timeout(LIMIT):
            told = await said.get()
    assert (told.agent, told.step, told.text, told.done, told.total) == ("worker", "one", "nearly", 3, 4)
    noted = [fact for fact in await system.facts(run) if fact.fact == "noted"]
    assert [(fact.text, fact.done) for fact in noted] == [("half-way", 1)]
