"""Several orchestrators share the work; when one dies or freezes it moves, and it comes back when that one does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter
from system_kit import System, until

from consort_bus import subjects
from consort_bus.buckets import Bucket
from consort_bus.connection import open_bus
from consort_bus.embedded import credentials_for
from consort_bus.publish import Publisher
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, decode
from consort_shared.control import OrchestratorPresence
from consort_shared.ids import new_run_id

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {"steps": {"one": {"skill": "text.make", "with": {"name": "a"}}}}
MOVES_WITHIN = 5.0
HARM_AFTER = 6
"""Runs that are handed in before something is done to a process."""
_presence: TypeAdapter[OrchestratorPresence] = TypeAdapter(OrchestratorPresence)


class Watching:
    """What orchestrators say of themselves, and how the work is shared."""

    def __init__(self, system: System, control: Bucket) -> None:
        self.system = system
        self.control = control

    async def shards(self) -> dict[str, int]:
        values = await self.control.entries(subjects.ORCHESTRATORS_FILTER)
        presences = [decode(_presence, value.data, MSGPACK) for value in values]
        return {presence.name: presence.shards for presence in presences}

    async def shared_evenly(self, names: set[str], limit: float = 25.0) -> None:
        """Runs keep coming, so that every part of the inbox is given to somebody, until each has its half."""
        end = time.monotonic() + limit
        while True:
            runs = [await self.system.run(QUICK) for _ in range(20)]
            for run in runs:
                await self.system.client.result(run, timeout=20)
            found = await self.shards()
            if set(found) == names and all(abs(count - 32 / len(names)) <= 3 for count in found.values()):
                return
            assert time.monotonic() < end, found


@pytest.fixture
async def watching(system: System) -> Any:
    creds = credentials_for(system.folder, "operator", "op")
    async with open_bus(system.url, creds) as bus, Wire(bus.nc, bus) as wire:
        yield Watching(system, Bucket(wire, Publisher(wire), subjects.CONTROL))


async def _pause_of(system: System, seconds: float, harm: Callable[[], None]) -> float:
    """The longest that one of many runs takes, handed in one after another; the harm is done after a few."""
    worst, end = 0.0, time.monotonic() + seconds
    pending: list[asyncio.Task[float]] = []

    async def one() -> float:
        began = time.monotonic()
        run = new_run_id()
        await system.run_as(run, QUICK)
        await system.client.result(run, timeout=30)
        return time.monotonic() - began

    while time.monotonic() < end:
        pending.append(asyncio.create_task(one()))
        if len(pending) == HARM_AFTER:
            harm()
        await asyncio.sleep(0.05)
    for task in pending:
        worst = max(worst, await task)
    return worst


async def test_two_share_and_one_takes_over_from_a_killed_and_from_a_frozen_one(
    system: System, watching: Watching
) -> None:
    first, second = system.orchestrator("one"), system.orchestrator("two")
    system.agent("worker")
    await watching.shared_evenly({"one", "two"})

    # With the time that a run takes on a busy machine.
    assert await _pause_of(system, 4.0, first.kill) < MOVES_WITHIN + 1.0

    third = system.orchestrator("one")
    await watching.shared_evenly({"one", "two"})

    assert await _pause_of(system, 4.0, second.freeze) < MOVES_WITHIN + 1.0
    second.thaw()
    await watching.shared_evenly({"one", "two"})
    assert third.stop() == 0
    assert second.stop() == 0


async def test_a_frozen_orchestrator_that_wakes_changes_nothing(system: System) -> None:
    first = system.orchestrator("one")
    system.agent("worker")
    plan: dict[str, Any] = {
        "steps": {
            "hold": {"skill": "text.gate", "with": {"name": "held"}},
            "then": {"skill": "text.make", "needs": ["hold"], "with": {"name": "b"}},
        }
    }
    run = await system.run(plan)
    await until(lambda: system.marked("at-held"))
    first.freeze()
    system.orchestrator("two")
    system.let_go("held")
    assert await system.client.result(run, timeout=30)
    before = len(await system.client.entries(run))
    first.thaw()
    other = await system.run(QUICK)
    await system.client.result(other, timeout=30)
    assert len(await system.client.entries(run)) == before
    assert await system.accepted_once(run) == ["hold", "then"]
    assert first.stop() == 0
