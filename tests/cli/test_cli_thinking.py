"""The shipped example with a model that is a script, in one command: no key, no network, no second terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_kit import consort

EXAMPLE = Path(__file__).parents[2] / "examples" / "market-analysis"
SOURCES = f"sources={EXAMPLE / 'sources'}"
SCRIPT = f"scripted:{EXAMPLE / 'model.yaml'}"
QUESTION = "Which systems lead, where is the market moving, and what does none of them do well?"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.mark.long
def test_the_example_thinks(tmp_path: Path) -> None:
    """S7, E1: a section that was sent back and drafted again for the judge; what it took is told."""
    plan = str(EXAMPLE / "plan.yaml")
    done = consort(tmp_path, "run", plan, "--input", SOURCES, "--json", CONSORT_MODEL=SCRIPT)
    assert done.code == 0, done.err
    report = done.json["output"]["report"]
    assert "## What this means" in report
    assert "How it moves should count as much as where it stands." in report
    assert "4711" not in report
    assert set(done.json["agents"]) == {"researcher", "analyst", "surveyor", "writer", "checker"}
    logged = consort(tmp_path, "log", "last").out
    assert "judged: reject, 3 of 5" in logged
    assert "judged: accept, 5 of 5" in logged
    assert (
        '"missing": ["what the movement and the gaps mean' in consort(tmp_path, "log", "last", "--json").out
    )


def test_a_goal_whose_first_plan_cannot_be_carried_out(tmp_path: Path) -> None:
    """S15, A3: bad-plan once, with the reasons, and then a good one."""
    done = consort(tmp_path, "run", QUESTION, "--input", SOURCES, "--json", CONSORT_MODEL=SCRIPT)
    assert done.code == 0, done.err
    assert done.json["output"]["judged"]["verdict"] == "accept"
    logged = consort(tmp_path, "log", "last").out
    assert logged.count("bad-plan") == 1
    assert "no agent offers `text.translate`" in logged
