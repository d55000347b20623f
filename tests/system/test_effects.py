"""What a step does outside happens once, whatever becomes of the process that does it."""

from __future__ import annotations

from typing import Any

import pytest
from system_kit import Child, System, until

from consort_shared.entries import Doubted, EffectBegun, EffectSettled, Failure
from consort_shared.errors import RunFailed

pytestmark = pytest.mark.slow


def pays(unknown: str) -> dict[str, Any]:
    step = {"skill": "pay", "with": {"name": "a", "unknown": unknown}, "retry": {"attempts": 3, "wait": 0.1}}
    return {"steps": {"card": step}, "output": "${{ steps.card.output }}"}


async def dies_at(system: System, place: str, plan: dict[str, Any]) -> str:
    """A run whose first agent was killed at a place; another is there."""
    system.orchestrator()
    agent: Child = system.agent("payer", "outside.py", env={"CONSORT_FAILPOINT": place})
    run = await system.run(plan)
    await until(lambda: not agent.running)
    system.agent("payer", "outside.py")
    return run


async def in_doubt(system: System, run: str) -> None:
    async for logged in system.client.watch(run):
        if any(isinstance(fact, Doubted) for fact in logged.entry.facts):
            return


@pytest.mark.parametrize(("verdict", "value"), [("done", {"receipt": "by hand"}), ("redo", {"receipt": "a"})])
async def test_in_doubt_a_person_decides(system: System, verdict: Any, value: Any) -> None:
    """C10: an effect whose end nobody knows is not done again before a person says so."""
    run = await dies_at(system, "effect-performed", pays("ask"))
    await in_doubt(system, run)
    assert len(system.marked("paid-a")) == 1
    await system.client.resolve(run, "card", "charge", verdict, value if verdict == "done" else None)
    assert await system.client.result(run, timeout=30) == value
    assert len(system.marked("paid-a")) == (1 if verdict == "done" else 2)
    keys = {line.split()[2] for line in system.marked("paid-a")}
    assert len(keys) == 1  # the outside system is shown the same idempotency key


@pytest.mark.parametrize(("unknown", "paid", "result"), [("redo", 2, {"receipt": "a"}), ("done", 1, None)])
async def test_in_doubt_the_author_decided(system: System, unknown: str, paid: int, result: Any) -> None:
    run = await dies_at(system, "effect-performed", pays(unknown))
    assert await system.client.result(run, timeout=30) == result
    assert len(system.marked("paid-a")) == paid


@pytest.mark.parametrize("place", ["effect-reported", "work-done"])
async def test_an_effect_on_record_is_not_done_again(system: System, place: str) -> None:
    """C7: S14: the process died after it had said so; the next one is given what was recorded."""
    run = await dies_at(system, place, pays("ask"))
    assert await system.client.result(run, timeout=30) == {"receipt": "a"}
    assert len(system.marked("paid-a")) == 1
    facts = await system.facts(run)
    assert [fact.verdict for fact in facts if isinstance(fact, EffectSettled)] == ["done"]


async def test_an_effect_of_a_failed_attempt_is_not_done_again(system: System) -> None:
    system.orchestrator()
    system.agent("payer", "outside.py")
    step = {
        "skill": "pay.hang",
        "with": {"name": "h"},
        "timeout": 1.0,
        "retry": {"attempts": 2, "wait": 0.1},
    }
    run = await system.run({"steps": {"card": step}, "output": "${{ steps.card.output }}"})
    assert await system.client.result(run, timeout=30) == "h"
    assert len(system.marked("paid-h")) == 1
    facts = await system.facts(run)
    assert [fact.kind for fact in facts if isinstance(fact, Failure)] == ["timeout"]
    assert len([fact for fact in facts if isinstance(fact, EffectBegun)]) == 1


async def test_what_was_done_is_taken_back_in_reverse_order(system: System) -> None:
    """C10: compensation of completed steps when the run fails."""
    system.orchestrator()
    system.agent("payer", "outside.py")

    def step(name: str, needs: list[str]) -> dict[str, Any]:
        undo = {"skill": "pay.back", "with": {"name": "${{ output.receipt }}"}}
        return {"skill": "pay", "needs": needs, "with": {"name": name}, "undo": undo}

    steps = {"a": step("a", []), "b": step("b", ["a"]), "c": {"skill": "fail", "needs": ["b"]}}
    run = await system.run({"steps": steps})
    with pytest.raises(RunFailed, match="as it was to"):
        await system.client.result(run, timeout=30)
    assert [line.split()[2] for line in system.marked("back")] == ["b", "a"]
