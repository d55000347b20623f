"""Wrong credentials, and a cluster without a majority or with a node that has forgotten everything."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from system_kit import HERE, System, until

from consort_bus import checking, embedded, topology
from consort_bus.client import Unconfirmed, connect
from consort_bus.connection import open_bus
from consort_bus.embedded import Embedded
from consort_shared.ids import new_run_id
from consort_shared.plan.model import Plan

pytestmark = pytest.mark.slow

ONE: dict[str, Any] = {"steps": {"one": {"skill": "text.make", "with": {"name": "a"}}}}
HELD: dict[str, Any] = {
    "steps": {
        "hold": {"skill": "text.gate", "with": {"name": "held"}},
        "then": {"skill": "text.make", "needs": ["hold"], "with": {"name": "b"}},
    }
}
ELECTION = 60.0
"""Seconds that servers may take to find a leader, on a machine that does much else."""
CLI = ("consort_orchestrator.cli",)
ORCHESTRATOR = (*CLI, "orchestrator", "start")
AGENT = ("consort_agents", f"{HERE / 'cast.py'}:worker")
SUBMIT = (*CLI, "submit", "{plan}")


@pytest.mark.parametrize(
    ("command", "role", "name", "told"),
    [
        (ORCHESTRATOR, "client", "me", "is of client.me; the credentials of an orchestrator are needed"),
        (AGENT, "client", "me", "is of client.me; .*credentials of an agent are needed"),
        (SUBMIT, "agent", "worker", "agent.worker may not publish to in.client; allowed to: client"),
        ((*CLI, "bus", "setup"), "client", "me", r"client.me may not .*; allowed to: .*provisioner"),
        ((*CLI, "bus", "backup", "{copy}"), "orchestrator", "o", "may not .*; allowed to: provisioner"),
    ],
)
def test_credentials_of_another_role(
    embedded_bus: Embedded, tmp_path: Path, command: tuple[str, ...], role: str, name: str, told: str
) -> None:
    creds = embedded.credentials_for(embedded_bus.folder, role, name)
    creds.save(tmp_path / "its.creds")
    assert re.search(told, _refusal(embedded_bus, command, tmp_path))


@pytest.mark.parametrize(
    ("command", "role", "name"), [(ORCHESTRATOR, "orchestrator", "main"), (AGENT, "agent", "worker")]
)
def test_credentials_of_another_installation(
    embedded_bus: Embedded, tmp_path: Path, command: tuple[str, ...], role: str, name: str
) -> None:
    embedded.credentials_for(tmp_path / "elsewhere", role, name).save(tmp_path / "its.creds")
    told = _refusal(embedded_bus, command, tmp_path)
    assert f"{role}.{name}" in told
    assert "revoked, or issued for another installation" in told


async def test_credentials_that_have_expired(embedded_bus: Embedded, tmp_path: Path) -> None:
    brief = embedded.credentials_for(embedded_bus.folder, "client", "me", timedelta(seconds=1))
    brief.save(tmp_path / "its.creds")
    end = brief.expires
    assert end is not None
    await until(lambda: datetime.now(UTC) > end + timedelta(seconds=1))  # the server counts whole ones
    told = await asyncio.to_thread(_refusal, embedded_bus, SUBMIT, tmp_path)
    assert re.search("the credentials expired at .*; have new ones issued", told)


def _refusal(server: Embedded, command: tuple[str, ...], folder: Path) -> str:
    """What a process says that the bus does not let in, after it has ended by itself."""
    plan = folder / "plan.yaml"
    plan.write_text("name: one\nsteps:\n  one: {skill: text.make, with: {name: a}}\n")
    places = {"{plan}": str(plan), "{copy}": str(folder / "copy")}
    whole = [sys.executable, "-m", *(places.get(part, part) for part in command)]
    whole += ["--server", server.url, "--creds", str(folder / "its.creds")]
    ended = subprocess.run(whole, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    server = embedded.start(tmp_path_factory.mktemp("three"), nodes=3)
    try:
        asyncio.run(_set_up(server))
        yield server
    finally:
        embedded.stop(server.folder)


async def _set_up(server: Embedded) -> None:
    known = embedded.credentials_for(server.folder, "provisioner", "setup")
    async with open_bus(server.url, known, patience=10) as bus:
        await topology.ensure(bus)


@pytest.fixture
async def on_three(cluster: Embedded, tmp_path: Path) -> AsyncIterator[System]:
    """A system of its own processes on a cluster that the tests share."""
    shutil.rmtree(cluster.folder / "marks", ignore_errors=True)
    (cluster.folder / "marks").mkdir()
    known = embedded.credentials_for(cluster.folder, "client", "me")
    async with connect(cluster.url, known) as client:
        there = System(cluster.folder, cluster.url, client)
        try:
            yield there
        finally:
            for child in there.children:
                if child.running:
                    child.process.kill()
                    child.process.wait(10)
            await asyncio.to_thread(embedded.start, cluster.folder)


class Submitting:
    """Hands in runs one after the other, and keeps which of them were acknowledged."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.acknowledged: list[str] = []
        self.doubtful: list[str] = []
        self.over = asyncio.Event()

    async def go_on(self) -> None:
        while not self.over.is_set():
            run = new_run_id()
            try:
                await self._system.run_as(run, ONE)
                self.acknowledged.append(run)
            except Unconfirmed:
                self.doubtful.append(run)
            await asyncio.sleep(0.02)


