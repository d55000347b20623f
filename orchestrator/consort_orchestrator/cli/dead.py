"""`consort dead`: messages that were set aside; looked at, judged again, or dropped.

One or many at a time: each that cannot be done is told with the reason, the others
are done all the same.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from consort_bus.letters import KINDS, Letter
from consort_bus.operator import Operator, Redrove
from consort_orchestrator.cli.ending import DONE, FAILED, code_of
from consort_orchestrator.cli.groups import WithUsual
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.letters import as_row, described, edited, letter_data
from consort_orchestrator.cli.opening import run_to_end
from consort_orchestrator.cli.options import Function, Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.orders import operator_of
from consort_orchestrator.cli.wording import counted, one_line, size_text
from consort_shared.errors import ConsortError, InvalidInput, UnknownRun
from consort_shared.ids import is_run_id

_KIND = click.Choice(list(KINDS))


@click.group(cls=WithUsual)
def dead() -> None:
    """Messages that were set aside: whole, with the reason.

    What could not be read, did not prove its sender, kept failing, or killed its
    process again and again. Nothing else stops for it. Needs the credentials of an
    operator; for the bus of a folder they are issued.

    \b
    Examples:
      consort dead
      consort dead show 17
      consort dead redrive 17 --edit
      consort dead drop --kind foreign --yes
    """


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant."""

    ids: tuple[int, ...]
    run: str | None
    kind: str | None
    everything: bool

    @property
    def by_name(self) -> bool:
        return bool(self.ids)


def choosing(function: Function) -> Function:
    """Adds IDs, --run, --kind, --all and --yes, and gives the command its `choice`."""

    @click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(1))
    @click.option("--run", "run", metavar="RUN", help="Those of this run.")
    @click.option("--kind", type=_KIND, help="Those of this kind.")
    @click.option("--all", "everything", is_flag=True, help="All that are not settled.")
    @click.option("--yes", "-y", is_flag=True, help="Do not ask.")
    @functools.wraps(function)
    def wrapper(
        *args: Any, ids: tuple[int, ...], run: str | None, kind: str | None, everything: bool, **kwargs: Any
    ) -> Any:
        if ids and (run or kind or everything):
            raise click.UsageError("name letters by ID, or choose them by --run, --kind or --all")
        if not (ids or run or kind or everything):
            raise click.UsageError(
                "say which: ID..., --run RUN, --kind KIND or --all; `consort dead` lists them"
            )
        return function(*args, choice=Choice(tuple(dict.fromkeys(ids)), run, kind, everything), **kwargs)

    return wrapper  # type: ignore[return-value] # the options replace `choice`


# --- looking


