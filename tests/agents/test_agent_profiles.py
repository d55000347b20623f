"""Profiles and usage of a real agent over a real bus: which profile a task has, and what is reported of its cost."""

from __future__ import annotations

from typing import Any

import pytest
from agent_kit import Orchestrator

from consort_bus.envelope import CONTENT_TYPE
from consort_bus.publish import Publisher
from consort_bus.subjects import ProfileSubject
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, encode
from consort_shared.messages import Report
from consort_shared.profile import Profile, ProfileVersion
from consort_shared.usage import Usage

pytestmark = pytest.mark.slow


async def set_profile(open_as: Any, agent: str, role: str) -> int:
    async with open_as("operator", "anna") as bus, Wire(bus.nc, bus) as wire:
        version = ProfileVersion(agent=agent, profile=Profile(role=role))
        return await Publisher(wire).publish(
            str(ProfileSubject(agent)), encode(version), {CONTENT_TYPE: MSGPACK}
        )


async def test_a_task_has_the_profile_that_its_entry_names(
    play: Orchestrator, at_work: Any, open_as: Any
) -> None:
    """J9, S80: the agent's own where none is named; a revision, also an older one, where it is."""
    first = await set_profile(open_as, "scribe", "a writer of short texts")
    second = await set_profile(open_as, "scribe", "a writer of long texts")
    async with at_work("scribe") as worker:
        own = await play.result(await play.give("scribe", "who"))
        assert own == ["a scribe", worker.card.profile.version]
        assert own[1].startswith("file:")
        for skill in ("who", "who.isolated"):
            assert await play.result(await play.give("scribe", skill, profile=second)) == [
                "a writer of long texts",
                str(second),
            ]
            assert await play.result(await play.give("scribe", skill, profile=first)) == [
                "a writer of short texts",
                str(first),
            ]


async def test_a_revision_that_cannot_be_read_is_no_other_one(
    play: Orchestrator, at_work: Any, open_as: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task goes back, and is failed at last; it is never done under another profile."""
    monkeypatch.setattr("consort_agents.admission.GIVEN_BACK", (0.05, 0.1))
    monkeypatch.setattr("consort_bus.profiles.LATE", 0.05)
    others = await set_profile(open_as, "payer", "somebody else")
    async with at_work("scribe") as worker:
        for revision in (others, others + 1000):
            given = await play.give("scribe", "who", profile=revision)
            failed = await play.failure(given)
            assert failed.kind == "unreadable-task"
            assert f"revision {revision}" in failed.message
        assert worker.done == 2


async def test_what_an_attempt_used_is_reported_whatever_comes_of_it(
    play: Orchestrator, at_work: Any
) -> None:
    """Usage of tasks that are done, that fail, and that run in a process of their own, and nothing otherwise."""
    used = Usage(calls=2, input_tokens=30, cost=2_000)
    async with at_work("scribe"):
        for skill, expected in {
            "spend": used,
            "spend.and.fail": used,
            "spend.isolated": used,
            "who": None,
        }.items():
            given = await play.give("scribe", skill)
            await play.report(given)
            [report] = play.heard(given, Report)
            assert report.usage == expected
