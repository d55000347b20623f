"""`consort plan`: whether a plan can be run, how it looks, its schema, and having one made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from consort_orchestrator.cli.ending import BAD_INPUT, DONE
from consort_orchestrator.cli.making import make
from consort_orchestrator.cli.offers import cards_of, installed, offers_required, skills_of
from consort_orchestrator.cli.opening import client_of, run_to_end
from consort_orchestrator.cli.options import Place, Printer, agents_option, as_json, on_the_bus, printing
from consort_orchestrator.cli.wording import counted
from consort_shared.card import AgentCard
from consort_shared.errors import Fault, PlanError
from consort_shared.plan import source
from consort_shared.plan.check import check as faults_of

_FORMATS = ("text", "mermaid", "svg")


@click.group()
def plan() -> None:
    """Make, check and draw plans, and print their schema."""


plan.add_command(make)


@plan.command("check")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--running", is_flag=True, help="Check skills against the agents that are there now.")
@click.option("--installed", "all_installed", is_flag=True, help="Check skills against all installed agents.")
@agents_option("Check skills against these agents.")
@on_the_bus
@printing
def plan_check(
    file: Path, running: bool, all_installed: bool, agents: tuple[str, ...], place: Place, printer: Printer
) -> int:
    """Say everything that is wrong with the plan in FILE; ends with 2 if anything is.

    Skills are judged only where it is said whose: with --running, --installed or --agents.

    \b
    Examples:
      consort plan check plan.yaml
      consort plan check plan.yaml --running
      consort plan check plan.yaml --agents writer,mine.py:agent
    """
    named = (*agents, *(installed() if all_installed else ()))
    judged = bool(named) or running
    cards = run_to_end(_cards(named, running, place)) if judged else []
    try:
        loaded = source.load(file)
        faults = faults_of(loaded.plan, skills=skills_of(cards) if judged else None, lines=loaded.lines)
    except PlanError as exc:
        faults = list(exc.faults)
    return _tell(file, faults, printer)


def _tell(file: Path, faults: Sequence[Fault], printer: Printer) -> int:
    printer.data({"ok": not faults, "faults": [asdict(fault) for fault in faults]})
    for fault in faults:
        printer.say(f"{file}: {fault}")
    printer.say(f"{file}: {counted(len(faults), 'fault')}" if faults else f"{file}: fit to be run")
    return BAD_INPUT if faults else DONE


async def _cards(named: Sequence[str], running: bool, place: Place) -> list[AgentCard]:
    cards = [offer.card for offer in await offers_required(named)]
    if running:
        async with client_of(place) as client:
            cards += cards_of(await client.agents())
    return cards


@plan.command("show")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(_FORMATS), default="text", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.")
@printing
def plan_show(file: Path, form: str, out: Path | None, printer: Printer) -> None:
    """Draw the plan in FILE.

    \b
    Examples:
      consort plan show plan.yaml
      consort plan show plan.yaml --format svg --out plan.svg
      consort plan show plan.yaml --format mermaid
    """
    from consort_shared.plan import draw

    drawers = {"text": draw.as_text, "mermaid": draw.as_mermaid, "svg": draw.as_svg}
    drawn = drawers[form](source.load_checked(file))
    printer.data({"format": form, "drawing": drawn})
    if out is not None:
        out.write_text(drawn if drawn.endswith("\n") else f"{drawn}\n", encoding="utf-8")
        printer.note(str(out))
    else:
        printer.say(drawn.rstrip("\n"))


@plan.command("schema")
@printing
def plan_schema(printer: Printer) -> None:
    """Print the JSON Schema of plan files, for editors.

    \b
    Example:
      consort plan schema > plan.schema.json
    """
    from consort_shared.plan.schema import schema

    click.echo(as_json(schema(), indent=None if printer.json else 2))
