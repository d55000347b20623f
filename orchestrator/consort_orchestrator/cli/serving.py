"""Single processes: an orchestrator, an agent, the bus; and the credentials they need."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from consort_bus import embedded, topology
from consort_bus.access import ROLES
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.errors import BusUnreachable, BusUnsuitable
from consort_bus.keys import Authority
from consort_orchestrator.cli.ending import DONE
from consort_orchestrator.cli.offers import offers_required
from consort_orchestrator.cli.opening import credentials_file, creds_wanted, local_bus, run_to_end, set_up_bus
from consort_orchestrator.cli.options import Place, Printer, in_folder, on_the_bus, printing
from consort_orchestrator.cli.orchestrating import serve
from consort_orchestrator.cli.reading import show_agents
from consort_shared.plan.model import seconds


@click.group()
def orchestrator() -> None:
    """One orchestrator as a process."""


@orchestrator.command("start")
@click.option("--name", default="main", show_default=True, help="Its name on the bus.")
@click.option("--log-level", envvar="CONSORT_LOG_LEVEL", default="info", show_default=True)
@on_the_bus
@click.option("--debug", is_flag=True, expose_value=False, help="Show where an error comes from.")
def orchestrator_start(name: str, log_level: str, place: Place) -> int:
    """Run an orchestrator until SIGTERM or Ctrl-C; it then finishes what it has in hand.

    Any number may work on one bus: they share the runs, and when one is gone the
    others go on with its runs.

    \b
    Examples:
      consort orchestrator start
      consort orchestrator start --name second
      consort orchestrator start --server nats://bus:4222 --creds orchestrator.main.creds
    """
    serve(place, name, log_level)
    return DONE


@click.group()
def agent() -> None:
    """One agent as a process."""


@agent.command("start")
@click.argument("agent", metavar="NAME|module:attr")
@click.option(
    "--slots", type=click.IntRange(1, 10_000), help="Tasks at a time; by default what the agent says."
)
@click.option(
    "--grace", type=click.FloatRange(0), help="Seconds to finish in when told to stop. [default: 30]"
)
@click.option("--log-level", help="debug, info, warning or error. [default: info]")
@on_the_bus
@click.option("--debug", is_flag=True, expose_value=False, help="Show where an error comes from.")
def agent_start(
    agent: str, slots: int | None, grace: float | None, log_level: str | None, place: Place
) -> None:
    """Run an agent, installed or of your own, until SIGTERM or Ctrl-C.

    More processes of the same agent share its tasks. For the bus of a folder the
    credentials are issued; elsewhere --creds names those of this agent.

    \b
    Examples:
      consort agent start writer
      consort agent start mine.py:agent --slots 4
      consort agent start mine:agent --server nats://bus:4222 --creds agent.mine.creds
    """
    server, creds = run_to_end(_agents_bus(agent, place))
    command = [sys.executable, "-m", "consort_agents", "--server", server, "--creds", str(creds)]
    for option, value in (("--slots", slots), ("--grace", grace), ("--log-level", log_level)):
        if value is not None:
            command += [option, str(value)]
    sys.stdout.flush()
    os.execv(sys.executable, [*command, "--", agent])  # noqa: S606 - no shell is wanted


async def _agents_bus(agent: str, place: Place) -> tuple[str, Path]:
    """Where the agent is to work, and as whom. The bus of a folder must run: an agent alone is of no use."""
    if place.server is not None:
        if place.creds is None:
            raise creds_wanted(place, "this agent")
        return place.server, place.creds
    server = await asyncio.to_thread(embedded.status, place.folder)
    if server is None:
        raise BusUnreachable(
            str(place.folder), "it does not run", "start it with `consort up` or `consort bus start`"
        )
    [offer] = await offers_required([agent])
    return server.url, place.creds or credentials_file(place.folder, "agent", offer.card.name)


@agent.command("list")
@on_the_bus
@printing
def agent_list(place: Place, printer: Printer) -> None:
    """Which agents are there now; the same as `consort agents`.

    \b
    Example:
      consort agent list
    """
    show_agents(place, printer)


@click.group()
def bus() -> None:
    """Start, stop and set up the bus."""


@bus.command("start")
@click.option("--sync-always", is_flag=True, help="Every write reaches the disk before it counts; slower.")
@in_folder
@printing
def bus_start(sync_always: bool, folder: Path, printer: Printer) -> None:
    """Start the bus of a folder and set it up; it runs until `consort bus stop`.

    \b
    Examples:
      consort bus start
      consort bus start --sync-always --folder /var/lib/consort
    """
    server = embedded.start(folder, sync_always=sync_always)
    run_to_end(set_up_bus(server.url, embedded.credentials_for(folder, "provisioner", "setup")))
    printer.say(
        f"the bus {'was started' if server.started else 'runs already'}: {server.url}, process {server.pid}"
    )
    printer.data({"server": server.url, "pid": server.pid, "started": server.started})


@bus.command("stop")
@in_folder
@printing
def bus_stop(folder: Path, printer: Printer) -> None:
    """Stop the bus of a folder; what is on it stays.

    \b
    Example:
      consort bus stop
    """
    stopped = embedded.stop(folder)
    printer.say("the bus was stopped" if stopped else "the bus does not run")
    printer.data({"stopped": stopped})


@bus.command("status")
@in_folder
@printing
def bus_status(folder: Path, printer: Printer) -> int:
    """Whether the bus of a folder runs, and where; ends with 3 if it does not.

    \b
    Example:
      consort bus status || consort bus start
    """
    server = embedded.status(folder)
    printer.data(
        {"running": server is not None, "server": server and server.url, "pid": server and server.pid}
    )
    printer.say(
        "the bus does not run" if server is None else f"the bus runs: {server.url}, process {server.pid}"
    )
    return DONE if server is not None else BusUnreachable.exit_code


@bus.command("setup")
@click.option(
    "--replicas", type=click.IntRange(1, 5), default=1, show_default=True, help="Copies of everything."
)
@on_the_bus
@printing
def bus_setup(replicas: int, place: Place, printer: Printer) -> None:
    """Make what must exist on the bus, and mend what differs. Needs the credentials of a provisioner.

    \b
    Examples:
      consort bus setup
      consort bus setup --server nats://bus:4222 --creds provisioner.creds --replicas 3
    """
    changes = run_to_end(_set_up(place, replicas))
    for change in changes:
        printer.say(f"{change.what}: {change.done}")
    if not changes:
        printer.say("all is as it should be")
    printer.data([{"what": change.what, "done": change.done} for change in changes])


async def _set_up(place: Place, replicas: int) -> list[topology.Change]:
    async with AsyncExitStack() as stack:
        url, credentials = await _provisioner(stack, place)
        return await set_up_bus(url, credentials, replicas)


@bus.command("check")
@click.option("--replicas", type=click.IntRange(1, 5), help="Compare the number of copies too.")
@on_the_bus
@printing
def bus_check(replicas: int | None, place: Place, printer: Printer) -> int:
    """Whether all that must exist on the bus is there; ends with 3 if something is missing or different.

    \b
    Example:
      consort bus check
    """
    findings = run_to_end(_check(place, replicas))
    for finding in findings:
        printer.say(str(finding))
    if not findings:
        printer.say("all is as it should be")
    printer.data([str(finding) for finding in findings])
    return BusUnsuitable.exit_code if findings else DONE


async def _check(place: Place, replicas: int | None) -> list[topology.Finding]:
    async with AsyncExitStack() as stack:
        url, credentials = await _provisioner(stack, place)
        connection = await stack.enter_async_context(open_bus(url, credentials))
        return await topology.check(connection, replicas)


async def _provisioner(stack: AsyncExitStack, place: Place) -> tuple[str, Credentials]:
    if place.server is None:
        server = await stack.enter_async_context(local_bus(place.folder, set_up=False))
        return server.url, embedded.credentials_for(place.folder, "provisioner", "setup")
    if place.creds is None:
        raise creds_wanted(place, "a provisioner")
    return place.server, Credentials.load(place.creds)


@click.group()
def access() -> None:
    """Credentials for agents, clients and others."""


@access.command("issue")
@click.argument("role", type=click.Choice(ROLES))
@click.argument("name")
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write."
)
@click.option(
    "--ttl", metavar="TIME", help="How long they are valid, such as 12h or 30d. [default: for ever]"
)
@in_folder
@printing
def access_issue(role: str, name: str, out: Path, ttl: str | None, folder: Path, printer: Printer) -> None:
    """Issue credentials for a ROLE under a NAME, signed by the folder's authority.

    \b
    Examples:
      consort access issue agent writer --out writer.creds
      consort access issue client ci --out ci.creds --ttl 30d
    """
    credentials = embedded.credentials_for(folder, role, name, None if ttl is None else _span(ttl))
    credentials.save(out)
    told: dict[str, Any] = {"role": role, "name": name, "file": str(out)}
    told["expires"] = credentials.expires.isoformat() if credentials.expires is not None else None
    printer.say(f"{role}.{name}: {out}" + (f", until {told['expires']}" if told["expires"] else ""))
    printer.data(told)


@access.command("server-config")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write. [default: print it]"
)
@in_folder
@printing
def access_server_config(out: Path | None, folder: Path, printer: Printer) -> None:
    """What a server of your own needs in its configuration to accept the folder's credentials.

    It holds no secret. Include it in the server's file, and set up the bus once:

    \b
    Examples:
      consort access server-config --out consort.conf
      consort access issue provisioner setup --out setup.creds
      consort bus setup --server nats://bus:4222 --creds setup.creds
    """
    text = Authority.load_or_create(folder / "keys").server_config()
    if out is None:
        printer.say(text.rstrip())
    else:
        out.write_text(text)
        printer.say(f"server configuration: {out}")
    printer.data({"config": text, "file": None if out is None else str(out)})


def _span(text: str) -> timedelta:
    value = seconds(text)
    try:
        span = timedelta(seconds=float(value))  # type: ignore[arg-type] # text that is no number is refused here
    except (ValueError, OverflowError) as exc:
        raise click.BadParameter(
            f"{text!r} is no span of time: write 12h or 30d", param_hint="--ttl"
        ) from exc
    if span < timedelta(seconds=1):
        raise click.BadParameter("must be a second at least", param_hint="--ttl")
    return span
