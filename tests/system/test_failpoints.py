"""A process dies at each place between two effects, one after the other; the run ends right every time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from system_kit import Child, System, until

from consort_shared.entries import EffectBegun, EffectSettled, Refused
from consort_shared.failpoints import PLACES

pytestmark = pytest.mark.slow

PLAN: dict[str, Any] = {
    "steps": {
        "one": {"skill": "text.make", "with": {"name": "a"}},
        "two": {"skill": "effect.once", "needs": ["one"], "with": {"name": "paid"}},
        "calls": {"skill": "call.three", "needs": ["two"]},
        "left": {"skill": "value.make", "needs": ["two", "calls"], "with": {"size": 200_000}},
        "right": {
            "skill": "text.make",
            "needs": ["two"],
            "for_each": {"items": ["x", "y"]},
            "with": {"name": "${{ item }}"},
        },
        "last": {
            "skill": "value.measure",
            "needs": ["left", "right"],
            "with": {"text": "${{ steps.left.output.text }}"},
        },
    },
    "output": "${{ steps.last.output }}",
}
PATHS = {"one", "two", "calls", "left", "right[0]", "right[1]", "last"}
AGENTS = {
    "task-taken",
    "effect-allowed",
    "effect-performed",
    "effect-reported",
    "call-begun",
    "call-made",
    "call-answered",
    "work-done",
    "report-stored",
    "task-acknowledged",
    "artefact-halfway",
}
"""The places that an agent's process comes to; an orchestrator comes to the others."""
TIMES = {
    "consumer-created": 1,
    "run-woken": 1,
    "letter-stored": 1,
    "effect-allowed": 1,
    "effect-performed": 1,
    "effect-reported": 1,
    "artefact-halfway": 1,
}
"""Which time to die at a place; otherwise the second."""


@pytest.mark.parametrize("place", PLACES)
async def test_a_process_dies_there_and_the_run_ends_right(system: System, place: str) -> None:
    armed = {"CONSORT_FAILPOINT": f"{place}:{TIMES.get(place, 2)}"}
    of_agent = place in AGENTS
    orchestrator = system.orchestrator(env={} if of_agent else armed)
    run = await system.run(PLAN)
    if place == "run-woken":
        await _waits(system, run)
    agent = system.agent("worker", env=armed if of_agent else {})
    if place == "letter-stored":
        await _say_nonsense(system, run)
    doomed = agent if of_agent else orchestrator
    await until(lambda: not doomed.running, 20)
    again: Child = system.agent("worker") if of_agent else system.orchestrator()
    if place == "effect-performed" or place == "effect-allowed":
        await _answer(system, run)
    assert await system.client.result(run, timeout=60) == 200_000
    assert set(await system.accepted_once(run)) == PATHS
    assert len(system.marked("effect-paid")) == 1
    called = [line.split()[2] for line in system.marked("called")]
    assert called == (["a", "b", "b", "c"] if place == "call-made" else ["a", "b", "c"])
    facts = await system.facts(run)
    begun = [fact for fact in facts if isinstance(fact, EffectBegun)]
    settled = [fact for fact in facts if isinstance(fact, EffectSettled)]
    assert begun
    assert settled[-1].verdict == "done"
    if place == "letter-stored":
        assert any(isinstance(fact, Refused) for fact in facts)
    assert again.stop() == 0


async def _waits(system: System, run: str) -> None:
    async with asyncio.timeout(20):
        async for logged in system.client.watch(run):
            if any(fact.fact == "waiting" for fact in logged.entry.facts):
                return


async def _say_nonsense(system: System, run: str) -> None:
    """Something in the name of an agent that proves nothing."""
    from consort_bus.connection import open_bus
    from consort_bus.credentials import Credentials

    async with open_bus(system.url, Credentials.load(system.creds("agent", "other"))) as bus:
        await bus.publish(f"in.agent.other.{run}", b'{"say": "report"}')
        await bus.barrier()


async def _answer(system: System, run: str) -> None:
    """Whether the effect happened is not known to anybody but the world: it is looked up there, and answered."""
    async with asyncio.timeout(40):
        async for logged in system.client.watch(run):
            for fact in logged.entry.facts:
                if fact.fact == "doubted":
                    happened = bool(system.marked("effect-paid"))
                    await system.client.resolve(
                        run, fact.path, fact.key, "done" if happened else "redo", "paid"
                    )
                    return
