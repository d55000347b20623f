"""`consort plan make`: the plan for a goal, made and shown, and not carried out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from consort_bus.client import Client
from consort_orchestrator.cli.ending import DONE, FAILED
from consort_orchestrator.cli.following import view_for
from consort_orchestrator.cli.inputs import values_of
from consort_orchestrator.cli.opening import run_to_end
from consort_orchestrator.cli.options import (
    Place,
    Printer,
    agents_option,
    inputs_options,
    on_the_bus,
    printing,
)
from consort_orchestrator.cli.running import Order, carried_out, handed_in
from consort_orchestrator.cli.wording import counted, one_line
from consort_shared.entries import Granted
from consort_shared.errors import InvalidInput
from consort_shared.ids import new_run_id
from consort_shared.plan.check import check_inputs
from consort_shared.plan.expressions import texts_in
from consort_shared.plan.goals import plan_for_goal
from consort_shared.plan.model import DEFAULT_MAX_STEPS, Plan, Step
from consort_shared.plan.phrases import duration
from consort_shared.plan.source import LoadedPlan
from consort_shared.values import Json

_FORMATS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Task:
    """A step of a plan as somebody reads it who wants to know what will be done, by whom, and at what cost."""

    path: str
    skill: str
    agents: tuple[str, ...]
    needs: tuple[str, ...]
    inputs: dict[str, Json]
    input_schema: Json
    output_schema: Json
    timeout: float
    """seconds one attempt may take"""
    attempts: int
    repeats: str
    """how often it may be done, where it is not once"""


@click.command("make")
@click.argument("goal", metavar="GOAL")
@inputs_options
@agents_option("Agents to plan with; by default all that are installed.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the plan there: YAML, or .json."
)
@click.option(
    "--max-steps",
    type=click.IntRange(1, 10_000),
    default=DEFAULT_MAX_STEPS,
    show_default=True,
    help="How many steps the plan may have.",
)
@on_the_bus
@printing
def make(
    goal: str,
    pairs: tuple[str, ...],
    inputs_file: Path | None,
    agents: tuple[str, ...],
    out: Path | None,
    max_steps: int,
    place: Place,
    printer: Printer,
) -> int:
    """Have the plan for GOAL made, and show its tasks; nothing is carried out.

    Asked is whoever offers the skill `plan`. A plan that cannot be carried out goes
    back with the reasons; after three attempts this ends with 1.

    \b
    Examples:
      consort plan make "Write a report on the market" --input folder=sources
      consort plan make "Write a report on the market" --input folder=sources --out plan.yaml
      consort plan make "Write a report on the market" --agents writer,researcher --json
    """
    if out is not None and out.suffix.lower() not in _FORMATS:
        raise InvalidInput(f"{out}: the file of a plan ends in .yaml or .json")
    if out is not None and not out.parent.is_dir():
        raise InvalidInput(f"{out}: there is no folder {out.parent}")
    given = values_of(pairs, inputs_file)
    plan = plan_for_goal(goal, given, max_steps=max_steps, carry_out=False)
    order = Order(plan, check_inputs(plan, given), new_run_id(), place)
    view = view_for(replace(printer, quiet=True), False, to_stderr=True)

    async def pursue(client: Client, patience: float) -> int:
        picture = await handed_in(order, client, view, patience)
        finished = picture.run.finished
        if finished is None or finished.state != "completed":
            why = finished.why if finished is not None else "the run has not ended"
            printer.data({"ok": False, "run": order.run, "why": why})
            printer.say(f"no plan was made: {why}")
            return FAILED
        made = await client.outcome(order.run, finished)
        _tell(made, await _offers(client, order.run), out, printer)
        return DONE

    return run_to_end(carried_out(order, LoadedPlan(plan, {}, goal, "the goal"), agents, view, pursue))


async def _offers(client: Client, run: str) -> dict[str, Mapping[str, Any]]:
    """What the planner was told of, by skill."""
    found: dict[str, Mapping[str, Any]] = {}
    for logged in await client.entries(run):
        for fact in logged.entry.facts:
            if isinstance(fact, Granted):
                found = {offer["skill"]: offer for offer in fact.inputs.get("offers", ())}
    return found


def _tell(
    made: dict[str, Json], offers: Mapping[str, Mapping[str, Any]], out: Path | None, printer: Printer
) -> None:
    plan = Plan.model_validate(made)
    tasks = list(tasks_of(plan, offers))
    printer.data({"ok": True, "plan": made, "tasks": tasks})
    if out is not None:
        out.write_text(_written(made, out), encoding="utf-8")
        printer.note(str(out))
    if out is None or not printer.quiet:
        printer.say(f"{one_line(plan.name)}: {counted(len(tasks), 'task')}")
        for task in tasks:
            for line in _lines(task):
                printer.say(line)


def _written(made: dict[str, Json], out: Path) -> str:
    if out.suffix.lower() == ".json":
        return json.dumps(made, ensure_ascii=False, indent=1) + "\n"
    import yaml

    return str(yaml.safe_dump(made, sort_keys=False, allow_unicode=True))


def tasks_of(plan: Plan, offers: Mapping[str, Mapping[str, Any]]) -> Iterator[Task]:
    """The tasks of a plan, those inside blocks too, in plan order."""
    yield from _within(plan.steps, "", "", offers)


def _within(
    steps: Mapping[str, Step], above: str, around: str, offers: Mapping[str, Mapping[str, Any]]
) -> Iterator[Task]:
    for name, step in steps.items():
        path, repeats = f"{above}{name}", ", ".join(filter(None, [around, _repeats(step)]))
        if step.steps is not None:
            yield from _within(step.steps, f"{path}.", repeats, offers)
            continue
        offer = offers.get(step.skill or "", {})
        yield Task(
            path,
            step.skill or f"the steps of {step.plan}",
            tuple(agent["name"] for agent in offer.get("agents", ())),
            tuple(f"{above}{need}" for need in step.needs),
            step.with_,
            offer.get("input"),
            offer.get("output"),
            step.timeout,
            step.retry.attempts,
            repeats,
        )


def _repeats(step: Step) -> str:
    if step.repeat is not None:
        return f"at most {step.repeat.max} times"
    return "once per item" if step.for_each is not None else ""


def _lines(task: Task) -> Iterator[str]:
    needs = f", after {', '.join(task.needs)}" if task.needs else ""
    yield f"{task.path}: {one_line(task.skill)} ({', '.join(task.agents) or 'nobody yet'}){needs}"
    for name, value in task.inputs.items():
        shown = value if next(texts_in(value), None) is not None else json.dumps(value, ensure_ascii=False)
        kind = _kind(_field(task.input_schema, name))
        yield f"    takes  {name}{f' ({kind})' if kind else ''}: {one_line(str(shown), 80)}"
    yield f"    gives  {_gives(task.output_schema)}"
    often = f", {task.repeats}" if task.repeats else ""
    yield f"    limit  {duration(task.timeout)} an attempt, {counted(task.attempts, 'attempt')}{often}"


def _field(schema: Json, name: str) -> Json:
    return ((schema or {}).get("properties") or {}).get(name) or {}


def _gives(schema: Json) -> str:
    fields = (schema or {}).get("properties") or {}
    if not fields:
        return _kind(schema or {}) or "anything"
    return ", ".join(f"{name} ({kind})" if (kind := _kind(part)) else name for name, part in fields.items())


def _kind(schema: Json) -> str:
    """The type of a value in a word."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(filter(None, (_kind(part) for part in schema["anyOf"])))
    kind = str(schema.get("type", ""))
    inner = _kind(schema["items"]) if kind == "array" and isinstance(schema.get("items"), dict) else ""
    return f"{kind} of {inner}" if inner else kind
