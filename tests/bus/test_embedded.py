"""The embedded server: one per folder, whatever becomes of whoever started it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consort_bus import embedded, jetstream, subjects, topology
from consort_bus.connection import open_bus
from consort_bus.errors import ServerFailed
from standing_still import freeze


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    embedded.stop(tmp_path)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _alive(pid: int) -> bool:
    return (
        Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]
    )


def test_started_once_and_stopped_once(folder: Path) -> None:
    assert embedded.status(folder) is None
    assert embedded.stop(folder) is False
    first = embedded.start(folder)
    assert first.started
    again = embedded.start(folder)
    assert (again.url, again.pid, again.started) == (first.url, first.pid, False)
    assert embedded.status(folder) == again
    assert stat.S_IMODE((folder / "keys" / "authority.json").stat().st_mode) == 0o600
    assert embedded.stop(folder) is True
    assert not _alive(first.pid)
    assert embedded.status(folder) is None


@pytest.mark.slow
async def test_killed_and_started_again_with_port_and_data_kept(folder: Path) -> None:
    server = embedded.start(folder, sync_always=True)
    setup = embedded.credentials_for(folder, "provisioner", "setup")
    async with open_bus(server.url, setup) as bus:
        await topology.ensure(bus)
        await bus.request("$KV.AGENTS.a1.i1", b"card")
    os.kill(server.pid, signal.SIGKILL)
    back = embedded.start(folder)
    assert (back.url, back.started) == (server.url, True)
    assert back.pid != server.pid
    async with open_bus(back.url, setup) as bus:
        assert await topology.check(bus) == []
        assert (await bus.request(jetstream.direct_get(subjects.AGENTS, "$KV.AGENTS.a1.i1"))).data == b"card"


def test_a_taken_port_is_given_up(folder: Path) -> None:
    server = embedded.start(folder)
    embedded.stop(folder)
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", _port(server.url)))
        taker.listen()
        assert embedded.start(folder).url != server.url


_STARTER = "import sys; from consort_bus import embedded; print(embedded.start(sys.argv[1]).pid)"


@pytest.mark.slow
def test_many_starters_at_once_get_one_server(folder: Path) -> None:
    starters = [
        subprocess.Popen([sys.executable, "-c", _STARTER, str(folder)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    pids = {starter.communicate(timeout=30)[0] for starter in starters}
    assert len(pids) == 1
    assert _alive(int(pids.pop()))  # and it outlives those who started it


def test_stale_and_foreign_pids_are_seen_through(folder: Path) -> None:
    server = embedded.start(folder)
    embedded.stop(folder)
    for pid in ("", "no number", "999999999", str(os.getpid()), "1"):
        (folder / "bus" / "server.pid").write_text(pid)
        (folder / "bus" / f"nats-server_{pid or 0}.ports").write_text(json.dumps({"nats": [server.url]}))
        assert embedded.status(folder) is None
        assert embedded.stop(folder) is False
    assert embedded.start(folder).started


def test_a_lost_pid_file_is_made_up_for(folder: Path) -> None:
    server = embedded.start(folder)
    (folder / "bus" / "server.pid").unlink()
    assert embedded.start(folder).pid == server.pid


def test_a_copy_of_the_folder_is_another_server(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = embedded.start(folder)
    copy = tmp_path_factory.mktemp("copy") / "c"
    shutil.copytree(folder, copy)
    try:
        assert embedded.status(copy) is None
        assert embedded.start(copy).url != server.url
    finally:
        embedded.stop(copy)


@pytest.mark.slow
def test_a_frozen_server_is_reported_and_can_be_stopped(folder: Path) -> None:
    server = embedded.start(folder)
    freeze(server.pid)
    assert embedded.status(folder) is None
    with pytest.raises(ServerFailed, match=rf"process {server.pid}, does not answer"):
        embedded.start(folder, time_limit=0.2)
    assert embedded.stop(folder) is True
    assert not _alive(server.pid)


def test_a_bad_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerFailed, match=r"cannot be used.*name another folder"):
        embedded.start(tmp_path / "file")


def test_a_failing_server_shows_its_log(folder: Path) -> None:
    (folder / "bus").mkdir()
    (folder / "bus" / "jetstream").write_text("in the way")
    with pytest.raises(ServerFailed, match="ended at once") as failed:
        embedded.start(folder)
    assert "jetstream" in failed.value.log_tail.lower()
    assert embedded.status(folder) is None


def test_a_missing_program_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="cannot be run"):
        embedded.start(folder, binary=tmp_path / "nowhere")


@pytest.mark.slow
async def test_running_stops_what_it_started(folder: Path) -> None:
    async with embedded.running(folder) as server:
        assert server.started
        async with embedded.running(folder) as second:
            assert (second.pid, second.started) == (server.pid, False)
        assert _alive(server.pid)
    assert not _alive(server.pid)


@pytest.mark.slow
async def test_the_last_user_stops_it(folder: Path) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def uses() -> None:
        async with embedded.running(folder):
            entered.set()
            await leave.wait()

    async with embedded.running(folder) as server:
        other = asyncio.create_task(uses())
        await entered.wait()
    assert _alive(server.pid)
    leave.set()
    await other
    assert not _alive(server.pid)


@pytest.mark.slow
async def test_running_stops_it_when_its_user_fails(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with embedded.running(folder) as server:
            _ = 1 / 0
    assert not _alive(server.pid)


async def test_running_leaves_a_kept_server_alone(folder: Path) -> None:
    kept = embedded.start(folder)
    async with embedded.running(folder) as server:
        assert not server.started
    assert _alive(kept.pid)


def test_credentials_are_kept_until_the_keys_change(folder: Path) -> None:
    first = embedded.credentials_for(folder, "agent", "a1")
    assert embedded.credentials_for(folder, "agent", "a1") == first
    (folder / "keys" / "authority.json").unlink()
    assert embedded.credentials_for(folder, "agent", "a1") != first


def test_starting_is_quick(folder: Path) -> None:
    began = time.monotonic()
    embedded.start(folder)
    assert time.monotonic() - began < 2
