"""`consort retry`: a run that failed goes on where it failed."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import click

from consort_bus.client import Client
from consort_orchestrator.cli.ending import DONE, TimedOut
from consort_orchestrator.cli.follow import Picture
from consort_orchestrator.cli.inputs import check_reference, values_of
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, inputs_options, on_the_bus, printing
from consort_orchestrator.cli.orders import PATIENCE, ROLE, heard, require_owner
from consort_orchestrator.cli.wording import in_words, listed
from consort_orchestrator.core import Phase, Role
from consort_shared.entries import Fact, Granted, Reopened
from consort_shared.errors import InvalidInput
from consort_shared.values import Json, pick


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("step", metavar="[STEP]", default="")
@inputs_options
@on_the_bus
@printing
def retry(
    run: str, step: str, pairs: tuple[str, ...], inputs_file: Path | None, place: Place, printer: Printer
) -> int:
    """Try the failed steps of RUN again, or one, with all that could not start because of them.

    What is done stays done. With --input the step is given other inputs than the last
    time; those that are not named stay as they were.

    \b
    Examples:
      consort retry last
      consort retry last report
      consort retry 0194f2 each[3] --input url=https://example.org
    """
    check_reference(run)
    given = values_of(pairs, inputs_file)
    if given and not step:
        raise click.UsageError("inputs are those of one step: name it")
    return run_to_end(_retry(run, step, given, place, printer))


async def _retry(text: str, step: str, given: dict[str, Json], place: Place, printer: Printer) -> int:
    async with client_of(place, role=ROLE) as client:
        picture = Picture.of(await resolved(client, place, text))
        grants: dict[str, Granted] = {}
        for logged in await client.entries(picture.run.id):
            picture.take(logged)
            grants |= {fact.path: fact for fact in logged.entry.facts if isinstance(fact, Granted)}
        require_owner(client, picture)
        _require_failed(picture, step)
        inputs = await _inputs(client, picture, grants[step], given) if given and step in grants else None
        asked = await client.retry(picture.run.id, step, inputs)
        again: list[str] = []

        def take(fact: Fact) -> bool:
            if isinstance(fact, Reopened):
                again.append(fact.path)
                printer.say(in_words(fact))
            return isinstance(fact, Reopened)

        if not await heard(client, picture, asked, take):
            raise TimedOut(
                f"run {picture.run.id} is asked to go on, but no orchestrator has judged that within "
                f"{PATIENCE:g} s; the next that comes will"
            )
    run = picture.run.id
    printer.note(f"to see it: consort watch {run[:12]}")
    printer.data({"run": run, "state": picture.state, "reopened": again, "inputs": inputs})
    return DONE


def _require_failed(picture: Picture, step: str) -> None:
    """Raises InvalidInput where it is plain from the log that there is nothing to try again."""
    run = picture.run
    failed = [
        node.path for node in run.nodes.values() if node.phase is Phase.FAILED and node.role is Role.TASK
    ]
    finished = run.finished
    if finished is not None and finished.state != "failed":
        raise InvalidInput(f"run {run.id} cannot be tried again: it is {finished.state}")
    node = run.nodes.get(step) if step else None
    if not failed and (node is None or node.phase is not Phase.FAILED):
        raise InvalidInput(f"run {run.id} has no step that failed; it is {picture.state}")
    if step and node is None:
        raise InvalidInput(f"run {run.id} has no step {step!r}; failed have {listed(failed)}")
    if node is not None and node.phase is not Phase.FAILED:
        raise InvalidInput(f"{step} has not failed, it is {node.phase.value}; failed have {listed(failed)}")


async def _inputs(client: Client, picture: Picture, last: Granted, given: dict[str, Json]) -> dict[str, Json]:
    """The inputs of the step's last attempt, whole, with those that are given in place of theirs."""
    inputs: dict[str, Json] = deepcopy(last.inputs)
    for hole in last.holes:
        if hole.at[0] not in given:
            await _fill(client, picture, inputs, hole.at, hole.prior, hole.path)
    return {**inputs, **given}


async def _fill(
    client: Client,
    picture: Picture,
    inputs: Json,
    at: tuple[str | int, ...],
    prior: str,
    path: tuple[str | int, ...],
) -> None:
    node = picture.run.nodes.get(prior)
    if node is None or node.output is None:
        raise InvalidInput(f"the input {at[0]} comes from {prior}, of which there is no result; give it too")
    container = inputs
    for part in at[:-1]:
        container = container[part]
    container[at[-1]] = pick(await client.value_of(node.output), path)
