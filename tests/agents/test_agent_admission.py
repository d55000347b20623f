"""Which delivered tasks an agent's process begins, and what it says of those that it does not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from agent_kit import Orchestrator, until
from test_agent_orders import marked

from consort_agents import admission, attendance, heeding
from consort_bus import jetstream, subjects
from consort_bus.subjects import CopySubject
from consort_shared.codec import pack, unpack
from consort_shared.entries import HandOff, Hole, Prior
from consort_shared.messages import POISON, Output, Report
from consort_shared.values import ArtefactRef, digest

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes back comes again soon."""
    monkeypatch.setattr(admission, "GIVEN_BACK", (0.1, 0.3))
    monkeypatch.setattr(heeding, "PARKED_EVERY", 0.5)


async def give_waited(play: Orchestrator, at_work: Any, count: int) -> list[Any]:
    """Tasks that waited for their agent; its consumer is there, or they would not be found to have waited."""
    async with at_work("clerk"):
        pass
    return [await play.give("clerk", "quick", {"name": str(n)}) for n in range(count)]


async def test_what_waited_long_is_begun_only_if_it_is_wanted(
    play: Orchestrator, at_work: Any, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "WAITED_LONG", 0.3)
    unwanted, paused, wanted = await give_waited(play, at_work, 3)
    play.wanted.update({unwanted.run: "no", paused.run: "later"})
    await asyncio.sleep(0.4)
    async with at_work("clerk"):
        assert await play.result(wanted) == "2"
        await play.heeds(paused, ("pause", "held"))
        await until(lambda: len(play.asked) == 3)
        play.wanted[paused.run] = "yes"
        assert await play.result(paused) == "1"
        await play.settled("clerk")
    assert not play.heard(unwanted, Report)
    assert marked(marks, "quick") == ["2", "1"]


async def test_a_fresh_task_is_begun_without_asking(play: Orchestrator, at_work: Any) -> None:
    async with at_work("clerk"):
        for _ in range(5):
            await play.result(await play.give("clerk", "quick"))
    assert not play.asked


async def test_without_an_answer_it_is_begun(
    play: Orchestrator, at_work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "WAITED_LONG", -1.0)
    monkeypatch.setattr(attendance, "ANSWER_LIMIT", 0.2)
    async with at_work("clerk"):
        play.silent.add("wanted")
        assert await play.result(await play.give("clerk", "quick")) == "x"


async def test_a_task_that_kills_its_process_again_and_again_is_not_begun(
    play: Orchestrator, at_work: Any, marks: Path
) -> None:
    """C14, and I7: a task is delivered to a process that dies without a word, as a pull that does nothing with it."""
    [given] = await give_waited(play, at_work, 1)
    request = jetstream.next_message("LOG", subjects.agent_consumer_name("clerk"))
    for _ in range(3):
        async with asyncio.timeout(10):
            await play.take(request)
    async with at_work("clerk"):
        failed = await play.failure(given)
        assert (failed.kind, failed.retry) == (POISON, True)
        assert "3 times" in failed.message
        await play.settled("clerk")
    assert not marked(marks, "quick")


async def test_a_task_whose_hand_off_is_damaged_is_reported(play: Orchestrator, at_work: Any) -> None:
    hole = Hole(at=("name",), prior="a", path=("gone",))
    known = Output(value={"there": 1}, digest=digest({"there": 1}))
    prior = Prior(path="a", digest=known.digest, output=known)
    lost = ArtefactRef(artefact="0" * 64, writer="agent.clerk", size=10)
    async with at_work("clerk"):
        for handoff, told in (
            (HandOff(priors=(prior,)), "nothing at .gone"),
            (HandOff(), "lacks the result of a"),
        ):
            given = await play.give("clerk", "quick", {"name": None}, holes=(hole,), handoff=handoff)
            failed = await play.failure(given)
            assert (failed.kind, failed.retry) == ("unreadable-task", True)
            assert told in failed.message
        gone = Prior(path="a", digest="0" * 64, output=Output(ref=lost, digest="0" * 64))
        given = await play.give(
            "clerk", "quick", {"name": None}, holes=(hole,), handoff=HandOff(priors=(gone,))
        )
        failed = await play.failure(given)  # after it was tried as often as a task may be delivered
        assert failed.kind == "unreadable-task"
        assert "not stored" in failed.message
        await play.settled("clerk")


async def test_what_cannot_be_read_is_set_aside(play: Orchestrator, at_work: Any) -> None:
    async with at_work("clerk"):
        for body in (b"\xc1", b"garbage", pack({"v": 2})):
            await play.give("clerk", "quick", body=lambda _, body=body: body)
        await play.bus.publish(str(CopySubject("0" * 32, "clerk", "1-9")), b"not sealed at all")
        assert await play.result(await play.give("clerk", "quick")) == "x"
        await play.settled("clerk")


async def test_what_a_newer_version_wrote_is_left_to_newer_processes(
    play: Orchestrator, at_work: Any
) -> None:
    def newer(body: bytes) -> bytes:
        return pack({**unpack(body, "application/msgpack"), "v": 99})

    async with at_work("clerk"):
        given = await play.give("clerk", "quick", body=newer)
        assert await play.result(await play.give("clerk", "quick")) == "x"
        while await play.unacknowledged("clerk") > 1:  # the acknowledgement of the other is under way
            await asyncio.sleep(0.01)
        assert await play.unacknowledged("clerk") == 1  # it goes back, and may be taken by another
        await play.settled("clerk")  # until it was delivered often enough
    assert not play.heard(given, Report)


async def test_a_skill_that_this_version_lacks_is_left_to_another_for_a_while(
    play: Orchestrator, at_work: Any
) -> None:
    """C14: a rolling upgrade, in which old processes get tasks for new skills."""
    async with at_work("clerk"):
        given = await play.give("clerk", "new.skill")
        failed = await play.failure(given)
        assert failed.kind == "no-skill"
        assert len(play.asked) == 2  # delivered three times, as often as this agent allows
        await play.settled("clerk")


async def test_a_skills_own_cancellation_is_its_failure(play: Orchestrator, at_work: Any) -> None:
    async with at_work("clerk"):
        failed = await play.failure(await play.give("clerk", "cancels"))
        assert failed.kind == "exception"
        assert "CancelledError" in failed.message
