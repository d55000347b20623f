"""`consort effects`: what a run did outside, and a person's answer where nobody knows."""

from __future__ import annotations

import json
from typing import Any

import click

from consort_bus.client import Client
from consort_orchestrator.cli.ending import DONE, TimedOut
from consort_orchestrator.cli.groups import WithUsual
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.ledger import Line, effects_of
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.orders import PATIENCE, ROLE, heard, picture_of, require_owner
from consort_orchestrator.cli.wording import in_words, listed, moment, output_text, speaker
from consort_shared.entries import EffectSettled, Fact, Granted, Reopened
from consort_shared.errors import InvalidInput
from consort_shared.values import INLINE_LIMIT, Json, canonical


@click.group(cls=WithUsual)
def effects() -> None:
    """What RUN did outside, and what nobody knows of.

    An effect is what a skill does under `once`: it is on record before it is done and
    after. Where a process died in between, a person is asked whether it happened.

    \b
    Examples:
      consort effects last
      consort effects resolve last charge charge-card --redo
    """


@effects.command(name="list")
@click.argument("run", metavar="RUN")
@on_the_bus
@printing
def list_(run: str, place: Place, printer: Printer) -> None:
    """The effects of RUN: step, key, what became of each, and who said so.

    \b
    Examples:
      consort effects list last
      consort effects last --json | jq '.[] | select(.state == "in doubt")'
    """
    check_reference(run)

    async def read() -> tuple[str, list[Line]]:
        async with client_of(place) as client:
            found = await resolved(client, place, run)
            return found, await ledger_of(client, found)

    found, lines = run_to_end(read())
    printer.data([_line_data(line) for line in lines])
    if not lines:
        printer.note("no effect of this run is on record")
    for line in lines:
        tries = f", {line.tries} times" if line.tries > 1 else ""
        printer.say(f"{line.path}  {line.key}  {line.state}  begun by {line.agent}, task {line.task}{tries}")
        if line.by:
            given = f": {output_text(line.output, 160)}" if line.output is not None else ""
            printer.say(f"  says {speaker(line.by)} at {moment(line.at)}{given}")
        elif line.state == "in doubt":
            printer.say(f"  did it happen? {answer_command(found, line.path, line.key)}")


def answer_command(run: str, path: str, key: str) -> str:
    return f"consort effects resolve {run[:12]} {path} {key} --done or --redo"


@effects.command()
@click.argument("run", metavar="RUN")
@click.argument("step", metavar="STEP")
@click.argument("key", metavar="KEY")
@click.option("--done", is_flag=True, help="It happened.")
@click.option("--redo", is_flag=True, help="It did not happen; the next attempt does it.")
@click.option("--value", metavar="JSON", help="What it gave, with --done; what is no JSON is text.")
@on_the_bus
@printing
def resolve(
    run: str, step: str, key: str, done: bool, redo: bool, value: str | None, place: Place, printer: Printer
) -> int:
    """Say whether the effect KEY of STEP in RUN happened. Look outside before you answer.

    \b
    Examples:
      consort effects resolve last charge charge-card --done --value '{"receipt": 17}'
      consort effects resolve 0194f2 mail[3] send --redo
    """
    check_reference(run)
    if done == redo:
        raise click.UsageError("say either --done or --redo")
    if value is not None and not done:
        raise click.UsageError("--value goes with --done: it is what the effect gave")
    return run_to_end(_resolve(run, step, key, redo, _given(value), place, printer))


def _given(text: str | None) -> Json:
    if text is None:
        return None
    try:
        value: Json = json.loads(text)
        size = len(canonical(value))
    except ValueError as exc:
        if text.lstrip()[:1] in ("{", "[", '"'):
            # The answer counts for good: what was to be JSON must not pass as text.
            raise InvalidInput(
                f"--value is no JSON: {exc}; if it is meant as text, write {json.dumps(text)!r}"
            ) from exc
        value, size = text, len(text.encode())
    if size > INLINE_LIMIT:
        raise InvalidInput(f"--value has {size} bytes, at most {INLINE_LIMIT} are taken")
    return value


async def ledger_of(client: Client, run: str) -> list[Line]:
    """A run's effects. Raises UnknownRun, BusError."""
    entries = await client.entries(run)
    return effects_of((logged.entry.at, fact) for logged in entries for fact in logged.entry.facts)


async def _resolve(
    text: str, step: str, key: str, redo: bool, value: Json, place: Place, printer: Printer
) -> int:
    async with client_of(place, role=ROLE) as client:
        run = await resolved(client, place, text)
        picture = await picture_of(client, run)
        require_owner(client, picture)
        line = _open_line(await ledger_of(client, run), run, step, key)
        asked = await client.resolve(run, step, key, "redo" if redo else "done", value, id=line.id)
        follows: list[Fact] = []

        def take(fact: Fact) -> bool:
            ours = isinstance(fact, (EffectSettled, Granted, Reopened)) and fact.path == step
            if ours:
                follows.append(fact)
                printer.say(in_words(fact))
            return isinstance(fact, EffectSettled) and fact.path == step and fact.key == key

        if not await heard(client, picture, asked, take):
            raise TimedOut(
                f"the answer is handed in, but no orchestrator has judged it within {PATIENCE:g} s"
            )
    printer.data(
        {"run": run, "path": step, "key": key, "verdict": "redo" if redo else "done", "state": picture.state}
    )
    return DONE


def _open_line(lines: list[Line], run: str, step: str, key: str) -> Line:
    """The effect that is not settled. Raises InvalidInput when it is settled or not on record."""
    line = next((line for line in lines if (line.path, line.key) == (step, key)), None)
    if line is None:
        known = [f"{one.key} of {one.path}" for one in lines if one.state in ("begun", "in doubt")]
        there = f"; not settled: {listed(known)}" if known else "; none is in doubt"
        raise InvalidInput(f"run {run} has no effect {key!r} of step {step!r} on record{there}")
    if line.state in ("done", "undone"):
        became = "is done" if line.state == "done" else "did not happen"
        raise InvalidInput(f"{key} of {step} {became} already, says {speaker(line.by)}")
    return line


def _line_data(line: Line) -> dict[str, Any]:
    return {
        "path": line.path,
        "key": line.key,
        "state": line.state,
        "agent": line.agent,
        "instance": line.instance,
        "task": line.task,
        "tries": line.tries,
        "by": line.by,
        "at": line.at,
        "output": line.output,
    }