@dead.command(name="list")
@click.option("--run", metavar="RUN", help="Those of this run.")
@click.option("--kind", type=_KIND, help="Those of this kind.")
@click.option(
    "--all", "everything", is_flag=True, help="Also settled ones: redriven, dropped, orders refused."
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, the newest.")
@on_the_bus
@printing
def list_(
    run: str | None, kind: str | None, everything: bool, limit: int, place: Place, printer: Printer
) -> None:
    """Messages that were set aside, the newest last: id, kind, run and why.

    \b
    Examples:
      consort dead list --run last
      consort dead list --kind poison --all
      consort dead list --limit 5 --json
    """

    async def fetch() -> list[Letter]:
        async with operator_of(place) as operator:
            return await _found(operator, run, kind, settled=everything)

    found = run_to_end(fetch())
    shown = found[-limit:]
    printer.data([letter_data(letter) for letter in shown])
    if not found:
        printer.note("nothing is set aside" + ("" if everything else "; --all shows what is done with"))
    elif len(found) > len(shown):
        printer.note(f"the newest {len(shown)} of {len(found)}; --limit shows more")
    for letter in shown:
        for line in as_row(letter):
            printer.say(line)


@dead.command()
@click.argument("id", metavar="ID", type=click.IntRange(1))
@click.option(
    "--body", type=click.Path(dir_okay=False, path_type=Path), help="Write the body, as it is, to this file."
)
@on_the_bus
@printing
def show(id: int, body: Path | None, place: Place, printer: Printer) -> None:
    """One letter with everything that is known of it, and its body.

    \b
    Examples:
      consort dead show 17
      consort dead show 17 --body body.bin
      consort dead show 17 --json | jq .value
    """

    async def fetch() -> tuple[Letter, bytes, Any]:
        async with operator_of(place) as operator:
            letter = await operator.letter(id)
            return letter, await operator.body(letter), await operator.readable(letter)

    letter, raw, value = run_to_end(fetch())
    if body is not None:
        body.write_bytes(raw)
        printer.note(f"{size_text(len(raw))} written to {body}")
    printer.data({**letter_data(letter), "headers": dict(letter.headers), "value": value, "hex": raw.hex()})
    if not printer.json:
        printer.say(described(letter, raw, value, body is None))


# --- settling


@dead.command()
@choosing
@click.option("--edit", is_flag=True, help="Change the body of one letter in $EDITOR first.")
@click.option(
    "--body",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Another body for one letter: a file with JSON, or - for standard input.",
)
@on_the_bus
@printing
def redrive(choice: Choice, yes: bool, edit: bool, body: Path | None, place: Place, printer: Printer) -> int:
    """Have letters judged again, as they are or, a single one, with another body.

    A task that was set aside as poisonous becomes another attempt at its step; of an
    edited one the `inputs` count. Ends with 1 if some could not be redriven, or were
    refused again.

    \b
    Examples:
      consort dead redrive 17
      consort dead redrive 17 --edit
      consort dead redrive 17 --body fixed.json
      consort dead redrive --run last --yes
    """
    if edit and body is not None:
        raise click.UsageError("--edit and --body exclude each other")
    if (edit or body is not None) and len(choice.ids) != 1:
        raise click.UsageError("another body goes to a single letter: name it by its ID")

    async def work() -> int:
        async with operator_of(place) as operator:
            text = None if body is None else _read(body)
            if edit:
                text = await edited(operator, choice.ids[0])
            chosen = await _chosen(operator, choice, redrivable=True, printer=printer)
            _confirm(chosen, choice, "Redrive", yes)

            async def one(id: int) -> str:
                return _redriven(await operator.redrive(id, text))

            return await _each(chosen, one, "redriven", printer)

    return run_to_end(work())


@dead.command()
@choosing
@on_the_bus
@printing
def drop(choice: Choice, yes: bool, place: Place, printer: Printer) -> int:
    """Settle letters without judging them again. They stay readable with `list --all`.

    \b
    Examples:
      consort dead drop 17 18
      consort dead drop --kind foreign --yes
      consort dead drop --all
    """

    async def work() -> int:
        async with operator_of(place) as operator:
            chosen = await _chosen(operator, choice, redrivable=False, printer=printer)
            _confirm(chosen, choice, "Drop", yes)

            async def one(id: int) -> str:
                return f"by {(await operator.drop(id)).by}"

            return await _each(chosen, one, "dropped", printer)

    return run_to_end(work())


async def _found(operator: Operator, run: str | None, kind: str | None, *, settled: bool) -> list[Letter]:
    found = None if run is None else await _run_of(operator, run)
    letters = await operator.letters(run=found, settled=settled)
    return [letter for letter in letters if kind in (None, letter.kind)]


async def _run_of(operator: Operator, text: str) -> str:
    """A run as people name it; one that never began may be known from its letters alone."""
    if is_run_id(check_reference(text)):
        return text
    try:
        return await operator.find_run(text)
    except UnknownRun:
        runs = {letter.run for letter in await operator.letters(settled=True) if letter.run is not None}
        known = [run for run in runs if run.startswith(text)]
        if len(known) != 1:
            raise
        return known[0]


async def _chosen(operator: Operator, choice: Choice, *, redrivable: bool, printer: Printer) -> list[int]:
    if choice.by_name:
        return list(choice.ids)
    found = await _found(operator, choice.run, choice.kind, settled=False)
    if redrivable and (passed := [letter for letter in found if not letter.redrivable]):
        printer.note(f"{counted(len(passed), 'letter')} can only be dropped, and left as they are")
        found = [letter for letter in found if letter.redrivable]
    return [letter.id for letter in found]


def _confirm(chosen: Sequence[int], choice: Choice, verb: str, yes: bool) -> None:
    """Ask before doing it to letters that nobody named."""
    if yes or choice.by_name or not chosen:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{counted(len(chosen), 'letter')} would be meant; say --yes")
    click.confirm(f"{verb} {counted(len(chosen), 'letter')}?", abort=True, err=True)


async def _each(
    chosen: Sequence[int], one: Callable[[int], Awaitable[str]], done: str, printer: Printer
) -> int:
    """Do it to each, tell what became of each, and sum up."""
    results: list[dict[str, Any]] = []
    errors: list[ConsortError] = []
    for id in chosen:
        try:
            told = await one(id)
        except ConsortError as exc:
            errors.append(exc)
            results.append({"id": id, "done": False, "why": str(exc)})
            click.echo(str(exc) if f"letter {id}" in str(exc) else f"letter {id}: {exc}", err=True)
        else:
            results.append({"id": id, "done": True, "why": ""})
            printer.say(f"letter {id}: {done}, {told}")
    printer.data({done: len(chosen) - len(errors), "failed": len(errors), "letters": results})
    if not chosen:
        printer.note("no letter is meant by that")
    elif len(chosen) > 1:
        printer.say(f"{len(chosen) - len(errors)} of {len(chosen)} {done}")
    if errors and len(chosen) == 1:
        return code_of(errors[0])
    return FAILED if errors else DONE


class RefusedAgain(ConsortError):
    """A letter was judged again, and does not count this time either."""

    def __init__(self, done: Redrove) -> None:
        where = f", and is letter {done.again} now" if done.again else ""
        super().__init__(
            f"letter {done.letter} was judged again and refused again{where}: {one_line(done.why)}"
        )


def _redriven(done: Redrove) -> str:
    if done.why:
        raise RefusedAgain(done)
    return f"run {done.run[:12]}, entry {done.entry}"


def _read(body: Path) -> str:
    try:
        return sys.stdin.read() if str(body) == "-" else body.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"{body}: is not text, so it is no JSON") from exc