async def _ends_right(system: System, run: str, paths: list[str]) -> None:
    await system.client.result(run, timeout=ELECTION)
    assert await system.accepted_once(run) == paths


async def test_two_of_three_nodes_down(on_three: System) -> None:
    """C14: what is handed in meanwhile is refused or waits; what was acknowledged before is there afterwards."""
    system = on_three
    system.orchestrator()
    system.agent("worker")
    held = await system.run(HELD)
    await until(lambda: system.marked("at-held"), ELECTION)
    system.client.patience = 2.5
    submitting = Submitting(system)
    going_on = asyncio.create_task(submitting.go_on())
    await until(lambda: len(submitting.acknowledged) >= 5, ELECTION)
    names = [node.name for node in embedded.nodes(system.folder)]
    for name in names[1:]:
        await asyncio.to_thread(embedded.kill_node, system.folder, name)
    down = len(submitting.acknowledged) + 1  # one may have been stored by two and be told of by the third
    await until(lambda: submitting.doubtful, ELECTION)
    assert len(submitting.acknowledged) <= down
    submitting.over.set()
    await going_on
    assert len(submitting.acknowledged) <= down
    known = embedded.credentials_for(system.folder, "client", "me")
    async with connect(system.url, known) as other:
        other.patience = ELECTION
        waits = asyncio.create_task(other.submit(Plan.model_validate({"name": "waits", **ONE}), {}))
        done, _ = await asyncio.wait({waits}, timeout=1.0)
        assert not done
        await asyncio.to_thread(embedded.start_node, system.folder, names[1])
        await _ends_right(system, await waits, ["one"])
    for run in submitting.acknowledged:
        await _ends_right(system, run, ["one"])
    system.client.patience = ELECTION
    for run in submitting.doubtful:  # to say it again does no harm, whether or not it was stored
        await system.run_as(run, ONE)
        await _ends_right(system, run, ["one"])
    system.let_go("held")
    await _ends_right(system, held, ["hold", "then"])


async def test_a_node_comes_back_with_an_empty_disk_while_runs_go_on(on_three: System) -> None:
    """S110: it catches up with all that the others have, and no run is lost or held up for long."""
    system = on_three
    system.client.patience = ELECTION
    system.orchestrator()
    system.agent("worker")
    submitting = Submitting(system)
    going_on = asyncio.create_task(submitting.go_on())
    await until(lambda: len(submitting.acknowledged) >= 5, ELECTION)
    emptied = embedded.nodes(system.folder)[-1].name
    await asyncio.to_thread(embedded.kill_node, system.folder, emptied)
    shutil.rmtree(system.folder / "bus" / emptied / "jetstream")
    await asyncio.to_thread(embedded.start_node, system.folder, emptied)
    creds = embedded.credentials_for(system.folder, "provisioner", "setup")
    async with open_bus(system.url, creds, patience=10) as bus, asyncio.timeout(ELECTION):
        while await checking.check(bus, 3):
            await asyncio.sleep(0.2)
    before = len(submitting.acknowledged)
    await until(lambda: len(submitting.acknowledged) >= before + 5, ELECTION)
    submitting.over.set()
    await going_on
    assert not submitting.doubtful
    for run in submitting.acknowledged:
        await _ends_right(system, run, ["one"])
