"""Orders to an agent's process: every one about a task in hand is acknowledged, with what became of the task."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from agent_kit import Orchestrator, until

from consort_agents import heeding
from consort_shared.ids import new_run_id
from consort_shared.messages import Heed, Hold, Report, Stop

pytestmark = pytest.mark.slow


def marked(marks: Path, name: str) -> list[str]:
    path = marks / name
    return [line.split(" ", 1)[1] for line in path.read_text().splitlines()] if path.exists() else []


def stop(given: Any) -> Stop:
    return Stop(run=given.run, task=given.task)


async def test_an_async_skill_is_stopped_within_a_second(
    play: Orchestrator, at_work: Any, marks: Path
) -> None:
    """C9: cancel reaches the process of a run within a second, and is acknowledged."""
    async with at_work("clerk"):
        given = await play.give("clerk", "sleep")
        await until(lambda: marked(marks, "at"))
        told = time.monotonic()
        await play.order("clerk", stop(given))
        await play.heeds(given, ("stop", "stopped"))
        assert time.monotonic() - told < 1.0
        assert marked(marks, "cancelled") == ["x"]
        await play.settled("clerk")
        assert not play.heard(given, Report)


async def test_a_function_in_a_thread_cannot_be_stopped_and_keeps_its_slot(
    play: Orchestrator, at_work: Any, marks: Path
) -> None:
    async with at_work("clerk", slots=1):
        given = await play.give("clerk", "block")
        await until(lambda: marked(marks, "at"))
        await play.order("clerk", stop(given))
        await play.heeds(given, ("stop", "cannot"))
        after = await play.give("clerk", "quick", {"name": "after"})
        await play.order("clerk", stop(given))  # said twice, heeded once
        assert not marked(marks, "quick")
        (marks / "go-x").touch()
        assert await play.result(after) == "after"
        await play.settled("clerk")
        assert not play.heard(given, Report)
        assert len(play.heard(given, Heed)) == 1


async def test_a_function_that_looks_can_be_stopped(play: Orchestrator, at_work: Any, marks: Path) -> None:
    async with at_work("clerk"):
        given = await play.give("clerk", "polite")
        await until(lambda: marked(marks, "at"))
        await play.order("clerk", stop(given))
        await play.heeds(given, ("stop", "stopped"))
        await play.settled("clerk")
        assert not play.heard(given, Report)


async def test_an_async_skill_that_goes_on_says_nothing_any_more(
    play: Orchestrator, at_work: Any, marks: Path
) -> None:
    async with at_work("clerk"):
        given = await play.give("clerk", "stubborn")
        await until(lambda: marked(marks, "at"))
        await play.order("clerk", stop(given))
        await play.heeds(given, ("stop", "cannot"))
        (marks / "go-x").touch()
        last = await play.give("clerk", "quick")
        await play.result(last)
        await play.settled("clerk")
        assert not play.heard(given, Report)


async def test_what_comes_after_its_stop_is_not_begun(play: Orchestrator, at_work: Any, marks: Path) -> None:
    async with at_work("clerk"):
        run, task = new_run_id(), f"1-{len(play.given)}"
        await play.order("clerk", Stop(run=run, task=task))
        await play.bus.barrier()
        given = await play.give("clerk", "quick", run=run)
        assert given.task == task
        await play.heeds(given, ("stop", "dropped"))
        await play.settled("clerk")
    assert not marked(marks, "quick")


async def test_a_paused_runs_tasks_wait_without_a_slot(play: Orchestrator, at_work: Any, marks: Path) -> None:
    """C9: what is in hand goes on and says so, what has not begun is held, and begins at once when the run goes on."""
    async with at_work("clerk", slots=2):
        busy = await play.give("clerk", "block")
        await until(lambda: marked(marks, "at"))
        await play.order("clerk", Hold(run=busy.run, on=True))
        await play.heeds(busy, ("pause", "goes-on"))
        held = [await play.give("clerk", "quick", {"name": "held"}, run=busy.run) for _ in range(3)]
        for given in held:
            await play.heeds(given, ("pause", "held"))
        assert await play.result(await play.give("clerk", "quick", {"name": "other"})) == "other"
        assert marked(marks, "quick") == ["other"]
        await asyncio.sleep(1.5)  # longer than the lease: they are kept, not delivered again and again
        await play.order("clerk", Hold(run=busy.run, on=False))
        assert [await play.result(given) for given in held] == ["held"] * 3
        assert {ask.task for ask in play.asked} == {given.task for given in held}
        (marks / "go-x").touch()
        assert await play.result(busy) == "x"
        await play.heeds(busy, ("pause", "goes-on"), ("resume", "goes-on"))


async def test_a_held_task_can_be_called_off(play: Orchestrator, at_work: Any, marks: Path) -> None:
    async with at_work("clerk"):
        run = new_run_id()
        await play.order("clerk", Hold(run=run, on=True))
        await play.bus.barrier()
        given = await play.give("clerk", "quick", run=run)
        await play.heeds(given, ("pause", "held"))
        await play.order("clerk", stop(given))
        await play.heeds(given, ("pause", "held"), ("stop", "dropped"))
        await play.settled("clerk")
    assert not marked(marks, "quick")


async def test_an_order_to_go_on_that_was_missed_is_made_good(
    play: Orchestrator, at_work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heeding, "PARKED_EVERY", 0.5)
    async with at_work("clerk"):
        run = new_run_id()
        play.wanted[run] = "later"
        await play.order("clerk", Hold(run=run, on=True))
        await play.bus.barrier()
        given = await play.give("clerk", "quick", run=run)
        await play.heeds(given, ("pause", "held"))
        await until(lambda: len(play.asked) >= 2)
        assert not play.heard(given, Report)
        play.wanted[run] = "yes"
        assert await play.result(given) == "x"


async def test_a_forged_order_is_ignored(play: Orchestrator, at_work: Any, marks: Path) -> None:
    async with at_work("clerk"):
        given = await play.give("clerk", "block")
        await until(lambda: marked(marks, "at"))
        await play.bus.publish("ctl.clerk", b"\x81\xa5order\xa4stop")
        wrapped = play.seal.order(
            "ctl.clerk", b"\x81\xa5order\xa3fly", "clerk"
        )  # genuine, and of a later version
        await play.bus.publish(wrapped.subject, wrapped.payload, headers=wrapped.headers)
        (marks / "go-x").touch()
        assert await play.result(given) == "x"


async def test_a_skill_whose_time_is_up_is_cancelled(play: Orchestrator, at_work: Any, marks: Path) -> None:
    """Only when the orchestrator confirms it: the attempt may have been given more time."""
    async with at_work("clerk"):
        over = await play.give("clerk", "sleep", {"name": "over"}, timeout=0.2)
        longer = await play.give("clerk", "block", {"name": "longer"}, timeout=0.2)
        play.wanted[over.run] = "no"
        await until(lambda: marked(marks, "cancelled") == ["over"])
        await until(lambda: any(ask.task == longer.task for ask in play.asked))
        (marks / "go-longer").touch()
        assert await play.result(longer) == "longer"
        await play.settled("clerk")
        assert not play.heard(over, Report)
        assert not play.heard(over, Heed)
