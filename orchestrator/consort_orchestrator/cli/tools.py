"""`consort tools`: shared tools in processes of their own: check, approve, start, look at, hold back."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from consort_bus import embedded
from consort_bus.errors import BusUnreachable
from consort_orchestrator.cli.ending import DONE
from consort_orchestrator.cli.opening import credentials_file, creds_wanted, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing, terminal
from consort_orchestrator.cli.tool_calls import calls, list_
from consort_orchestrator.cli.tool_files import (
    ON_SIGHT,
    Defined,
    Difference,
    admission,
    admit_new,
    approving,
    defined_by,
    differences,
    sight_notes,
)
from consort_orchestrator.cli.wording import counted
from consort_shared.errors import InvalidInput
from consort_shared.telemetry.options import Telling, telling_options
from consort_shared.tooling import Definition

_file = click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
_name = click.option("--name", default="", help="The host's name. [default: that of FILE]")


@click.group()
def tools() -> None:
    """Shared tools: a host is a process that serves the tools of a file to agents.

    Agents name them by `host.tool`. The bus carries the calls; the host alone holds the
    keys, and decides who may call what. A definition that changed is refused until it is
    approved.

    \b
    Examples:
      consort tools check tools.yaml
      consort tools start tools.yaml
      consort tools list
      consort tools calls last
    """


tools.add_command(list_)
tools.add_command(calls)


@tools.command()
@_file
@_name
@printing
def check(file: Path, name: str, printer: Printer) -> None:
    """What FILE defines, or what is wrong with it. Starts nothing.

    \b
    Example:
      consort tools check tools.yaml --json
    """
    defined = run_to_end(defined_by(file, name))
    printer.data({"host": defined.host, "tools": [_tool_data(one) for one in defined.tools]})
    printer.say(f"host {defined.host}, {counted(len(defined.tools), 'tool')}")
    for one in defined.tools:
        printer.say(f"  {one.name}  {tool_traits(one)}")


@tools.command()
@_file
@_name
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@on_the_bus
@printing
def approve(file: Path, name: str, yes: bool, place: Place, printer: Printer) -> None:
    """Approve the tools that FILE defines now, after showing what differs.

    Elsewhere this takes the provisioner's credentials. It also makes what the host needs on
    the bus, and takes back the approval of tools that FILE no longer has.

    \b
    Examples:
      consort tools approve tools.yaml
      consort tools approve tools.yaml --yes --server nats://bus:4222 --creds setup.creds
    """
    defined = run_to_end(defined_by(file, name))
    found = run_to_end(_approve(defined, yes, place, printer))
    changed = [one for one in found if one.what != "same"]
    printer.data({"host": defined.host, "differences": found})
    printer.say(f"host {defined.host}: {counted(len(changed), 'change')} approved")


async def _approve(defined: Defined, yes: bool, place: Place, printer: Printer) -> list[Difference]:
    async with admission(place) as hand:
        approved, revision = await hand.toolbox.approved(defined.host)
        found = differences(defined, approved)
        for one in found:
            if one.what != "same":
                printer.note(f"{one.what}: {one.name}")
            for change in one.changes:
                printer.note(f"  {change}")
        if any(one.what != "same" for one in found) and not yes:
            if not terminal(sys.stdin):
                raise InvalidInput("nobody is there to be asked: approve with --yes")
            click.confirm("approve that?", abort=True, err=True)
        by = str(hand.identity)
        await hand.admit(approving(defined, approved, by), revision)
        return found


@tools.command()
@_file
@_name
@click.option("--slots", type=click.IntRange(1, 128), help="Calls at a time. [default: 16]")
@click.option("--grace", type=click.FloatRange(0), help="Seconds to finish in. [default: 30]")
@telling_options
@on_the_bus
@click.option("--debug", is_flag=True, expose_value=False, help="Show where an error comes from.")
def start(
    file: Path, name: str, slots: int | None, grace: float | None, telling: Telling, place: Place
) -> None:
    """Serve the tools of FILE until SIGTERM or Ctrl-C.

    More processes of the same host share its calls. On the bus of a folder credentials are
    issued, and tools that were never seen before are approved; one whose definition changed
    is refused until `consort tools approve`. Elsewhere both were done before.

    \b
    Examples:
      consort tools start tools.yaml
      consort tools start tools.yaml --slots 4 --health-port 9403
      consort tools start web.yaml --server nats://bus:4222 --creds toolhost.web.creds
    """
    server, creds, host = run_to_end(_hosts_bus(file, name, place))
    command = [sys.executable, "-m", "consort_agents.hosting", "--server", server, "--creds", str(creds)]
    command += [*telling.arguments, "--name", host]
    for option, value in (("--slots", slots), ("--grace", grace)):
        if value is not None:
            command += [option, str(value)]
    sys.stdout.flush()
    os.execv(sys.executable, [*command, "--", str(file)])  # noqa: S606 - no shell is wanted


async def _hosts_bus(file: Path, name: str, place: Place) -> tuple[str, Path, str]:
    """Where a host is to work, as whom, and its name."""
    defined = await defined_by(file, name)
    if place.server is not None:
        if place.creds is None:
            raise creds_wanted(place, f"toolhost.{defined.host}")
        return place.server, place.creds, defined.host
    server = await asyncio.to_thread(embedded.status, place.folder, whole=False)
    if server is None:
        raise BusUnreachable(
            str(place.folder), "it does not run", "start it with `consort up` or `consort bus start`"
        )
    new, changed = await admit_new(place, defined, ON_SIGHT)
    for text in sight_notes(defined.host, new, changed):
        click.echo(text, err=True)
    return server.url, place.creds or credentials_file(place.folder, "toolhost", defined.host), defined.host


@tools.command()
@click.argument("host", metavar="HOST")
@click.option("--why", default="", help="The reason, for whoever wonders.")
@on_the_bus
@printing
def pause(host: str, why: str, place: Place, printer: Printer) -> int:
    """The kill switch of HOST: nobody may call its tools, and the bus gives it no call.

    It does not need the host to obey. Agents are answered at once that it is paused; what it
    has in hand it may finish. Elsewhere this takes the provisioner's credentials.

    \b
    Examples:
      consort tools pause web --why "the key has leaked"
      consort tools resume web
    """
    run_to_end(_hold(host, True, why, place))
    printer.say(f"host {host} is paused")
    printer.data({"host": host, "paused": True, "why": why})
    return DONE


@tools.command()
@click.argument("host", metavar="HOST")
@on_the_bus
@printing
def resume(host: str, place: Place, printer: Printer) -> int:
    """Let a HOST that is paused go on.

    \b
    Example:
      consort tools resume web
    """
    run_to_end(_hold(host, False, "", place))
    printer.say(f"host {host} goes on")
    printer.data({"host": host, "paused": False})
    return DONE


async def _hold(host: str, held: bool, why: str, place: Place) -> None:
    async with admission(place) as hand:
        if held:
            await hand.pause(host, str(hand.identity), why)
        else:
            await hand.resume(host)


def tool_traits(one: Definition) -> str:
    """What matters of a tool to whoever approves it."""
    cost = f", {one.cost / 1e9:g} USD a call" if one.cost else ""
    owner = f", owner {one.owner}" if one.owner else ""
    twice = "" if one.idempotent else ", not to be done twice"
    return f"{one.kind}, {one.risk}{twice}, gives {one.data_class} data{cost}{owner}"


def _tool_data(one: Definition) -> dict[str, object]:
    return {**one.model_dump(mode="json"), "digest": one.digest}
