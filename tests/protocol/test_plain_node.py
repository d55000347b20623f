"""The same in another language: a client and an agent in JavaScript, with the official NATS client (F9, S93).

They are installed once by `npm ci`, into the user's cache. Without node, npm or the registry these tests are skipped.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from plain_kit import answers, start
from system_kit import System, until
from test_plain_json import THERE_AND_BACK

from consort_shared.entries import Heeded
from consort_shared.ids import new_run_id

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent / "node"
VECTORS = Path(__file__).parents[2] / "docs" / "protocol" / "vectors.json"
OLDEST = 20


@pytest.fixture(scope="module")
def programs() -> Path:
    """Where the programs are installed with what they need."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed: the contract is not tried in JavaScript")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().lstrip("v").partition(".")[0]) < OLDEST:
        pytest.skip(f"node {version.strip()} is too old: {OLDEST} is wanted")
    files = sorted(file for file in HERE.iterdir() if file.is_file())
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "consort-tests"
    place = cache / f"node-{digest}"
    if not place.is_dir():
        _install(npm, files, cache, place)
    return place


def _install(npm: str, files: list[Path], cache: Path, place: Path) -> None:
    """In one move, so that it is there whole or not at all."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as made:
        draft = Path(made) / "node"
        draft.mkdir()
        for file in files:
            shutil.copy(file, draft)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries", "1"]
        try:
            done = subprocess.run(command, cwd=draft, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not install within a minute what the programs need")
        if done.returncode != 0:
            pytest.skip(f"npm cannot install what the programs need: {done.stderr.strip()[-300:]}")
        try:
            draft.rename(place)
        except OSError:
            assert place.is_dir()  # another was quicker


def test_codes_and_tokens_come_out_the_same(programs: Path) -> None:
    command = ["node", str(programs / "vectors.mjs"), str(VECTORS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


async def test_a_run_is_driven_and_worked_on_in_javascript(system: System, programs: Path) -> None:
    """J24, F9: F9: there and back; killed with -9 and delivered again; a stop order heeded; the result read."""
    client, agent = ["node", str(programs / "client.mjs")], ["node", str(programs / "agent.mjs")]

    async def tell(*orders: dict[str, Any]) -> Any:
        return (await answers(system, client, orders, "shell"))[-1]

    system.orchestrator()
    system.agent("worker")
    first = start(system, "node", agent)
    plan = _with_skill(THERE_AND_BACK, "node.reverse")
    run = new_run_id()
    submit = {"do": "submit", "run": run, "plan": plan, "inputs": {"word": "tea"}}
    status = await tell(submit, {"do": "wait", "run": run})
    assert (status["state"], status["output"]) == ("completed", {"extend": {"text": "aet edam.end"}})

    run = new_run_id()
    async with system.client.progress(run) as said:
        await tell({"do": "submit", "run": run, "plan": _nap(1)})
        await _napping(said)
        first.kill()
        start(system, "node", agent)
        status = await tell({"do": "wait", "run": run})
    assert (status["state"], status["output"]) == ("completed", {"nap": {"text": "rested"}})
    assert await system.accepted_once(run) == ["nap"]

    run = new_run_id()
    async with system.client.progress(run) as said:
        await tell({"do": "submit", "run": run, "plan": _nap(60)})
        await _napping(said)
        status = await tell(
            {"do": "say", "run": run, "say": "cancel", "why": "no more"}, {"do": "wait", "run": run}
        )
    assert (status["state"], status["why"]) == ("cancelled", "no more")
    [heeded] = [fact for fact in await system.facts(run) if isinstance(fact, Heeded)]
    assert (heeded.agent, heeded.how) == ("node", "stopped")


async def _napping(said: asyncio.Queue[Any]) -> None:
    await until(lambda: not said.empty())
    assert said.get_nowait().text == "napping, attempt 1"


def _with_skill(plan: dict[str, Any], skill: str) -> dict[str, Any]:
    steps = {**plan["steps"], "shout": {**plan["steps"]["shout"], "skill": skill}}
    return {**plan, "steps": steps}


def _nap(seconds: float) -> dict[str, Any]:
    return {"name": "nap", "steps": {"nap": {"skill": "node.nap", "with": {"seconds": seconds}}}}
