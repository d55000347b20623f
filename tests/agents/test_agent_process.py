"""An agent's process from its start to its exit code: joining, draining, dying at every place where it can."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_kit import HERE, Orchestrator, until
from test_agent_orders import marked

from consort_bus import embedded, jetstream, subjects
from consort_shared.card import Welcome
from consort_shared.messages import Effect, Report

pytestmark = pytest.mark.slow

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(embedded_bus: Any, marks: Path) -> Iterator[Start]:
    """Starts an agent of the troupe as a process of its own; its log goes to `log` among the marks."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *more: str, **environment: str) -> subprocess.Popen[bytes]:
        creds = marks / f"{name}.creds"
        if not creds.exists():
            embedded.credentials_for(embedded_bus.folder, "agent", name).save(creds)
        command = ["-m", "consort_agents", f"{HERE / 'troupe.py'}:{name}", "--creds", str(creds), *more]
        with (marks / "log").open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, "CONSORT_SERVER": embedded_bus.url, **environment},
                stderr=out,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(10)


async def ended(process: subprocess.Popen[bytes]) -> int:
    try:
        await until(lambda: process.poll() is not None)
    except TimeoutError:
        told = (Path(os.environ["MARKS"]) / "log").read_text()
        pytest.fail(f"process {process.pid} goes on; it said:\n{told}")
    assert process.returncode is not None
    return process.returncode


async def test_a_refused_card_is_told_and_ends_the_process(
    play: Orchestrator, start: Start, marks: Path
) -> None:
    play.welcome = Welcome(accepted=False, why="another card is at work under this name")
    assert await ended(start("clerk")) == 2
    assert "another card is at work under this name" in (marks / "log").read_text()


async def test_sigterm_finishes_what_is_in_hand(
    play: Orchestrator, start: Start, at_work: Any, marks: Path
) -> None:
    """C14: no new work is taken, what is in hand is finished, exit 0."""
    agent = start("clerk", "--slots", "1")
    given = await play.give("clerk", "block")
    await until(lambda: marked(marks, "at"))
    agent.send_signal(signal.SIGTERM)
    await until(lambda: "finishing 1 task" in (marks / "log").read_text())
    later = await play.give("clerk", "quick")
    (marks / "go-x").touch()
    assert await play.result(given) == "x"
    assert await ended(agent) == 0
    assert not play.heard(later, Report)
    async with at_work("clerk"):
        assert await play.result(later) == "x"


async def test_what_is_not_done_in_time_is_handed_back(
    play: Orchestrator, start: Start, at_work: Any, marks: Path
) -> None:
    """Also from a function in a thread, which does not keep the process from ending."""
    agent = start("clerk", "--grace", "0.3")
    blocked = await play.give("clerk", "block", {"name": "blocked"})
    asleep = await play.give("clerk", "sleep", {"name": "asleep"})
    stubborn = await play.give("clerk", "stubborn", {"name": "stubborn"})
    await until(lambda: len(marked(marks, "at")) == 3)
    agent.send_signal(signal.SIGTERM)
    assert await ended(agent) == 0
    assert "3 tasks" in (marks / "log").read_text()
    for name in ("blocked", "stubborn"):
        (marks / f"go-{name}").touch()
    play.wanted[asleep.run] = "no"
    async with at_work("clerk"):
        assert await play.result(blocked) == "blocked"
        assert await play.result(stubborn) == "stubborn"


async def test_a_second_signal_hands_back_at_once(play: Orchestrator, start: Start, marks: Path) -> None:
    agent = start("clerk", "--grace", "60")
    given = await play.give("clerk", "sleep")
    await until(lambda: marked(marks, "at"))
    agent.send_signal(signal.SIGTERM)
    await until(lambda: "finishing 1 task" in (marks / "log").read_text())
    told = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    assert await ended(agent) == 0
    assert time.monotonic() - told < 10
    play.wanted[given.run] = "no"


async def test_a_deleted_consumer_is_made_anew(play: Orchestrator, at_work: Any) -> None:
    async with at_work("clerk", grace=0.1):  # the new consumer also brings what others handed back just now
        await play.result(await play.give("clerk", "quick"))
        consumer = subjects.agent_consumer_name("clerk")
        await play.provisioner.request(jetstream.consumer_delete("LOG", consumer))
        await until(lambda: play.announced == 2)
        assert await play.result(await play.give("clerk", "quick")) == "x"


BEFORE_THE_REPORT = ("task-taken", "work-done")
AFTER_THE_REPORT = ("report-stored", "task-acknowledged")


@pytest.mark.parametrize("place", [*BEFORE_THE_REPORT, *AFTER_THE_REPORT])
async def test_a_process_may_die_between_any_two_effects(
    play: Orchestrator, start: Start, at_work: Any, marks: Path, place: str
) -> None:
    """S28: killed at each place, the task is reported by another process of the agent, or was already."""
    dying = start("clerk", CONSORT_FAILPOINT=place)
    given = await play.give("clerk", "quick")
    assert await ended(dying) == -signal.SIGKILL
    if place in AFTER_THE_REPORT:
        await until(lambda: play.heard(given, Report))
        play.wanted[given.run] = "no"
    async with at_work("clerk"):
        assert await play.result(given) == "x"
        await play.settled("clerk")
    assert len(marked(marks, "quick")) == (2 if place == "work-done" else 1)


@pytest.mark.parametrize(
    ("place", "done"), [("effect-allowed", 0), ("effect-performed", 1), ("effect-reported", 1)]
)
async def test_a_process_may_die_around_an_effect(
    play: Orchestrator, start: Start, at_work: Any, marks: Path, place: str, done: int
) -> None:
    """S28: what the next process then asks has another id, so that the orchestrator can tell it from the first."""
    dying = start("payer", CONSORT_FAILPOINT=place)
    given = await play.give("payer", "pay")
    assert await ended(dying) == -signal.SIGKILL
    assert len(marked(marks, "charged")) == done
    phases = [effect.phase for effect in play.heard(given, Effect)]
    assert phases == (["begin", "done"] if place == "effect-reported" else ["begin"])
    async with at_work("payer"):
        await play.result(given)
    begins = [effect.id for effect in play.heard(given, Effect) if effect.phase == "begin"]
    assert len(set(begins)) == 2
