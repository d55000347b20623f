"""`consort up`: bus, orchestrators and agents of one folder, kept running until told to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from consort_bus.client import Client
from consort_bus.cluster import SIZES
from consort_orchestrator.cli.ending import DONE
from consort_orchestrator.cli.household import Household, keep_bus, only_one, orchestrator_names, slots_of
from consort_orchestrator.cli.offers import Offer, installed, offers_of, offers_required
from consort_orchestrator.cli.opening import client_of, local_bus, run_to_end
from consort_orchestrator.cli.options import Place, Printer, agents_option, in_folder, printing, tools_option
from consort_orchestrator.cli.supervise import Supervisor
from consort_orchestrator.cli.tool_files import host_files, start_hosts
from consort_orchestrator.cli.wording import clock, listed
from consort_shared.errors import ConsortError, InvalidInput

JOIN_LIMIT = 15.0
"""Seconds after which it is said which agents have not joined."""
_LOOK = 0.1


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be kept running. Without `nodes` the bus has those that it had."""

    agents: tuple[str, ...]
    orchestrators: int
    nodes: int | None
    slots: Mapping[str, int]
    tool_files: tuple[Path, ...] = ()


@click.command()
@agents_option("Which agents; by default all that are installed.")
@click.option(
    "--orchestrators", type=click.IntRange(1, 32), default=1, show_default=True, help="How many of them."
)
@click.option(
    "--nodes",
    type=click.Choice([str(size) for size in SIZES]),
    help="How many servers the bus has. [default: as before; 1]",
)
@click.option(
    "--slots", "slots", multiple=True, metavar="NAME=N", help="How many tasks an agent takes at a time."
)
@tools_option
@in_folder
@printing
def up(
    agents: tuple[str, ...],
    orchestrators: int,
    nodes: str | None,
    slots: tuple[str, ...],
    tool_files: tuple[Path, ...],
    folder: Path,
    printer: Printer,
) -> int:
    """Start bus, orchestrator and agents, and keep them running until Ctrl-C.

    Each is a process of its own with a log under FOLDER/logs; one that dies is started
    again. Ctrl-C or SIGTERM lets agents finish what they have in hand, then stops the
    orchestrators, then the bus. Runs are kept and go on with the next `up`.

    \b
    Examples:
      consort up
      consort up --agents writer,mine.py:agent --slots writer=4
      consort up --tools tools.yaml
      consort up --orchestrators 2 --nodes 3 --folder /var/lib/consort
    """
    wanted = _Wanted(
        agents, orchestrators, None if nodes is None else int(nodes), slots_of(slots), tool_files
    )
    with only_one(folder):
        stopped_by_user = False
        try:
            run_to_end(_up(folder, wanted, printer))
        except KeyboardInterrupt:
            stopped_by_user = True
        if stopped_by_user:
            printer.note("all stopped")
    return DONE


async def _up(folder: Path, wanted: _Wanted, printer: Printer) -> None:
    def tell(text: str) -> None:
        printer.note(f"{clock(time.time())}  {text}")

    offers = await _offers(wanted.agents, tell)
    hosts = await host_files(wanted.tool_files)
    for name in wanted.slots:
        if name not in {offer.card.name for offer in offers}:
            raise InvalidInput(f"--slots names {name!r}, which is not among the agents")
    async with (
        local_bus(folder, nodes=wanted.nodes) as server,
        Supervisor(server.folder / "logs", tell) as supervisor,
    ):
        household = Household(folder, server.url)
        hosting: list[str] = []
        keeping = asyncio.create_task(keep_bus(supervisor, folder, server.url))
        try:
            for name in orchestrator_names(wanted.orchestrators):
                await supervisor.start(household.orchestrator(name))
            hosting = await start_hosts(household, supervisor, hosts, tell)
            for offer in offers:
                await supervisor.start(household.agent(offer, slots=wanted.slots.get(offer.card.name)))
            _show(printer, folder, server.url, server.pid, supervisor)
            await _joined(Place(None, None, folder), supervisor, offers, printer)
            await keeping
        finally:
            keeping.cancel()
            tell("stopping")
            await supervisor.stop_named([f"agent-{offer.card.name}" for offer in offers])
            await supervisor.stop_named(hosting)


async def _offers(named: Sequence[str], tell: Callable[[str], None]) -> list[Offer]:
    """The agents named, all of which must be usable, or all that are installed and are."""
    if named:
        return await offers_required(named)
    offers, unusable = await offers_of(installed())
    for one in unusable:
        tell(f"agent {one.reference} is left out: {one.why}")
    return offers


def _show(printer: Printer, folder: Path, url: str, pid: int, supervisor: Supervisor) -> None:
    processes = supervisor.processes
    wide = max((len(name) for name, _, _ in processes), default=3)
    printer.say(f"{'bus':<{wide}}  process {pid}, {url}")
    for name, child, _log in processes:
        printer.say(f"{name:<{wide}}  process {child}")
    printer.say(f"logs are in {supervisor.logs}")
    printer.data(
        {
            "folder": str(folder.absolute()),
            "server": url,
            "bus": pid,
            "processes": [{"name": name, "pid": child, "log": str(log)} for name, child, log in processes],
        }
    )


async def _joined(place: Place, supervisor: Supervisor, offers: Sequence[Offer], printer: Printer) -> None:
    """Wait until every agent that was started takes part, and say so."""
    waiting = {f"agent-{offer.card.name}": offer.card.name for offer in offers}
    until = time.monotonic() + JOIN_LIMIT
    async with client_of(place) as client:
        while waiting and time.monotonic() < until:
            there = await _there(client)
            pids = {name: pid for name, pid, _ in supervisor.processes}
            waiting = {child: name for child, name in waiting.items() if (name, pids.get(child)) not in there}
            await asyncio.sleep(_LOOK)
    if waiting:
        printer.note(f"{listed(sorted(waiting.values()))} did not join yet; their logs may say why")
    else:
        printer.note("ready; Ctrl-C stops everything")


async def _there(client: Client) -> set[tuple[str, int | None]]:
    try:
        return {(presence.card.name, presence.pid) for presence in await client.agents()}
    except ConsortError:
        return set()
