"""`consort tools`: check, approve, start, list, calls, pause; what is wrong with a file is told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from hosting_kit import HERE, Site, tools_file, until

from consort_bus.publish import Publisher
from consort_bus.toolbox import Toolbox
from consort_shared.ids import new_run_id
from consort_shared.tooling import HostAlive

pytestmark = pytest.mark.slow


async def consort(site: Site, *arguments: str) -> tuple[int, str, str]:
    """A command as a process; its code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consort_orchestrator.cli", *arguments,
        env={**os.environ, "CONSORT_FOLDER": str(site.folder), "PYTHONPATH": str(HERE), "NO_COLOR": "1"},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_check_tells_what_a_file_defines_and_what_is_wrong(site: Site, tmp_path: Path) -> None:
    """F11: names, schemas, risk, cost, owner and digest of every tool, and clear errors."""
    file = tools_file(tmp_path, functions=[{"function": "pay", "owner": "finance", "cost": 2_000_000}])
    code, out, _ = await consort(site, "tools", "check", str(file), "--json")
    assert code == 0
    [pay] = json.loads(out)["tools"]
    assert (pay["risk"], pay["idempotent"], pay["owner"], pay["cost"]) == (
        "danger",
        False,
        "finance",
        2_000_000,
    )
    assert pay["input_schema"]["required"] == ["amount"]
    assert len(pay["digest"]) == 64
    for content, words in (
        ("tools: [{function: 'workshop:nothing'}]", "nothing"),
        ("tools: {", str(tmp_path)),
        ("tols: []", "tols"),
    ):
        bad = tmp_path / "bad.yaml"
        bad.write_text(content)
        code, _, err = await consort(site, "tools", "check", str(bad))
        assert code == 2, err
        assert words in err
        assert "Traceback" not in err


async def test_start_list_calls_pause(site: Site, tmp_path: Path) -> None:
    """F7, S86, S101: the first sight approves, a change is refused until approved; calls and savings are listed."""
    file = tools_file(tmp_path)
    starting = asyncio.create_task(consort(site, "tools", "start", str(file)))
    run = new_run_id()
    try:
        async with asyncio.timeout(20):
            while not (alive := await _alive(site)):
                await asyncio.sleep(0.1)
        async with site.agent() as ann, site.agent("bob") as bob:
            assert (await ann.call("shop.look", {"query": "tea"}, run=run)).content == "found tea"
            assert (await bob.call("shop.look", {"query": "tea"}, run=run)).saved
            await ann.call("shop.pay", {"amount": "much"}, run=run)
        [host] = json.loads((await consort(site, "tools", "list", "--json"))[1])
        assert (host["host"], len(host["processes"])) == ("shop", 1)
        assert {tool["approved_by"] for tool in host["tools"]} == {"first sight"}
        _, text, _ = await consort(site, "tools", "list")
        assert "shop.pay  function, danger" in text
        _, text, _ = await consort(site, "tools", "calls", run)
        assert "step  bob  shop.look  saved" in text
        assert "3 calls, 1 saved" in text
        code, _, err = await consort(site, "tools", "pause", "nowhere")
        assert code == 2
        assert "no tools of a host 'nowhere'" in err
        assert (await consort(site, "tools", "pause", "shop", "--why", "leak"))[0] == 0
        assert "paused by provisioner.setup: leak" in (await consort(site, "tools", "list"))[1]
        assert (await consort(site, "tools", "resume", "shop"))[0] == 0
        tools_file(tmp_path, functions=[{"function": "look", "owner": "else"}])
        code, _, err = await consort(site, "tools", "approve", str(file))
        assert code == 2
        assert "changed: look" in err
        assert "--yes" in err
        assert (await consort(site, "tools", "approve", str(file), "--yes"))[0] == 0
        [host] = json.loads((await consort(site, "tools", "list", "--json"))[1])
        assert [tool["name"] for tool in host["tools"]] == ["look"]
    finally:
        os.kill(alive[0].pid, signal.SIGTERM)
        code, _, err = await starting
        assert code == 0
        assert "approved on first sight" in err


async def _alive(site: Site) -> list[HostAlive]:
    async with site.connected("operator", "me") as (_, wire):
        return await Toolbox(wire, Publisher(wire)).alive()


async def test_up_serves_the_tools_of_a_file(tmp_path: Path, site: Site) -> None:
    """`consort up --tools FILE`: a host is kept running with everything else."""
    file = tools_file(tmp_path)
    log = tmp_path / "up.log"
    with log.open("wb") as out:
        up = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "consort_orchestrator.cli", "up", "--agents", "writer", "--tools", str(file),
            env={**os.environ, "CONSORT_FOLDER": str(site.folder), "NO_COLOR": "1"}, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        await until(lambda: b"ready; Ctrl-C" in log.read_bytes(), 40)
        assert b"tools-shop" in log.read_bytes()
        async with site.agent() as ann:
            assert (await ann.call("shop.look", {"query": "tea"})).content == "found tea"
    finally:
        up.send_signal(signal.SIGTERM)
        await up.wait()
