"""`consort protocol check`: agents in three languages keep the contract, and one with defects is found out (S93)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow
LONG = ("--long-skill", "plain.nap", "--long-input")
CONSORT_AGENT = """
import asyncio

from consort_agents import Agent

agent = Agent("slow", lease=2.0, slots=2)


@agent.skill("slow.say")
def say(text: str) -> str:
    return text


@agent.skill("slow.nap")
async def nap(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "rested"
"""


async def checked(folder: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, what was found, and what was told beside it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "consort_orchestrator.cli",
        "protocol",
        "check",
        "--json",
        *arguments,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(90):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out else {}, err.decode()


async def test_an_agent_that_knows_only_the_contract_keeps_it(tmp_path: Path) -> None:
    """S93: every rule is tried, none is broken; in JSON, with nothing of Consort in its process."""
    agent = [sys.executable, str(HERE / "plain_agent.py")]
    code, found, told = await checked(tmp_path, "plain", "-i", "text=tea", *LONG, "seconds=3", "--", *agent)
    assert code == 0, (found, told)
    assert {rule["state"] for rule in found["rules"]} == {"kept"}
    assert len(found["rules"]) == found["counts"]["kept"] >= 20


async def test_an_agent_of_the_kit_keeps_it_too(tmp_path: Path) -> None:
    """S93: the same rules, in msgpack."""
    (tmp_path / "slow.py").write_text(CONSORT_AGENT, encoding="utf-8")
    start = [sys.executable, "-m", "consort_orchestrator.cli", "agent", "start", "slow.py:agent"]
    long = ("--long-skill", "slow.nap", "--long-input", "seconds=3")
    code, found, told = await checked(tmp_path, "slow", "-i", "text=tea", *long, "--", *start)
    assert code == 0, (found, told)
    assert found["counts"] == {"kept": len(found["rules"]), "broken": 0, "not tried": 0}


async def test_defects_are_found_each_by_its_rule(tmp_path: Path) -> None:
    """S93: what people forget, each with the rule that tells of it."""
    agent = [sys.executable, str(HERE / "defective_plain.py")]
    arguments = ("plain", "-i", "text=tea", *LONG, "seconds=3.5", "--timeout", "2.5", "--", *agent)
    code, found, _ = await checked(tmp_path, *arguments)
    broken = {rule["rule"]: rule["note"] for rule in found["rules"] if rule["state"] == "broken"}
    assert code == 1
    assert set(broken) == {
        "asks about a task that comes again, and lets go of it when it is not wanted",
        "does not begin a task that was delivered more often than its card allows",
        "gives what its card promises",
        "acknowledges a task after its report is stored",
        "refuses a task whose code is wrong",
        "begins no task of a paused run, and does it when the run goes on",
        "keeps the lease of a task that takes longer",
        "takes no order whose code is wrong",
        "stops when it is told to, and says so",
        "says everything readable, sealed and for a receipt",
    }, found


async def test_what_cannot_be_tried_is_told(tmp_path: Path) -> None:
    code, found, told = await checked(
        tmp_path, "plain", "--", sys.executable, "-c", "raise SystemExit('no such luck')"
    )
    assert code == 1
    assert [rule["note"] for rule in found["rules"]] == ["its process has ended with code 1: no such luck"]
    assert "no such luck" in told
    code, _, told = await checked(tmp_path, "plain", "--", "there-is-no-such-command")
    assert (code, "cannot be started" in told) == (2, True)
