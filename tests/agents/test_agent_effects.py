"""Effects of a real agent over a real bus: what it asks, what it says, and what becomes of the attempt."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from agent_kit import Given, Orchestrator, until, verdict

from consort_agents import speaking
from consort_shared.messages import Done, Effect, Output, Report, Stop
from consort_shared.values import canonical, digest

pytestmark = pytest.mark.slow


def phases(play: Orchestrator, given: Given) -> list[str]:
    return [effect.phase for effect in play.heard(given, Effect)]


def charged(marks: Path) -> int:
    path = marks / "charged"
    return len(path.read_text().splitlines()) if path.exists() else 0


async def ends_without_a_report(play: Orchestrator, given: Given) -> None:
    await play.settled("payer")
    assert not play.heard(given, Report)


async def test_an_effect_is_asked_for_done_and_reported(
    play: Orchestrator, at_work: Any, marks: Path
) -> None:
    async with at_work("payer"):
        given = await play.give("payer", "pay")
        result = await play.result(given)
        assert result["charge"] == 7
        begin, done = play.heard(given, Effect)
        assert (begin.phase, done.phase, begin.id == done.id) == ("begin", "done", True)
        assert begin.unknown == "ask"
        assert done.output is not None
        assert done.output.value == result
        again = await play.result(await play.give("payer", "pay", run=given.run))
        assert again["key"] == result["key"]  # the same for every attempt at the step
        other = await play.result(await play.give("payer", "pay", run=given.run, path="other"))
        assert other["key"] != result["key"]
    assert charged(marks) == 3


async def test_what_was_done_before_is_given_again(play: Orchestrator, at_work: Any, marks: Path) -> None:
    large = "x" * 200_000
    ref = await play.artefacts.put(canonical(large))
    async with at_work("payer"):
        play.answers["charge"] = verdict("done", Output(value=[1], digest=digest([1])))
        assert await play.result(await play.give("payer", "pay")) == [1]
        play.answers["charge"] = verdict("done", Output(ref=ref, digest=digest(large)))
        outcome = await play.report(await play.give("payer", "pay.sync"))
        assert isinstance(outcome, Done)
        assert outcome.output.digest == digest(large)
        play.answers["charge"] = verdict("done")
        assert await play.result(await play.give("payer", "pay", {"unknown": "done"})) is None
    assert charged(marks) == 0


@pytest.mark.parametrize("skill", ["pay", "pay.sync", "pay.many", "pay.swallow"])
@pytest.mark.parametrize("word", ["ask", "stop"])
async def test_in_doubt_an_attempt_ends_without_a_report(
    play: Orchestrator, at_work: Any, marks: Path, skill: str, word: Any
) -> None:
    for key in ("charge", "a", "b"):
        play.answers[key] = verdict(word)
    async with at_work("payer"):
        given = await play.give("payer", skill)
        await until(lambda: play.heard(given, Effect))
        await ends_without_a_report(play, given)
    assert charged(marks) == 0


async def test_a_plain_function_does_an_effect_once(play: Orchestrator, at_work: Any, marks: Path) -> None:
    async with at_work("payer"):
        given = await play.give("payer", "pay.sync")
        assert await play.result(given) == 7
        assert phases(play, given) == ["begin", "done"]
    assert charged(marks) == 1


async def test_an_effect_that_did_not_happen_is_said_so(play: Orchestrator, at_work: Any) -> None:
    async with at_work("payer"):
        given = await play.give("payer", "pay.not")
        failed = await play.failure(given)
        assert (failed.kind, failed.message, failed.retry) == ("not-done", "the card was refused", True)
        assert phases(play, given) == ["begin", "undone"]


async def test_an_effect_that_gives_no_json_counts_as_done(play: Orchestrator, at_work: Any) -> None:
    async with at_work("payer"):
        given = await play.give("payer", "pay.odd")
        failed = await play.failure(given)
        assert (failed.kind, failed.retry) == ("bad-output", False)
        assert play.heard(given, Effect)[-1].output == Output(digest=digest(None))


async def test_a_question_is_asked_again_until_it_is_answered(
    play: Orchestrator, at_work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "ASK_AGAIN", 0.05)
    play.answers["charge"] = None
    async with at_work("payer"):
        given = await play.give("payer", "pay")
        await until(lambda: len(play.heard(given, Effect)) >= 3)
        asked = play.heard(given, Effect)
        assert len({effect.id for effect in asked}) == 1
        other = verdict("do").model_copy(update={"run": given.run, "task": "other", "id": asked[0].id})
        await play.order("payer", other)  # not about this attempt
        await until(lambda: len(play.heard(given, Effect)) >= 5)
        assert not play.heard(given, Report)
        answer = verdict("do").model_copy(update={"run": given.run, "task": given.task, "id": asked[0].id})
        await play.order("payer", answer)
        assert (await play.result(given))["charge"] == 7


async def test_without_an_answer_the_attempt_fails_and_says_that_it_did_nothing(
    play: Orchestrator, at_work: Any, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "EFFECT_PATIENCE", 0.3)
    play.answers["charge"] = None
    async with at_work("payer"):
        given = await play.give("payer", "pay.sync")
        failed = await play.failure(given)
        assert (failed.kind, failed.retry) == ("no-answer", True)
        assert phases(play, given) == ["begin", "undone"]
    assert charged(marks) == 0


async def test_called_off_while_it_asks_it_says_that_it_did_nothing(
    play: Orchestrator, at_work: Any, marks: Path
) -> None:
    play.answers["charge"] = None
    async with at_work("payer"):
        given = await play.give("payer", "pay")
        await until(lambda: play.heard(given, Effect))
        await play.order("payer", Stop(run=given.run, task=given.task))
        await play.heeds(given, ("stop", "stopped"))
        assert phases(play, given) == ["begin", "undone"]
        await ends_without_a_report(play, given)
    assert charged(marks) == 0


async def test_a_result_that_cannot_be_sent_is_a_failure(play: Orchestrator, at_work: Any) -> None:
    """JSON knows integers that messages do not."""
    async with at_work("payer"):
        failed = await play.failure(await play.give("payer", "big"))
        assert (failed.kind, failed.retry) == ("bad-output", False)
        await asyncio.wait_for(play.settled("payer"), 10)
