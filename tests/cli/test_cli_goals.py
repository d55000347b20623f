"""Goals in words on the command line: planned first, or only planned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_kit import CREW, HELPER, consort

from consort_orchestrator.cli.goals import loaded, plans_first
from consort_orchestrator.cli.making import tasks_of
from consort_orchestrator.cli.wording import in_words
from consort_shared.entries import Opened
from consort_shared.errors import InvalidInput
from consort_shared.plan.goals import LONGEST, is_goal, plan_for_goal
from consort_shared.plan.model import Plan

GOAL = "Join the words"
SOURCES = str(Path(__file__).parents[2] / "examples" / "market-analysis" / "sources")
QUESTION = "Which systems lead, where is the market moving, and what does none of them do well?"


@pytest.mark.slow
def test_run_a_goal_without_a_plan(tmp_path: Path) -> None:
    """S15, A3: an installed planner is found and started, the named agents do what it plans."""
    done = consort(tmp_path, "run", GOAL, "--agents", f"{CREW},{HELPER}", "--json")
    assert done.code == 0, done.err
    assert done.json["output"] == GOAL
    assert set(done.json["agents"]) == {"planner", "crew", "helper"}
    shown = consort(tmp_path, "show", "last", "--json").json
    assert [step["path"] for step in shown["steps"]] == ["plan", "work", "work.words", "work.join"]


@pytest.mark.long
@pytest.mark.timeout(180)
def test_the_market_analysis_without_its_plan(tmp_path: Path) -> None:
    """S15, S7, A3: the shipped agents answer the example's question, and nobody gave them a plan."""
    done = consort(tmp_path, "run", QUESTION, "--input", f"sources={SOURCES}", "--json")
    assert done.code == 0, done.err
    report = done.json["output"]["report"]
    assert "## Summary" in report
    assert "62 of 105" in report
    assert set(done.json["agents"]) == {"planner", "researcher", "analyst", "surveyor", "writer", "checker"}


@pytest.mark.slow
def test_make_a_plan_and_carry_it_out_later(tmp_path: Path) -> None:
    """S15: a typed list of tasks; what is written is a plan as any other."""
    made = consort(tmp_path, "plan", "make", GOAL, "--agents", f"{CREW},{HELPER}", "--json")
    assert made.code == 0, made.err
    tasks = {task["path"]: task for task in made.json["tasks"]}
    assert list(tasks) == ["words", "join"]
    assert tasks["join"]["skill"] == "helper.join"
    assert tasks["join"]["agents"] == ["helper"]
    assert tasks["join"]["needs"] == ["words"]
    assert tasks["join"]["inputs"] == {"words": "${{ steps.words.output }}"}
    assert tasks["join"]["output_schema"]["type"] == "string"
    assert (tasks["join"]["timeout"], tasks["join"]["attempts"]) == (900.0, 3)
    told = consort(tmp_path, "plan", "make", GOAL, "--agents", f"{CREW},{HELPER}", "--out", "made.yaml")
    assert "join: helper.join (helper), after words" in told.out
    assert "    takes  words (array of string): ${{ steps.words.output }}" in told.out
    assert yaml.safe_load((tmp_path / "made.yaml").read_text()) == made.json["plan"]
    ran = consort(tmp_path, "run", "made.yaml", "--agents", f"{CREW},{HELPER}", "--json")
    assert ran.json["output"] == GOAL


@pytest.mark.slow
def test_a_goal_that_nothing_serves(tmp_path: Path) -> None:
    """S15: it ends with the reason, and nothing was carried out."""
    made = consort(tmp_path, "plan", "make", "Bake bread", "--agents", HELPER)
    assert made.code == 1
    assert "no plan was made" in made.out
    assert "nothing that is on offer has to do with the goal" in made.out
    small = consort(
        tmp_path, "plan", "make", GOAL, "--agents", f"{CREW},{HELPER}", "--max-steps", "1", "--json"
    )
    assert small.code == 1
    assert "2 steps; at most 1 are allowed here" in small.json["why"]


@pytest.mark.slow
def test_submit_a_goal(tmp_path: Path) -> None:
    done = consort(tmp_path, "submit", GOAL, "--input", "n=3", "--json")
    assert done.code == 0, done.err
    again = consort(tmp_path, "submit", GOAL, "--input", "n=3", "--run", done.json["run"], "--json")
    assert again.json == done.json


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("run", "nowhere.yaml"), "there is no file nowhere.yaml: a plan is a file, a goal is a sentence"),
        (("run", " "), "nothing was named: a plan is a file, a goal is a sentence"),
        (("plan", "make", "bake bread", "--out", "no/such/plan.yaml"), "there is no folder no/such"),
        (("run", "my old plan.yaml"), "there is no file my old plan.yaml"),
        (("submit", "summarise"), "there is no file summarise"),
        (("run", ""), "nothing was named"),
        (("run", "."), "is a directory"),
        (("run", "two words", "--input", "goal=x"), "the input `goal` is the goal itself"),
        (("submit", "two words", "--goal", "x"), "--goal says what a plan is for"),
        (("plan", "make", " "), "a goal is a sentence of up to"),
        (("plan", "make", "two " * LONGEST), "a goal is a sentence of up to"),
        (("plan", "make", "two words", "--out", "plan.txt"), "ends in .yaml or .json"),
        (("run", "two words", "--input", "no value"), "write NAME=VALUE"),
    ],
)
def test_what_is_neither_a_plan_nor_a_goal(tmp_path: Path, arguments: tuple[str, ...], why: str) -> None:
    ended = consort(tmp_path, *arguments)
    assert ended.code == 2
    assert why in ended.err


def test_a_file_is_a_plan_whatever_it_is_called(tmp_path: Path) -> None:
    file = tmp_path / "two words"
    file.write_text("name: x\nsteps: {a: {skill: s}}\n")
    found, inputs = loaded(str(file), (), None)
    assert (found.plan.name, inputs) == ("x", {})
    assert not plans_first(found.plan)
    found, inputs = loaded("write it down", ("n=3",), None)
    assert plans_first(found.plan)
    assert inputs == {"goal": "write it down", "n": 3}


def test_goals_and_names() -> None:
    assert is_goal("Write a report")
    assert not is_goal("report")
    assert not is_goal("old plan.yml")
    with pytest.raises(InvalidInput):
        plan_for_goal("  ")


def test_in_words() -> None:
    plan = Plan.model_validate({"name": "tea", "steps": {"a": {"skill": "s"}, "b": {"skill": "s"}}})
    fact = Opened(path="work", plan=plan, inputs={"n": 1})
    assert in_words(fact) == "work begins with the plan tea, 2 steps"
    assert in_words(fact, full=True) == 'work begins with the plan tea, 2 steps with {"n": 1}'


def test_tasks_inside_blocks_and_of_plans_to_come() -> None:
    steps: dict[str, Any] = {
        "plan": {"skill": "plan", "returns": "plan"},
        "block": {"needs": ["plan"], "repeat": {"until": "false", "max": 2}, "steps": {"a": {"skill": "s"}}},
        "work": {"plan": "${{ steps.plan.output }}", "needs": ["plan"], "for_each": {"items": [1]}},
    }
    tasks = list(tasks_of(Plan.model_validate({"name": "x", "steps": steps}), {}))
    assert [(task.path, task.skill, task.repeats) for task in tasks] == [
        ("plan", "plan", ""),
        ("block.a", "s", "at most 2 times"),
        ("work", "the steps of ${{ steps.plan.output }}", "once per item"),
    ]
    assert json.dumps([task.inputs for task in tasks]) == "[{}, {}, {}]"
