"""`consort doctor`: how everything is, and the commands that mend what is not; `doctor upgrade`."""

from __future__ import annotations

import importlib.metadata

import click
from rich.console import Console
from rich.text import Text

from consort_orchestrator.cli.ending import DONE, FAILED, NO_BUS
from consort_orchestrator.cli.offers import offers_required
from consort_orchestrator.cli.opening import run_to_end
from consort_orchestrator.cli.options import Place, Printer, agents_option, on_the_bus, printing
from consort_orchestrator.cli.wording import counted
from consort_orchestrator.doctor.examining import Patient, examine, rehearse
from consort_orchestrator.doctor.findings import Level, Report, Status, worst_first
from consort_orchestrator.doctor.gathering import Bounds

_STYLES = {
    Status.HEALTHY: "green",
    Status.DEGRADED: "yellow",
    Status.DOWN: "red",
    Status.UNKNOWN: "dim",
    Level.OK: "green",
    Level.NOTE: "cyan",
    Level.WARNING: "yellow",
    Level.ERROR: "red",
}


@click.group(invoke_without_command=True)
@click.option("--all", "all_", is_flag=True, help="Read every run under way and every dead letter.")
@click.option("--verbose", "-v", is_flag=True, help="Tell what is well, too.")
@on_the_bus
@printing
@click.pass_context
def doctor(context: click.Context, all_: bool, verbose: bool, place: Place, printer: Printer) -> int:
    """How the bus and everything on it is, and the commands that mend what is not.

    First how each component is: orchestrators, agents, context, channels, governance.
    Then each finding. Looks and changes nothing; starts no bus. Needs the credentials
    of an operator; for the bus of a folder they are issued.

    Ends with 0 if all is well, with 1 if there are warnings or errors, with 3 if the
    bus cannot be reached.

    \b
    Examples:
      consort doctor
      consort doctor --json | jq -r '.findings[] | select(.level == "error") | .mend'
      consort doctor --server nats://bus:4222 --creds operator.creds
      consort doctor upgrade --agents writer,checker
    """
    if context.invoked_subcommand is not None:
        return DONE
    report = run_to_end(examine(_patient(place), Bounds.none() if all_ else Bounds()))
    printer.data(report.as_data())
    if not printer.json:
        _show(report, verbose)
    return _code(report)


@doctor.command()
@click.option(
    "--limit", type=click.IntRange(1), default=500, show_default=True, help="Runs to try, the newest."
)
@click.option("--all", "all_", is_flag=True, help="Try every run under way.")
@agents_option("An agent as it will be after the upgrade; repeatable.")
@on_the_bus
@printing
def upgrade(limit: int, all_: bool, agents: tuple[str, ...], place: Place, printer: Printer) -> int:
    """What this version of Consort, and of agents, would break if it took over now.

    Run it with the new version installed, before anything is stopped. Every run under
    way is folded with the new code; the skills that their open steps need are compared
    with what the agents named by --agents will offer. Changes nothing.

    Ends with 0 if nothing would break, with 1 if something would.

    \b
    Examples:
      consort doctor upgrade
      consort doctor upgrade --agents writer,mine.py:agent --all
    """

    async def work() -> Report:
        cards = [offer.card for offer in await offers_required(agents)] if agents else []
        version = importlib.metadata.version("consort-agents")
        return await rehearse(_patient(place), cards, version, None if all_ else limit)

    report = run_to_end(work())
    printer.data(report.as_data())
    if not printer.json:
        _show(report, verbose=True)
    return _code(report)


def _patient(place: Place) -> Patient:
    return Patient(place.server or "", place.creds, place.folder)


def _code(report: Report) -> int:
    if not report.reached:
        return NO_BUS
    return FAILED if report.worst >= Level.WARNING else DONE


def _show(report: Report, verbose: bool) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for component in report.components:
        line = Text(f"{component.name:<14}")
        line.append(f"{component.status.value:<10}", style=_STYLES[component.status])
        console.print(line.append(component.what))
    if report.components:
        console.print()
    for finding in worst_first(report.findings):
        if finding.level is Level.OK and not verbose:
            continue
        line = Text(f"{finding.level.word:<8}", style=_STYLES[finding.level])
        console.print(line.append(f"{finding.check}: {finding.what}", style="default"))
        if finding.mend:
            console.print(Text(f"        → {finding.mend}", style="dim"))
    told = report.counted()
    bad = ", ".join(counted(told[level], level) for level in ("error", "warning", "note") if told[level])
    console.print(f"{counted(sum(told.values()), 'finding')}: {bad or 'all is well'}")
