"""A bus that is full refuses loudly; what was accepted goes on when there is room again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from system_kit import System, until

from consort_bus import embedded
from consort_bus.connection import Bus, open_bus
from consort_bus.errors import StorageFull
from consort_bus.jetstream import stream_info, stream_update
from consort_bus.subjects import INBOX, LOG

pytestmark = pytest.mark.slow
PLAN: dict[str, Any] = {
    "steps": {
        "gate": {"skill": "text.gate", "with": {"name": "g"}},
        "after": {"skill": "text.make", "needs": ["gate"], "with": {"name": "after"}},
    }
}


async def limit(bus: Bus, stream: str, most: int | None) -> None:
    """Let a stream hold no more messages than it has now plus `most`; None for no limit."""
    info = json.loads((await bus.request(stream_info(stream))).data)
    config = info["config"] | {"max_msgs": -1 if most is None else max(info["state"]["messages"] + most, 1)}
    answer = json.loads((await bus.request(stream_update(stream), json.dumps(config).encode())).data)
    assert "error" not in answer, answer


async def test_a_full_inbox_refuses_submissions_and_takes_them_again_later(system: System) -> None:
    async with open_bus(system.url, embedded.credentials_for(system.folder, "provisioner", "setup")) as bus:
        await system.run(PLAN)
        await limit(bus, INBOX, 0)
        with pytest.raises(StorageFull, match="takes no more"):
            await system.run(PLAN)
        await limit(bus, INBOX, None)
        run = await system.run(PLAN)
    system.orchestrator()
    system.agent("worker")
    system.let_go("g")
    await system.client.result(run, timeout=30)


async def test_a_full_log_holds_runs_up_and_loses_nothing(system: System) -> None:
    orchestrator = system.orchestrator()
    system.agent("worker")
    run = await system.run(PLAN)
    await until(lambda: system.marked("at-g"))
    async with open_bus(system.url, embedded.credentials_for(system.folder, "provisioner", "setup")) as bus:
        await limit(bus, LOG, 0)
        system.let_go("g")
        await until(lambda: "takes no more" in orchestrator.log.read_text())
        assert await system.accepted_once(run) == []
        await limit(bus, LOG, None)
    assert await system.client.result(run, timeout=30) == {"after": {"text": "made after"}}
    assert await system.accepted_once(run) == ["gate", "after"]
