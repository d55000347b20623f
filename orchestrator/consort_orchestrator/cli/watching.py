"""`consort watch`: a run while it goes on, from its beginning however late."""

from __future__ import annotations

import click

from consort_orchestrator.cli import summary
from consort_orchestrator.cli.ending import DONE, FAILED
from consort_orchestrator.cli.following import Live, follow, view_for
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.wording import one_line


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--from", "start", type=click.IntRange(1), default=1, help="Lines from this entry on. [default: all]"
)
@click.option("--live/--no-live", default=None, help="Redraw the steps in place; by default on a terminal.")
@on_the_bus
@printing
def watch(run: str, start: int, live: bool | None, place: Place, printer: Printer) -> int:
    """Look at RUN while it goes on: its id, the beginning of it, or `last`.

    Begins with what has happened already, waits for what comes, also while the bus is
    away, and ends with the run: with 0 if it was completed, with 1 otherwise.

    \b
    Examples:
      consort watch last
      consort watch last --no-live | tee run.txt
      consort watch 0194f2 --json | jq .entry.facts
    """
    check_reference(run)
    return run_to_end(_watch(run, start, live, place, printer))


async def _watch(text: str, start: int, live: bool | None, place: Place, printer: Printer) -> int:
    async with client_of(place) as client:
        run = await resolved(client, place, text)
        view = view_for(printer, live, to_stderr=False, start=start)
        picture = await follow(client, run, view)
    if picture.state == "completed" and not printer.json:
        printer.note(f"{summary.tally_text(picture)}; the result: consort result {run[:12]}")
    elif isinstance(view, Live) and picture.run.finished is not None:
        printer.note(one_line(picture.run.finished.why, 2000))
    return DONE if picture.state == "completed" else FAILED
