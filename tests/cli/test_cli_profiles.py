"""Profiles and costs on the command line of a live system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import HERE, Ended, consort, started, until

pytestmark = pytest.mark.slow

THINKER = f"{HERE / 'thinker.py'}:agent"
PLAN = """
name: thinking
steps:
  a: {skill: thinker.think, with: {cost: 1500000}}
  b: {skill: thinker.think, needs: [a], with: {cost: 0}}
  c: {skill: thinker.compute, needs: [b]}
output: ${{ steps.a.output }}
"""


class Here:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str) -> Ended:
        return consort(self.folder, *arguments)

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return name

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.code == 0, done.err
        return done.json


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder = tmp_path_factory.mktemp("profiles")
    with started(folder, "up", "--agents", THINKER, name="up") as up:
        up.until_says("ready; Ctrl-C stops everything", 60)
        yield Here(folder)


def test_a_file_is_checked_with_line_and_remedy(here: Here) -> None:
    """J9: validation before anything is set."""
    bad = here.file("bad.toml", 'rolle = "x"\n\n[limits]\nturns = 0\n')
    checked = here("profile", "check", bad)
    assert checked.code == 2
    assert "bad.toml: line 1, rolle: unknown key `rolle`; did you mean `role`?" in checked.out
    assert "bad.toml: line 4, limits.turns: must be at least 1, is 0" in checked.out
    refused = here("profile", "set", "thinker", bad)
    assert (refused.code, refused.out) == (2, "")
    assert "line 4, limits.turns" in refused.err
    assert here("profile", "set", "No One", bad).code == 2
    secret = here.file("secret.yaml", "background: the password is sk-abcdefghijklmnop1234567890\n")
    doubted = here("profile", "check", secret)
    assert doubted.code == 0
    assert "background: something in it looks like a key" in doubted.out
    assert "sk-abc" not in doubted.out
    assert here("profile", "check", "none.toml").code == 2


def test_set_show_history_rollback_and_conflicts(here: Here) -> None:
    """S80, J9: history, rollback, conflicts of two at once; people see who agents are."""
    own = here.json("profile", "show", "thinker")
    assert own["revision"] == 0
    assert own["own"]["role"] == "a thinker"
    assert "it brings itself" in here("profile", "show", "thinker").out
    one = here.file("one.toml", 'role = "a short thinker"\ngoal = "Be brief."\n')
    two = here.file("two.yaml", "role: a long thinker\ngoal: Be brief.\nlimits: {turns: 3}\n")
    first = here.json("profile", "set", "thinker", one, "--why", "too long")
    assert first["orchestrators"]
    assert first["known"]
    assert (first["changed"], first["before"]) == (["role", "goal"], 0)
    told = here("profile", "set", "thinker", two, "--expect", str(first["revision"]))
    assert told.code == 0, told.err
    assert told.out.splitlines()[:2] == ['-role = "a short thinker"', '+role = "a long thinker"']
    assert "from the next tasks on; main has it" in told.out
    second = here.json("profile", "show", "thinker")["revision"]
    assert here.json("profile", "set", "thinker", two)["same"]
    conflict = here("profile", "set", "thinker", one, "--expect", str(first["revision"]))
    assert conflict.code == 2
    assert f"not at revision {first['revision']} but at revision {second}, set by person.me" in conflict.err
    third = here.json("profile", "rollback", "thinker", str(first["revision"]), "--why", "too short")
    history = here.json("profile", "history", "thinker")
    assert [one["revision"] for one in history] == [third["revision"], second, first["revision"]]
    assert (history[0]["back_to"], history[0]["why"], history[0]["by"]) == (
        first["revision"],
        "too short",
        "person.me",
    )
    assert "back to" in here("profile", "history", "thinker").out.splitlines()[0]
    shown = here("profile", "show", "thinker").out
    again = here.file("again.toml", shown)  # what is shown is a file that can be set
    assert here.json("profile", "set", "thinker", again)["same"]
    assert here("profile", "show", "thinker", "--revision", "99999").code != 0
    assert here("profile", "rollback", "thinker", "99999").code == 2
    [agent] = here.json("agents")
    assert agent["profile"] == {
        "role": "a short thinker", "goal": "Be brief.", "version": str(third["revision"]), "set": True,
    }  # fmt: skip
    assert f"profile {third['revision']}: a short thinker, set on the bus" in here("agents").out
    assert here.json("profile", "rollback", "thinker", "0")["revision"] > third["revision"]
    assert here.json("agents")[0]["profile"]["version"] == own["own"]["version"]


def test_an_agent_that_nobody_knows_is_said_to_be_unknown(here: Here) -> None:
    one = here.file("some.toml", 'role = "somebody"\n')
    done = here("profile", "set", "stranger", one)
    assert done.code == 0
    assert "no agent 'stranger' has ever been on this bus" in done.err
    assert {"stranger", "thinker"} <= {one["agent"] for one in here.json("profile", "list")}
    assert "(not there)" in here("profile", "list").out
    assert here("profile", "show", "nobody").code == 2
    assert "nobody has set" in here("profile", "history", "nobody").err


def test_what_a_run_has_cost_is_told_of_each_step_and_of_all(here: Here) -> None:
    """Money and tokens for each step and in all; what has no price is said, what computes is not mentioned."""
    plan = here.file("plan.yaml", PLAN)
    run = here("submit", plan).out.strip()
    until(lambda: here.json("show", run)["state"] == "completed", 30)
    shown = here.json("show", run)
    steps = {step["path"]: step["usage"] for step in shown["steps"]}
    assert (steps["a"]["cost"], steps["a"]["dollars"]) == (1_500_000, 0.0015)
    assert (steps["b"]["unpriced"], steps["c"]["calls"]) == (1, 0)
    assert shown["usage"]["calls"] == 2
    assert shown["agents"]["thinker"]["usage"] == shown["usage"]
    text = " ".join(here("show", run).out.split())  # as wide as it may be
    assert "$0.0015, 2 model calls, 2.2k tokens in (1.0k from a cache), 200 out, 1 of them unpriced" in text
    assert "$0.0015, 1.2k tokens" in text
    assert "unpriced, 1.2k tokens" in text
    lines = here("log", run).out
    assert "a is done by thinker in " in lines
    assert "$0.0015, 1.2k tokens" in lines
    [line] = [line for line in lines.splitlines() if "c is done" in line]
    assert "token" not in line
