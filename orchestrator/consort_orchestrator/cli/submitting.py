"""Handing in runs, and fetching what came of them."""

from __future__ import annotations

import os
from pathlib import Path

import click

from consort_bus.client import Client
from consort_orchestrator.cli import goals, summary
from consort_orchestrator.cli.ending import DONE, FAILED, TimedOut
from consort_orchestrator.cli.follow import Picture
from consort_orchestrator.cli.following import follow, view_for
from consort_orchestrator.cli.inputs import check_new_id, check_reference
from consort_orchestrator.cli.opening import client_of, remember, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, as_json, inputs_options, on_the_bus, printing
from consort_orchestrator.cli.results import save_results
from consort_shared.entries import Finished, Reopened, Submitted
from consort_shared.errors import InvalidInput, PlanError, UnknownRun
from consort_shared.ids import new_run_id
from consort_shared.plan.check import check, check_inputs
from consort_shared.plan.model import Plan
from consort_shared.telemetry.contexts import CLIENT_SERVICE
from consort_shared.telemetry.tracing import exported
from consort_shared.values import Json


@click.command()
@click.argument("plan", metavar="PLAN|GOAL")
@inputs_options
@click.option("--goal", default="", help="What the run is for, in words.")
@click.option("--run", "run_id", metavar="ID", help="A run id of your own making: repeating it does nothing.")
@click.option("--wait", is_flag=True, help="Show the run until it ends.")
@on_the_bus
@printing
def submit(
    plan: str,
    pairs: tuple[str, ...],
    inputs_file: Path | None,
    goal: str,
    run_id: str | None,
    wait: bool,
    place: Place,
    printer: Printer,
) -> int:
    """Hand in PLAN as a run and print its id.

    The run is safe once this returns, whether or not an orchestrator is up: the next
    one takes it up. Instead of a plan's file a GOAL in words may be given, which is
    planned first, by whoever offers the skill `plan`.

    \b
    Examples:
      consort submit plan.yaml --input topic=tea
      consort submit plan.yaml --wait
      consort submit plan.yaml --run 01a2051b2684838736fbd7b316bc8241   (again, after a doubt)
      consort submit "Sum up what customers wrote" --inputs letters.json
    """
    loaded, inputs = goals.loaded(plan, pairs, inputs_file)
    checked = loaded.plan
    if faults := check(checked, lines=loaded.lines):
        raise PlanError(faults, loaded.source)
    if goal and goals.plans_first(checked) and checked.goal == plan:
        raise InvalidInput("--goal says what a plan is for; a goal in words says it itself")
    again = run_id is not None
    run = check_new_id(run_id) if run_id is not None else new_run_id()
    return run_to_end(_submit(checked, inputs, goal, run, again, wait, place, printer))


async def _submit(
    plan: Plan,
    inputs: dict[str, Json],
    goal: str,
    run: str,
    again: bool,
    wait: bool,
    place: Place,
    printer: Printer,
) -> int:
    async with client_of(place, looking=False) as client:
        if again:
            await _require_same(client, run, plan, inputs)
        async with exported(CLIENT_SERVICE, str(os.getpid())):
            await client.submit(plan, inputs, goal=goal, run=run)
        remember(place, run)
        if not wait:
            printer.say(run)
            printer.data({"run": run})
            return DONE
        printer.note(f"run {run}")
        picture = await follow(client, run, view_for(printer, None, to_stderr=True))
        output = await _output(client, picture)
        printer.say(summary.as_text(picture, output, [], reference=run[:12]))
        printer.data(summary.as_data(picture, output, []))
        return DONE if picture.state == "completed" else FAILED


async def _require_same(client: Client, run: str, plan: Plan, inputs: dict[str, Json]) -> None:
    """Raises InvalidInput when a run of this id was handed in with something else: it would be refused later."""
    try:
        first = (await client.entries(run))[0].entry
    except UnknownRun:
        return
    for fact in first.facts:
        same = isinstance(fact, Submitted) and (fact.plan, fact.inputs) == (plan, check_inputs(plan, inputs))
        if isinstance(fact, Submitted) and not same:
            raise InvalidInput(
                f"run {run} exists already, with another plan or other inputs: leave --run out"
            )


async def _output(client: Client, picture: Picture) -> Json:
    finished = picture.run.finished
    if finished is None or finished.state != "completed":
        return None
    return await client.outcome(picture.run.id, finished)


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write the result's files there."
)
@click.option("--wait", is_flag=True, help="Wait for the run to end.")
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer than that.")
@on_the_bus
@printing
def result(
    run: str, out: Path | None, wait: bool, timeout: float | None, place: Place, printer: Printer
) -> None:
    """The result of RUN: its id, the beginning of it, or `last`.

    Prints text as it is and everything else as JSON. Ends with 1 if the run failed
    or was cancelled, and with 4 if it has not ended (in time).

    \b
    Examples:
      consort result last
      consort result last --out results
      consort result 0194f2 --wait --timeout 60
    """
    check_reference(run)
    run_to_end(_result(run, out, wait or timeout is not None, timeout, place, printer))


async def _result(
    text: str, out: Path | None, wait: bool, timeout: float | None, place: Place, printer: Printer
) -> None:
    async with client_of(place) as client:
        run = await resolved(client, place, text)
        output = await _ended(client, run, wait, timeout)
        files = [] if out is None else await save_results(output, out, client.artefacts)
        printer.data(output)
        if files:
            for file in files:
                printer.note(str(file))
        else:
            printer.say(output if isinstance(output, str) else as_json(output, indent=2))


async def _ended(client: Client, run: str, wait: bool, timeout: float | None) -> Json:
    if wait:
        try:
            return await client.result(run, timeout=timeout)
        except TimeoutError as exc:
            raise TimedOut(f"run {run} has not ended within {timeout:g} seconds") from exc
    finished: Finished | None = None
    for logged in await client.entries(run):
        for fact in logged.entry.facts:
            if isinstance(fact, (Finished, Reopened, Submitted)):
                finished = fact if isinstance(fact, Finished) else None
    if finished is not None:
        return await client.outcome(run, finished)
    raise TimedOut(f"run {run} has not ended yet; --wait waits for it")
