"""Whole systems under faults: nothing is lost or done twice, and every run ends as its inputs say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from consort_orchestrator.chaos import Options, faults_named, run_chaos
from consort_orchestrator.chaos.disk import why_not

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PLAN = """
name: mine
inputs: {name: {type: string}}
steps:
  hello: {skill: greet, with: {name: "${{ inputs.name }}"}}
  again: {skill: greet, needs: [hello], with: {name: "${{ steps.hello.output }}"}}
"""
AGENT = """
from consort_agents import Agent

agent = Agent("mine", lease=1.0, slots=4)


@agent.skill("greet")
def greet(name: str) -> str:
    return f"Hello, {name}!"
"""


async def test_a_few_seeds() -> None:
    """A fixed budget of time: on a busy machine not all seeds are reached."""
    options = Options(seed=1, seeds=6, runs=8, time=15.0, storm=0.8, every=0.4)
    report = await run_chaos(options, tell=print)
    assert report.clean, report.as_text()
    assert report.faults.total() > 0
    assert report.states.keys() <= {"completed", "failed", "cancelled"}


async def test_a_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "full"
    options = Options(
        runs=4, storm=0.5, every=0.8, faults=("full-disk",), shapes=("chain", "fan"), keep=folder
    )
    report = await run_chaos(options)
    assert report.clean, report.as_text()
    if why := why_not():
        assert why in report.left_out[0]
    else:
        assert report.faults["full-disk"] > 0
        assert not os.path.ismount(folder / "bus")
        assert (folder / "bus" / "jetstream").is_dir(), "what was on the disk is kept with the rest"


def test_a_plan_of_ones_own_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "mine.py").write_text(AGENT)
    words = ["chaos", "--plan", "plan.yaml", "--agents-module", "mine.py:agent", "--input", "name=you"]
    words += [
        "--runs",
        "6",
        "--storm",
        "1s",
        "--faults",
        "kill-agent,reset",
        "--compare",
        "--out",
        "report.json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "consort_orchestrator.cli", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 lost, 0 duplicated effects, 0 violations" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["runs"] == 12  # with faults and without
    assert report["states"] == {"completed": 12}
    assert (report["lost"], report["duplicated_effects"], report["violations"]) == (0, 0, 0)
    assert report["longest_pause_s"] > 0
    assert report["seed"] == 1
    assert set(report["faults"]) <= {"kill-agent", "reset"}


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_three_nodes(seed: int) -> None:
    report = await run_chaos(Options(seed=seed, runs=40, nodes=3, faults=faults_named("all"), compare=True))
    assert report.clean, report.as_text()
