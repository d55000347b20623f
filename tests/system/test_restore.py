"""The restore drill: a backup is made under load, everything is lost, and the runs of the backup end right."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from system_kit import System, until

from consort_bus import embedded
from consort_bus.backup import load
from consort_bus.client import connect
from consort_shared.errors import RunFailed

pytestmark = pytest.mark.slow

CHAIN: dict[str, Any] = {
    "steps": {
        "one": {"skill": "text.make", "with": {"name": "a"}},
        "two": {
            "skill": "text.extend",
            "needs": ["one"],
            "with": {"text": "${{ steps.one.output.text }}", "by": "x", "pause": 0.05},
        },
    },
    "output": "${{ steps.two.output.text }}",
}
HELD: dict[str, Any] = {
    "steps": {
        "made": {"skill": "blob.make", "with": {"size": 300_000}},
        "hold": {"skill": "text.gate", "needs": ["made"], "with": {"name": "held"}},
        "size": {
            "skill": "blob.measure",
            "needs": ["hold"],
            "with": {"blob": "${{ steps.made.output.blob }}"},
        },
    },
    "output": "${{ steps.size.output }}",
}
WAITS: dict[str, Any] = {"steps": {"meet": {"skill": "meet", "with": {"count": 1}}}}
FAILS: dict[str, Any] = {"steps": {"bad": {"skill": "blob.measure", "with": {"blob": {"no": "blob"}}}}}


def _consort(*arguments: str) -> None:
    """A command of an operator, without orchestrators or agents of its own."""
    command = [sys.executable, "-m", "consort_orchestrator.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


async def _is_waiting(system: System, run: str) -> None:
    async with asyncio.timeout(30):
        while "waiting" not in {fact.fact for fact in await system.facts(run)}:
            await asyncio.sleep(0.05)


async def _history(system: System, run: str) -> list[str]:
    return [logged.entry.model_dump_json() for logged in await system.client.entries(run)]


async def test_all_is_lost_and_restored_and_every_run_of_the_backup_ends_right(
    system: System, tmp_path: Path
) -> None:
    """J21."""
    children = [system.orchestrator(), system.agent("worker")]
    finished = [await system.run(CHAIN) for _ in range(10)]
    for run in finished:
        assert await system.client.result(run, timeout=30) == "made a.x"
    failed = await system.run(FAILS)
    with pytest.raises(RunFailed):
        await system.client.result(failed, timeout=30)
    held, waiting = await system.run(HELD), await system.run(WAITS)
    await until(lambda: system.marked("at-held"))
    await _is_waiting(system, waiting)
    told = {run: await _history(system, run) for run in (*finished, failed)}
    before = {run: await _history(system, run) for run in (held, waiting)}

    under_way: list[str] = []
    enough = asyncio.Event()

    async def load_it() -> None:
        while not enough.is_set():
            under_way.append(await system.run(CHAIN))
            await asyncio.sleep(0.02)

    loading = asyncio.create_task(load_it())
    await until(lambda: len(under_way) >= 10)
    known = list(under_way)
    copy = tmp_path / "copy"
    await asyncio.to_thread(_consort, "bus", "backup", str(copy), "--folder", str(system.folder))
    enough.set()
    await loading
    assert load(copy).streams
    for run in under_way:  # nobody who went on meanwhile was lost by it
        assert await system.client.result(run, timeout=30) == "made a.x"

    for child in children:
        child.kill()
    embedded.stop(system.folder)
    shutil.rmtree(system.folder / "bus")
    assert not (system.folder / "bus").exists()
    system.url = embedded.start(system.folder).url
    await asyncio.to_thread(_consort, "bus", "restore", str(copy), "--folder", str(system.folder))

    credentials = embedded.credentials_for(system.folder, "client", "me")
    async with connect(system.url, credentials) as client:
        system.client = client
        for run, history in told.items():  # readable before anything else runs
            assert await _history(system, run) == history
        again = [system.orchestrator(), system.agent("worker"), system.agent("crowd")]
        await until(lambda: len(system.marked("at-held")) == 2)
        system.let_go("held")
        assert await client.result(held, timeout=40) == 300_000 // 256 * 256
        assert await client.result(waiting, timeout=40)
        assert await system.accepted_once(held) == ["made", "hold", "size"]
        assert await system.accepted_once(waiting) == ["meet"]
        for run, history in before.items():
            assert (await _history(system, run))[: len(history)] == history
        for run in known:
            assert await client.result(run, timeout=40) == "made a.x"
            assert await system.accepted_once(run) == ["one", "two"]
        for run, history in told.items():
            assert await _history(system, run) == history
        assert len(system.marked("at-held")) == 2
        assert {mark.split()[2] for mark in system.marked("at-held")} == {_task(before[held])}
        fresh = await system.run(CHAIN)
        assert await client.result(fresh, timeout=40) == "made a.x"
        for child in again:
            assert await asyncio.to_thread(child.stop) == 0


def _task(history: list[str]) -> str:
    """The attempt that was granted last."""
    facts = [fact for entry in history for fact in json.loads(entry)["facts"] if fact["fact"] == "granted"]
    return str(facts[-1]["task"])
