"""Single processes: an orchestrator, an agent; and the credentials they need."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import click

from consort_bus import embedded
from consort_bus.access import ROLES
from consort_bus.credentials import write_secret
from consort_bus.elsewhere import server_lines
from consort_bus.errors import BusUnreachable
from consort_bus.keys import Authority
from consort_orchestrator.cli.ending import DONE
from consort_orchestrator.cli.offers import offers_required
from consort_orchestrator.cli.opening import credentials_file, creds_wanted, run_to_end
from consort_orchestrator.cli.options import Place, Printer, in_folder, on_the_bus, printing
from consort_orchestrator.cli.orchestrating import serve
from consort_orchestrator.cli.reading import show_agents
from consort_shared.errors import InvalidInput
from consort_shared.plan.model import seconds
from consort_shared.telemetry.options import Telling, telling_options


@click.group()
def orchestrator() -> None:
    """One orchestrator as a process."""


@orchestrator.command("start")
@click.option("--name", default="main", show_default=True, help="Its name on the bus.")
@telling_options
@on_the_bus
@click.option("--debug", is_flag=True, expose_value=False, help="Show where an error comes from.")
def orchestrator_start(name: str, telling: Telling, place: Place) -> int:
    """Run an orchestrator until SIGTERM or Ctrl-C; it then finishes what it has in hand.

    Any number may work on one bus: they share the runs, and when one is gone the
    others go on with its runs.

    \b
    Examples:
      consort orchestrator start
      consort orchestrator start --name second
      consort orchestrator start --server nats://bus:4222 --creds orchestrator.main.creds
      consort orchestrator start --health-port 9401 --log-format json
    """
    serve(place, name, telling)
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
@telling_options
@on_the_bus
@click.option("--debug", is_flag=True, expose_value=False, help="Show where an error comes from.")
def agent_start(agent: str, slots: int | None, grace: float | None, telling: Telling, place: Place) -> None:
    """Run an agent, installed or of your own, until SIGTERM or Ctrl-C.

    More processes of the same agent share its tasks. For the bus of a folder the
    credentials are issued; elsewhere --creds names those of this agent.

    \b
    Examples:
      consort agent start writer
      consort agent start mine.py:agent --slots 4
      consort agent start mine.py:agent --health-port 9402 --log-format json
      consort agent start mine:agent --server nats://bus:4222 --creds agent.mine.creds
    """
    server, creds = run_to_end(_agents_bus(agent, place))
    command = [sys.executable, "-m", "consort_agents", "--server", server, "--creds", str(creds)]
    command += telling.arguments
    for option, value in (("--slots", slots), ("--grace", grace)):
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
    server = await asyncio.to_thread(embedded.status, place.folder, whole=False)
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


@access.command("bundle")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.argument("who", metavar="ROLE.NAME...", nargs=-1, required=True)
@click.option("--ttl", metavar="TIME", help="How long all are valid, such as 30d. [default: for ever]")
@in_folder
@printing
def access_bundle(
    directory: Path, who: tuple[str, ...], ttl: str | None, folder: Path, printer: Printer
) -> None:
    """Issue all credentials that one machine needs into a DIRECTORY, to be copied there.

    A file for each, DIRECTORY/ROLE.NAME.creds, and nothing else: the keys that issue them stay here.

    \b
    Examples:
      consort access bundle hub provisioner.setup orchestrator.main
      consort access bundle work agent.researcher agent.writer --ttl 90d
    """
    span = None if ttl is None else _span(ttl)
    issued = []
    for one in who:
        role, dot, name = one.partition(".")
        if not dot:
            raise InvalidInput(f"{one!r} names no one: write ROLE.NAME, such as agent.writer")
        issued.append(embedded.credentials_for(folder, role, name, span))
    for credentials in issued:
        path = directory / f"{credentials.identity}.creds"
        credentials.save(path)
        printer.say(str(path))
    directory.chmod(0o700)
    printer.data([str(directory / f"{credentials.identity}.creds") for credentials in issued])


@access.command("server-config")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write. [default: print it]"
)
@click.option("--cluster", metavar="HOST,HOST,HOST", help="The hosts of a cluster's nodes; three at least.")
@click.option(
    "--tls",
    type=click.Path(file_okay=False, path_type=PurePosixPath),
    metavar="DIRECTORY",
    help="Where server.pem and server.key lie on the server's machine, and in a cluster ca.pem.",
)
@in_folder
@printing
def access_server_config(
    out: Path | None, cluster: str | None, tls: PurePosixPath | None, folder: Path, printer: Printer
) -> None:
    """What a server of your own needs in its configuration to accept the folder's credentials.

    It holds no secret, unless it is for a cluster: then it holds the password between the nodes.
    Include it in the server's file, and set up the bus once:

    \b
    Examples:
      consort access server-config --out consort.conf
      consort access server-config --tls /etc/consort/tls --out consort.conf
      consort access server-config --cluster host-a,host-b,host-c --out consort.conf
      consort access issue provisioner setup --out setup.creds
      consort bus setup --server nats://bus:4222 --creds setup.creds
    """
    authority = Authority.load_or_create(folder / "keys")
    hosts = [host.strip() for host in cluster.split(",")] if cluster is not None else []
    text = server_lines(authority, hosts, tls)
    if out is None:
        printer.say(text.rstrip())
    elif hosts:
        write_secret(out, text)
    else:
        out.write_text(text)
    if out is not None:
        printer.say(f"server configuration: {out}" + (", which is secret" if hosts else ""))
    told = {"config": text, "file": None if out is None else str(out)}
    printer.data({**told, "account": authority.account.public})


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
