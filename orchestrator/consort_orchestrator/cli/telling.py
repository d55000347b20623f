"""What was written down: the entries of a run, and its context."""

from __future__ import annotations

import click

from consort_bus.client import ContextValue, Logged
from consort_orchestrator.cli.following import entry_json
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.wording import heading, in_words, value_text
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
