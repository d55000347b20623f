"""A clock that is an hour off on one machine changes nothing: times are kept by the bus's clock."""

from __future__ import annotations

import time
from typing import Any

import pytest
from system_kit import System

from consort_shared.entries import Failure

pytestmark = pytest.mark.slow

WRONG = "import time; right = time.time; time.time = lambda: right() {:+d}"
TIMED: dict[str, Any] = {
    "steps": {
        "good": {"skill": "text.make", "with": {"name": "a", "pause": 0.3}, "timeout": 20},
        "hang": {"skill": "hang", "timeout": 1.0, "retry": {"attempts": 2, "wait": 0.2}},
        "after": {"skill": "text.make", "needs": ["good", "hang"], "join": "any", "with": {"name": "b"}},
    },
    "output": "${{ steps.after.output.text }}",
}


@pytest.mark.parametrize("offset", [3600, -3600])
async def test_an_orchestrator_whose_clock_is_off(system: System, offset: int) -> None:
    system.orchestrator(shim=WRONG.format(offset))
    system.agent("worker")
    system.agent("odd")
    began = time.time()
    run = await system.run(TIMED)
    assert await system.client.result(run, timeout=40) == "made b"
    entries = await system.client.entries(run)
    assert all(began - 2 < logged.entry.at < time.time() + 2 for logged in entries)
    failures = [fact for fact in await system.facts(run) if isinstance(fact, Failure)]
    assert [fact.kind for fact in failures] == ["timeout", "timeout"]
    assert 2.0 < entries[-1].entry.at - entries[0].entry.at < 12.0


@pytest.mark.parametrize("offset", [3600, -3600])
async def test_an_agent_whose_clock_is_off(system: System, offset: int) -> None:
    system.orchestrator()
    system.agent("worker", shim=WRONG.format(offset))
    system.agent("odd", shim=WRONG.format(-offset))
    run = await system.run(TIMED)
    assert await system.client.result(run, timeout=40) == "made b"
