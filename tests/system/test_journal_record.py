"""`consort journal`: what a run asked, as people see it and as a record from which it is run again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from system_kit import System, until

pytestmark = pytest.mark.slow

SCRIPT = """
rules:
  - {name: first, when: {turn: 1}, answer: "Tea is a leaf. Ask ann@example.org."}
  - {name: second, when: {turn: 2}, answer: "Then it is dried."}
  - {name: third, when: {turn: 3}, answer: "That is all."}
"""
PLAN: dict[str, Any] = {
    "steps": {"talk": {"skill": "call.model", "with": {"topic": "tea"}}},
    "output": "${{ steps.talk.output }}",
}
TOLD = ["Tea is a leaf. Ask ann@example.org.", "Then it is dried.", "That is all."]


def command(
    system: System, *words: str, module: str = "consort_orchestrator.cli"
) -> subprocess.CompletedProcess[str]:
    place = ["--folder", str(system.folder)] if module == "consort_orchestrator.cli" else []
    done = [sys.executable, "-m", module, *words, *place]
    return subprocess.run(done, capture_output=True, text=True, timeout=60, check=False)


def listed(system: System, run: str, *more: str) -> Any:
    done = command(system, "journal", run, "--json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def recorded(system: System, tmp_path: Path) -> tuple[str, Path]:
    """A run with a scripted model, killed after its first answer, and the record of it."""
    script = tmp_path / "rules.yaml"
    script.write_text(SCRIPT)
    system.orchestrator()
    armed = {"CONSORT_MODEL": f"scripted:{script}", "CONSORT_FAILPOINT": "call-answered:1"}
    first = system.agent("caller", "callers.py", env=armed)
    run = await system.run(PLAN)
    await until(lambda: not first.running, 20)
    second = system.agent("caller", "callers.py", env={"CONSORT_MODEL": f"scripted:{script}"})
    assert await system.client.result(run, timeout=60) == TOLD
    assert second.stop() == 0
    file = tmp_path / "calls.jsonl"
    done = command(system, "journal", "export", run, "--out", str(file))
    assert done.returncode == 0, done.stderr
    assert "1 answer can be read only by caller" in done.stderr
    return run, file


async def test_a_recorded_run_is_run_again_from_its_record(system: System, tmp_path: Path) -> None:
    """J15: no model is there any more; the answers come from the record, and a difference is named at once."""
    run, file = await recorded(system, tmp_path)
    [task] = listed(system, run)
    assert (task["step"], task["agent"], task["processes"]) == ("talk", "caller", 2)
    assert [call["state"] for call in task["calls"]] == ["replayed", "answered", "answered"]
    assert [call["sealed"] for call in task["calls"]] == [True, False, False]
    assert task["calls"][1]["tokens"] > 0
    shown = command(system, "journal", run).stdout
    assert f"talk  caller  task {task['task']}: 3 calls, 2 processes" in shown
    assert "ann@example.org" not in shown + file.read_text()
    assert listed(system, run, "--task", task["task"]) == [task]

    sealed = system.agent("caller", "callers.py", env={"CONSORT_MODEL": f"replay:{file}"})
    with pytest.raises(Exception, match=r"the answer to call 1 of talk .* is sealed"):
        await system.client.result(await system.run(PLAN), timeout=60)
    assert sealed.stop() == 0

    creds = system.creds("agent", "caller")
    opened = command(system, "unseal", str(file), "--creds", creds, module="consort_agents.journal")
    assert opened.stdout == f"1 answers opened: {file}\n", opened.stderr

    again = system.agent("caller", "callers.py", env={"CONSORT_MODEL": f"replay:{file}"})
    assert await system.client.result(await system.run(PLAN), timeout=60) == TOLD
    assert again.stop() == 0

    drifting = {"CONSORT_MODEL": f"replay:{file}", "WORDS": "Lie to me"}
    system.agent("caller", "callers.py", env=drifting)
    drift = (
        r"agent caller asks something else than call 1 of talk .*: differs in messages\[0\]; now .*Lie to me"
    )
    with pytest.raises(Exception, match=drift):
        await system.client.result(await system.run(PLAN), timeout=60)


async def test_a_whole_run_is_rehearsed_without_touching_anything(system: System, tmp_path: Path) -> None:
    """J15: tools, the time and random numbers too; and what is not recorded fails the task at once."""
    system.orchestrator()
    agent = system.agent("caller", "callers.py")
    plan = {
        "steps": {"it": {"skill": "call.plain", "with": {"count": 3}}},
        "output": "${{ steps.it.output }}",
    }
    run = await system.run(plan)
    assert await system.client.result(run, timeout=60) == ["q1", "q2", "q3"]
    assert agent.stop() == 0
    file = tmp_path / "calls.jsonl"
    done = command(system, "journal", "export", run, "--out", str(file), "--json")
    assert json.loads(done.stdout)["calls"] == 4, done.stderr
    agent = system.agent("caller", "callers.py", env={"CONSORT_REPLAY": str(file)})
    assert await system.client.result(await system.run(plan), timeout=60) == ["q1", "q2", "q3"]
    assert len(system.marked("asked")) == 3
    started = [line.split()[2] for line in system.marked("start")]
    assert len(started) == 2
    assert started[0] == started[1]
    assert agent.stop() == 0
    agent = system.agent("caller", "callers.py", env={"CONSORT_REPLAY": str(file)})
    more = {"steps": {"it": {"skill": "call.plain", "with": {"count": 4}}}}
    with pytest.raises(Exception, match=r"replay-drift: .*asks for more than was recorded of kind tool: .*4"):
        await system.client.result(await system.run(more), timeout=60)
    assert len(system.marked("asked")) == 3


@pytest.mark.long
async def test_what_cannot_be_shown_is_told(system: System, tmp_path: Path) -> None:
    system.orchestrator()
    system.agent("worker")
    run = await system.run({"steps": {"one": {"skill": "text.make", "with": {"name": "a"}}}})
    await system.client.result(run, timeout=60)
    none = command(system, "journal", run)
    assert (none.returncode, none.stdout) == (0, "")
    assert "no call of this run is on record" in none.stderr
    unknown = command(system, "journal", run, "--task", "9-9")
    assert unknown.returncode == 2
    assert "has no task '9-9'" in unknown.stderr
    wrong = command(system, "journal", run, "--server", system.url, "--creds", system.creds("client", "me"))
    assert wrong.returncode == 2
    assert "credentials of an operator" in wrong.stderr
