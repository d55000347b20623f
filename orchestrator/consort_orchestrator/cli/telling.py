"""What was written down: the entries of a run, its context, messages set aside."""

from __future__ import annotations

from collections import deque
from typing import Any

import click

from consort_bus import subjects
from consort_bus.client import ContextValue, Logged
from consort_bus.reading import Stored, read
from consort_bus.subjects import DeadSubject
from consort_bus.wire import Wire
from consort_orchestrator.cli.following import entry_json
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.wording import heading, in_words, one_line, size_text, value_text
from consort_shared.errors import InvalidInput


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--follow", is_flag=True, help="Go on with what comes, to the run's end.")
@click.option("--full", is_flag=True, help="With the values: inputs, results, context.")
@on_the_bus
@printing
def log(run: str, follow: bool, full: bool, place: Place, printer: Printer) -> None:
    """The entries of RUN, one by one: number, time, whom each is addressed to, what caused it.

    \b
    Examples:
      consort log last
      consort log last --follow --full
      consort log last --json > run.jsonl
    """
    check_reference(run)
    run_to_end(_log(run, follow, full, place, printer))


async def _log(text: str, follow: bool, full: bool, place: Place, printer: Printer) -> None:
    def tell(logged: Logged) -> None:
        if printer.json:
            click.echo(entry_json(logged))
            return
        printer.say(heading(logged))
        for fact in logged.entry.facts:
            printer.say(f"      {in_words(fact, full)}")

    async with client_of(place) as client:
        run = await resolved(client, place, text)
        if not follow:
            for logged in await client.entries(run):
                tell(logged)
            return
        async for logged in client.watch(run):
            tell(logged)


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("key", required=False)
@click.option("--history", is_flag=True, help="Every revision of KEY that is kept.")
@on_the_bus
@printing
def context(run: str, key: str | None, history: bool, place: Place, printer: Printer) -> None:
    """What the steps of RUN have put down for each other; with KEY, that value whole.

    \b
    Examples:
      consort context last
      consort context last sources
      consort context last sources --history
    """
    check_reference(run)
    if history and key is None:
        raise click.UsageError("--history needs a KEY")

    async def fetch() -> list[ContextValue]:
        async with client_of(place) as client:
            found = await resolved(client, place, run)
            if key is not None and history:
                return await client.context_history(found, key)
            return [value for value in await client.context(found) if key in (None, value.key)]

    values = run_to_end(fetch())
    if key is not None and not values:
        raise InvalidInput(f"run {run} has nothing under {key!r} in its context")
    printer.data(values)
    if key is not None and not history and not printer.json:
        from consort_orchestrator.cli.options import as_json

        value = values[0].value
        printer.say(value if isinstance(value, str) else as_json(value, indent=2))
        return
    if not values:
        printer.note("the context is empty")
    for value in values:
        printer.say(f"{value.key}  revision {value.revision} by {value.author}, task {value.task or '-'}")
        printer.say(f"  {value_text(value.value, 400 if history else 160)}")


@click.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@on_the_bus
@printing
def dead(limit: int, place: Place, printer: Printer) -> None:
    """Messages that were set aside, the newest last, and why.

    Needs the credentials of an auditor; for the bus of a folder they are issued.

    \b
    Examples:
      consort dead
      consort dead --limit 5 --json
    """

    async def fetch() -> list[Stored]:
        newest: deque[Stored] = deque(maxlen=limit)
        async with client_of(place, role="auditor") as client, Wire(client.bus.nc, client.bus) as wire:
            async for stored in read(wire, subjects.DEAD, subjects.DEAD_FILTER):
                newest.append(stored)
        return list(newest)

    found = run_to_end(fetch())
    printer.data([_dead_data(stored) for stored in found])
    if not found:
        printer.note("nothing has been set aside")
    for stored in found:
        where = DeadSubject.parse(stored.subject)
        run = (where.run if where is not None else None) or "?"
        told = one_line(stored.headers.get("Consort-Reason", "no reason given"))
        come_from = one_line(stored.headers.get("Consort-From", stored.subject), 100)
        printer.say(
            f"{stored.time:%Y-%m-%d %H:%M:%S}  run {run[:12]}, {size_text(len(stored.data))} from {come_from}"
        )
        printer.say(f"  {told}")


def _dead_data(stored: Stored) -> dict[str, Any]:
    where = DeadSubject.parse(stored.subject)
    return {
        "seq": stored.seq,
        "time": stored.time_text,
        "run": where.run if where is not None else None,
        "stream": where.stream if where is not None else None,
        "subject": stored.headers.get("Consort-From", ""),
        "why": stored.headers.get("Consort-Reason", ""),
        "size": len(stored.data),
        "text": stored.data.decode(errors="replace")[:2000],
    }
