"""A plain function that hangs or crashes in its own process harms only its attempt."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from system_kit import System, until

from consort_shared.entries import Failure, Heeded
from consort_shared.errors import RunCancelled

pytestmark = pytest.mark.slow


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def one(skill: str, inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    step = {"skill": skill, "with": inputs, "retry": {"attempts": 3, "wait": 0.1}, **more}
    return {"steps": {"x": step}, "output": "${{ steps.x.output }}"}


async def test_a_hung_function_is_killed_when_its_time_is_up(system: System) -> None:
    """C8: the next attempt runs in the same agent's process, in a new child."""
    system.orchestrator()
    agent = system.agent("cell", "outside.py", slots=1)
    run = await system.run(one("hang", {"name": "h"}, timeout=2.0))
    await until(lambda: len(system.marked("hang-h")) == 2)
    first, second = (int(line.split()[0]) for line in system.marked("hang-h")[:2])
    assert first != second
    await until(lambda: gone(first))
    system.let_go("h")
    assert await system.client.result(run, timeout=30) == "h"
    assert agent.running
    kinds = [fact.kind for fact in await system.facts(run) if isinstance(fact, Failure)]
    assert set(kinds) == {"timeout"}


async def test_cancel_kills_a_hung_function_and_says_so(system: System) -> None:
    """C9: the acknowledgement comes within a second or so, and is on record."""
    system.orchestrator()
    system.agent("cell", "outside.py")
    run = await system.run(one("hang", {"name": "h"}))
    await until(lambda: system.marked("hang-h"))
    told = time.monotonic()
    await system.client.cancel(run)
    with pytest.raises(RunCancelled):
        await system.client.result(run, timeout=30)
    assert time.monotonic() - told < 5
    heeded = [fact for fact in await system.facts(run) if isinstance(fact, Heeded)]
    assert [(fact.order, fact.how) for fact in heeded] == [("stop", "stopped")]
    await until(lambda: gone(int(system.marked("hang-h")[0].split()[0])))


async def test_a_crashed_function_is_tried_again(system: System) -> None:
    system.orchestrator()
    agent = system.agent("cell", "outside.py")
    run = await system.run(one("crash", {"times": 2}))
    assert await system.client.result(run, timeout=30) == 3
    failures = [fact for fact in await system.facts(run) if isinstance(fact, Failure)]
    assert [fact.kind for fact in failures] == ["died", "died"]
    assert "SIGSEGV" in failures[0].message
    assert agent.running
