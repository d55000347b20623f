"""A timer that fires is believed, also by an orchestrator whose idea of the bus's time lags behind."""

from __future__ import annotations

from typing import Any

import pytest
from system_kit import System

from consort_shared.errors import RunFailed

pytestmark = pytest.mark.slow

LATE = (
    "from consort_bus.clock import ServerClock; right = ServerClock.now; "
    "ServerClock.now = lambda self: right(self) - 0.4"
)


async def test_what_a_timer_was_set_for_is_due_when_it_fires(system: System) -> None:
    system.orchestrator(shim=LATE)
    system.agent("odd")
    plan: dict[str, Any] = {
        "steps": {"it": {"skill": "hang", "timeout": 0.5, "retry": {"attempts": 2, "wait": 0.1}}}
    }
    for _ in range(2):
        run = await system.run(plan)
        with pytest.raises(RunFailed, match=r"no report within 0\.5 s"):
            await system.client.result(run, timeout=20)
