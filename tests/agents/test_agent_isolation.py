"""Plain functions in child processes: they work as in a thread, and one that hangs or crashes harms only itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from agent_kit import HERE, Orchestrator, until, verdict
from test_agent_orders import marked, stop

from consort_agents import Agent, AgentError
from consort_agents.worker import Worker
from consort_bus.wire import Wire
from consort_shared.entries import ContextItem, HandOff
from consort_shared.messages import Declined, Done, Effect, Output, Progress, Put, PutAnswer, Report
from consort_shared.values import digest

pytestmark = pytest.mark.slow


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not looked after counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_function_runs_in_a_process_that_is_kept(play: Orchestrator, at_work: Any) -> None:
    async with at_work("cell", slots=1):
        first = await play.result(await play.give("cell", "cell.add", {"left": 1, "right": 2}))
        second = await play.result(await play.give("cell", "cell.add", {"left": 2**62, "right": 3}, path="b"))
        bad = await play.failure(await play.give("cell", "cell.add", {"left": "one", "right": 2}))
        assert await play.result(await play.give("cell", "cell.wait")) != ""
    assert (first["sum"], second["sum"], second["step"]) == (3, 2**62 + 3, "b")
    assert first["pid"] == second["pid"] != os.getpid()
    assert (bad.kind, bad.retry) == ("bad-input", False)
    await until(lambda: not alive(first["pid"]))


async def test_what_hangs_is_killed_with_all_it_started(
    play: Orchestrator, at_work: Any, marks: Path
) -> None:
    """C8: a plain function that hangs is killed with its child process, and its slot works on."""
    async with at_work("cell", slots=1):
        given = await play.give("cell", "cell.hang")
        await until(lambda: marked(marks, "at"))
        [line] = (marks / "at").read_text().splitlines()
        child, grandchild = int(line.split()[0]), int(line.split()[2])
        told = time.monotonic()
        await play.order("cell", stop(given))
        await play.heeds(given, ("stop", "stopped"))
        assert time.monotonic() - told < 1.0
        await until(lambda: not alive(child) and not alive(grandchild))
        after = await play.result(await play.give("cell", "cell.add", {"left": 1, "right": 1}))
        assert after["pid"] != child
        await play.settled("cell")
        assert not play.heard(given, Report)


async def test_a_deadline_kills_too(play: Orchestrator, at_work: Any, marks: Path) -> None:
    async with at_work("cell", slots=1):
        given = await play.give("cell", "cell.hang", timeout=0.1)
        play.wanted[given.run] = "no"
        await until(lambda: marked(marks, "at"))
        [line] = (marks / "at").read_text().splitlines()
        await until(lambda: not alive(int(line.split()[0])))
        await play.settled("cell")
        assert not play.heard(given, Report)


async def test_a_process_that_dies_fails_its_attempt_only(play: Orchestrator, at_work: Any) -> None:
    """S99: whatever kills the child process, the agent's process works on."""
    told = {"exit": "exit code 3", "segv": "SIGSEGV", "kill": "SIGKILL"}
    async with at_work("cell", slots=1) as worker:
        for how, words in told.items():
            failed = await play.failure(await play.give("cell", "cell.die", {"how": how}))
            assert (failed.kind, failed.retry) == ("died", True)
            assert words in failed.message
        assert await play.result(await play.give("cell", "cell.die", {"how": "not"})) == "alive"
        assert worker.done == 4


async def test_what_it_raises_is_told_as_from_a_thread(play: Orchestrator, at_work: Any) -> None:
    async with at_work("cell", slots=2):
        kinds = {}
        for how in ("error", "skill", "json", "large"):
            failed = await play.failure(await play.give("cell", "cell.raise", {"how": how}))
            kinds[how] = (failed.kind, failed.retry)
            assert how != "large" or "64 MiB" in failed.message
        assert kinds == {
            "error": ("exception", True),
            "skill": ("own", False),
            "json": ("bad-output", False),
            "large": ("bad-output", False),
        }
        declined = await play.report(await play.give("cell", "cell.raise", {"how": "decline"}))
        assert declined == Declined(why="not mine")
        died = await play.failure(await play.give("cell", "cell.raise", {"how": "exit"}))
        assert died.kind == "exception"
        assert "SystemExit: 4" in died.message


