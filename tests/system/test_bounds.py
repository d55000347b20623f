"""What is full, gone or far too large: new work is turned away with the reason, what is under way goes on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from system_kit import System, until

from consort_bus import embedded, jetstream, subjects, topology
from consort_bus.connection import open_bus
from consort_shared.errors import RunFailed

pytestmark = pytest.mark.slow

HELD: dict[str, Any] = {
    "steps": {
        "hold": {"skill": "text.gate", "with": {"name": "held"}},
        "then": {"skill": "text.make", "needs": ["hold"], "with": {"name": "b"}},
    }
}
ONE: dict[str, Any] = {"steps": {"one": {"skill": "text.make", "with": {"name": "a"}}}}


async def _limit_log(system: System, max_bytes: int | None) -> int:
    """Change the log's limit, as an administrator does; how many bytes it holds."""
    async with open_bus(system.url, embedded.credentials_for(system.folder, "provisioner", "setup")) as bus:
        info = json.loads((await bus.request(jetstream.stream_info(subjects.LOG))).data)
        if max_bytes is not None:
            config = {**info["config"], "max_bytes": max_bytes}
            answer = await bus.request(jetstream.stream_update(subjects.LOG), json.dumps(config).encode())
            assert "error" not in json.loads(answer.data)
        return int(info["state"]["bytes"])


async def test_a_log_that_is_nearly_full_turns_new_runs_away_and_goes_on_with_those_under_way(
    system: System,
) -> None:
    """C14."""
    orchestrator = system.orchestrator()
    system.agent("worker")
    run = await system.run(HELD)
    await until(lambda: system.marked("at-held"))
    large: dict[str, Any] = {"steps": {"one": {"skill": "text.make", "with": {"name": "x" * 50_000}}}}
    for _ in range(10):
        await system.client.result(await system.run(large), timeout=20)
    used = await _limit_log(system, None)
    await _limit_log(system, int(used / 0.95))
    await until(lambda: "new runs are turned away" in orchestrator.log.read_text())
    with pytest.raises(RunFailed, match=r"not taken: the log holds .* of .* bytes"):
        await system.client.result(await system.run(ONE), timeout=20)
    await _limit_log(system, used * 100)
    await until(lambda: "new runs are taken again" in orchestrator.log.read_text())
    system.let_go("held")
    await system.client.result(run, timeout=20)
    await system.client.result(await system.run(ONE), timeout=20)


async def test_an_agents_consumer_that_is_deleted_is_made_anew_and_nothing_is_done_twice(
    system: System,
) -> None:
    system.orchestrator()
    system.agent("worker")
    for _ in range(3):
        await system.client.result(await system.run(ONE), timeout=20)
    run = await system.run(HELD)
    await until(lambda: system.marked("at-held"))
    async with open_bus(system.url, embedded.credentials_for(system.folder, "provisioner", "setup")) as bus:
        name = subjects.agent_consumer_name("worker")
        await bus.request(jetstream.consumer_delete(subjects.LOG, name))
        system.let_go("held")
        await system.client.result(run, timeout=40)
    assert len(system.marked("make")) == 4


async def test_the_inbox_deleted_under_us_is_said_and_once_set_up_again_work_goes_on(system: System) -> None:
    orchestrator = system.orchestrator()
    system.agent("worker")
    await system.client.result(await system.run(ONE), timeout=20)
    async with open_bus(system.url, embedded.credentials_for(system.folder, "provisioner", "setup")) as bus:
        await bus.request(f"$JS.API.STREAM.DELETE.{subjects.INBOX}")
        await until(lambda: "is not there" in orchestrator.log.read_text())
        await topology.ensure(bus)
        run = await system.run(ONE)
        await system.client.result(run, timeout=40)
    assert orchestrator.running


async def test_two_processes_of_one_name_with_different_cards(system: System) -> None:
    """The second is refused in words while the first lives; with another version it is let in."""
    system.orchestrator()
    first = system.agent("worker")
    await until(lambda: "is ready" in first.log.read_text())
    shim = "import cast_path; import cast; cast.worker.skills.pop('text.join')"
    shim = f"sys.path.insert(0, {str(system.folder.parent)!r}); " + shim
    (system.folder.parent / "cast_path.py").write_text(
        f"import sys; sys.path.insert(0, {str(__import__('system_kit').HERE)!r})"
    )
    second = system.agent("worker", shim=shim)
    await until(lambda: not second.running, 20)
    assert second.process.returncode == 2
    told = second.log.read_text()
    assert "another card under the same version '0'" in told
    assert "only one of them offers text.join" in told
    third = system.agent("worker", shim=shim + "; cast.worker.version = '2'")
    await until(lambda: "is ready" in third.log.read_text())
    assert first.running


async def test_an_agent_that_is_upgraded_while_it_has_work(system: System) -> None:
    """J7: old and new side by side; a task of a skill that only the new one has finds it."""
    system.orchestrator()
    old = system.agent(
        "worker",
        shim="sys.path.insert(0, sys.argv[1].rpartition('/')[0]); import cast; "
        "cast.worker.skills.pop('count.to')",
    )
    await until(lambda: "is ready" in old.log.read_text())
    run = await system.run(HELD)
    await until(lambda: system.marked("at-held"))
    waits = await system.run({"steps": {"c": {"skill": "count.to", "with": {"number": 1, "enough": 1}}}})
    new = system.agent(
        "worker",
        shim="sys.path.insert(0, sys.argv[1].rpartition('/')[0]); import cast; cast.worker.version = '2'",
    )
    await until(lambda: "is ready" in new.log.read_text())
    assert await system.client.result(waits, timeout=40)
    stopping = asyncio.create_task(asyncio.to_thread(old.stop))
    system.let_go("held")
    await system.client.result(run, timeout=40)
    assert await stopping == 0
