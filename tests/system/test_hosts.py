"""Three machines, set up by the commands of docs/deploy.md: what the page says is what is run.

The machines are network namespaces with addresses and cables of their own. J5, S114.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hosts_kit import Hosts, blocks, hosts

from consort_shared.ids import new_run_id

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "deploy.md"
MACHINES = ("hub", "work", "desk")
PLAN = "examples/market-analysis/plan.yaml"
TRIES = 3
"""Runs that may have ended before the cable was out, on a machine that is busy with other things."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_three_machines_as_the_page_sets_them_up(tmp_path: Path) -> None:
    """A run over all three; then one in whose midst the agents' machine is cut off: it waits, and ends the same."""
    with hosts(tmp_path, MACHINES) as there:
        shutil.copytree(ROOT / "examples", there.home("desk") / "examples")
        shown = blocks(PAGE)
        assert {block.machine for block in shown} == set(MACHINES)
        for block in shown:
            there.run(block.machine, block.text)
        desk = shown[-1].exports
        assert "CONSORT_TLS_CA" in desk
        wanted = json.loads((there.home("desk") / "report.json").read_text())
        assert "## Summary" in wanted["report"]
        _only_the_bus_listens(there)
        _secrets_stay_where_they_belong(there)

        for _ in range(TRIES):
            run = new_run_id()
            _cut_off_in_the_midst(there, desk, run)
            state = _shown(there, desk, run)["state"]
            there.cable("work", "up")
            if state != "completed":
                break
        assert state in ("running", "waiting")
        there.run("desk", f"{desk}consort result {run} --wait --timeout 40 > second.json")
        assert json.loads((there.home("desk") / "second.json").read_text()) == wanted
        _nothing_twice(there, desk, run)


def _cut_off_in_the_midst(there: Hosts, desk: str, run: str) -> None:
    """Pulls the cable once the first step is accepted, and waits until nobody sees an agent any more."""
    with there.reading("desk", f"{desk}consort watch {run} --json") as lines:
        there.run("desk", f"{desk}consort submit {PLAN} --run {run}")
        for line in lines:
            facts = json.loads(line)["entry"]["facts"]
            if any(fact["fact"] == "accepted" and fact["path"] == "gather" for fact in facts):
                break
        else:
            raise AssertionError("the run was never seen")
        there.cable("work", "down")
    end = time.monotonic() + 25
    while json.loads(there.run("desk", f"{desk}consort agents --json")):
        assert time.monotonic() < end, "the agents' machine is cut off, and still its agents are there"


def _shown(there: Hosts, desk: str, run: str) -> Any:
    return json.loads(there.run("desk", f"{desk}consort show {run} --json"))


def _nothing_twice(there: Hosts, desk: str, run: str) -> None:
    lines = there.run("desk", f"{desk}consort log show {run} --json").splitlines()
    facts = [fact for line in lines for fact in json.loads(line)["entry"]["facts"]]
    accepted = Counter(fact["path"] for fact in facts if fact["fact"] == "accepted")
    assert len(accepted) >= 5
    assert set(accepted.values()) == {1}
    assert [fact["fact"] for fact in facts].count("submitted") == 1


def _only_the_bus_listens(there: Hosts) -> None:
    """S114: one port of one machine is all that others reach."""
    assert {port.rpartition(":")[2] for port in there.listening("hub")} == {"4222"}
    assert not there.listening("work")
    assert len([line for line in there.processes("work") if "consort_agents" in line]) == 5
    assert (
        len(
            [line for line in there.processes("hub") if "nats-server" in line or "orchestrator start" in line]
        )
        == 2
    )


def _secrets_stay_where_they_belong(there: Hosts) -> None:
    def found(machine: str) -> set[str]:
        home = there.home(machine) / "consort"
        secret = (".creds", ".key", ".json")
        return {
            path.name for path in home.rglob("*") if path.suffix in secret and "examples" not in path.parts
        }

    agents = {f"agent.{name}.creds" for name in ("researcher", "analyst", "surveyor", "writer", "checker")}
    assert found("work") == agents
    assert {name for name in found("hub") if not name.startswith("meta")} == {
        "provisioner.setup.creds",
        "orchestrator.main.creds",
        "server.key",
    }