async def test_its_context_reaches_the_bus(play: Orchestrator, at_work: Any, marks: Path) -> None:
    play.put_answer = PutAnswer(accepted=True, revision=1)
    item = ContextItem(key="known", revision=3, author="other", output=Output(value=[1], digest=digest([1])))
    async with at_work("cell"):
        given = await play.give("cell", "cell.talk", handoff=HandOff(context=(item,)))
        outcome = await play.report(given)
        assert isinstance(outcome, Done), outcome
        told = outcome.output.value
        assert {key: told[key] for key in ("size", "accepted", "known", "stopping")} == {
            "size": 500_000,
            "accepted": True,
            "known": {"known": [1]},
            "stopping": False,
        }
        assert told["paid"] == {"key": told["id"]}
        assert [write.key for write in outcome.writes] == ["total"]
        assert [progress.text for progress in play.heard(given, Progress)] == ["half"]
        assert [effect.phase for effect in play.heard(given, Effect)] == ["begin", "done"]
        assert [put.write.key for put in play.heard(given, Put)][:1] == ["note"]
    assert len(marked(marks, "charged")) == 1


@pytest.mark.parametrize("word", ["ask", "stop"])
async def test_in_doubt_its_attempt_ends_and_its_process_is_kept(
    play: Orchestrator, at_work: Any, marks: Path, word: Any
) -> None:
    async with at_work("cell", slots=1):
        before = await play.result(await play.give("cell", "cell.add", {"left": 1, "right": 1}))
        play.answers["charge"] = verdict(word)
        given = await play.give("cell", "cell.doubt")
        await play.settled("cell")
        assert not play.heard(given, Report)
        after = await play.result(await play.give("cell", "cell.add", {"left": 1, "right": 1}))
        assert after["pid"] == before["pid"]
    assert not marked(marks, "charged")


async def test_isolated_processes_die_with_their_agent(
    play: Orchestrator, embedded_bus: Any, marks: Path
) -> None:
    from consort_bus import embedded

    creds = marks / "cell.creds"
    embedded.credentials_for(embedded_bus.folder, "agent", "cell").save(creds)
    command = ["-m", "consort_agents", f"{HERE / 'troupe.py'}:cell", "--creds", str(creds), "--slots", "1"]
    agent = subprocess.Popen([sys.executable, *command, "--server", embedded_bus.url])
    try:
        given = await play.give("cell", "cell.hang")
        play.wanted[given.run] = "yes"
        await until(lambda: marked(marks, "at"))
        [line] = (marks / "at").read_text().splitlines()
        agent.kill()
        await until(lambda: not alive(int(line.split()[0])))
    finally:
        agent.kill()
        agent.wait(10)
    os.kill(int(line.split()[2]), signal.SIGKILL) if alive(int(line.split()[2])) else None
    play.wanted[given.run] = "no"


async def test_isolation_is_for_plain_functions_of_agents_with_a_name(open_as: Any) -> None:
    agent = Agent("cell")
    with pytest.raises(AgentError, match="async"):

        @agent.skill("x", isolation="process")
        async def skill() -> None: ...

    with pytest.raises(AgentError, match="isolation"):

        @agent.skill("y", isolation="perhaps")  # type: ignore[arg-type]
        def other() -> None: ...

    @agent.skill("z", isolation="process")
    def plain() -> None: ...

    async with open_as("agent", "cell") as bus, Wire(bus.nc, bus) as wire:
        with pytest.raises(AgentError, match="name"):
            Worker(agent, bus, wire)
    await asyncio.sleep(0)
