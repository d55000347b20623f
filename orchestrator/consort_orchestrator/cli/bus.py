"""The bus: starting and stopping that of a folder, setting up, checking and backing up any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from consort_bus import backup, checking, embedded, growth, topology
from consort_bus.cluster import SIZES
from consort_bus.connection import Bus, open_bus
from consort_bus.credentials import Credentials
from consort_bus.errors import BusError, BusUnreachable, BusUnsuitable
from consort_bus.retention import Keep
from consort_bus.topology import Finding
from consort_orchestrator.cli.amounts import age_text, as_bytes, as_span, kept_text
from consort_orchestrator.cli.ending import DONE
from consort_orchestrator.cli.opening import PATIENCE, creds_wanted, local_bus, run_to_end, set_up_bus
from consort_orchestrator.cli.options import Place, Printer, in_folder, on_the_bus, printing

_KEEP = "`consort bus setup --keep TIME` changes it"


@click.group()
def bus() -> None:
    """Start, stop, check, back up and set up the bus."""


@bus.command("start")
@click.option(
    "--nodes",
    type=click.Choice([str(size) for size in SIZES]),
    help="How many servers, with copies of everything on three. [default: as before; 1]",
)
@click.option("--sync-always", is_flag=True, help="Every write reaches the disk before it counts; slower.")
@in_folder
@printing
def bus_start(nodes: str | None, sync_always: bool, folder: Path, printer: Printer) -> None:
    """Start the bus of a folder and set it up; it runs until `consort bus stop`.

    With three nodes or five, one may die or hang and nothing is lost; every write reaches
    the disk first. Nodes that died are started again. A single server's data is moved to
    the cluster.

    \b
    Examples:
      consort bus start
      consort bus start --nodes 3
      consort bus start --sync-always --folder /var/lib/consort
    """
    count = None if nodes is None else int(nodes)
    if count is not None and growth.must_grow(folder, count):
        printer.note("the data of the single server is moved to the cluster")
        server = growth.grow(folder, count)
    else:
        server = embedded.start(folder, nodes=count, sync_always=sync_always)
    run_to_end(set_up_bus(server.url, embedded.credentials_for(folder, "provisioner", "setup")))
    printer.say(
        f"the bus {'was started' if server.started else 'runs already'}: {server.url}, process {server.pid}"
    )
    data = {"server": server.url, "pid": server.pid, "started": server.started}
    printer.data({**data, "nodes": _nodes(folder)})


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

    A cluster runs while most of its nodes do.

    \b
    Example:
      consort bus status || consort bus start
    """
    server = embedded.status(folder, whole=False)
    nodes = _nodes(folder)
    printer.data(
        {
            "running": server is not None,
            "server": server and server.url,
            "pid": server and server.pid,
            "nodes": nodes,
        }
    )
    printer.say(
        "the bus does not run" if server is None else f"the bus runs: {server.url}, process {server.pid}"
    )
    for node in nodes if len(nodes) > 1 else ():
        state = f"process {node['pid']}" if node["pid"] is not None else "does not run; `consort bus start`"
        printer.say(f"  {node['name']}  {node['url']}  {state}")
    return DONE if server is not None else BusUnreachable.exit_code


def _nodes(folder: Path) -> list[dict[str, str | int | None]]:
    return [
        {"name": node.name, "pid": node.pid, "url": node.url, "folder": str(node.folder)}
        for node in embedded.nodes(folder)
    ]


@bus.command("setup")
@click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    help="Copies of everything. [default: 3 in a cluster of three or more, else 1; never fewer than there are]",
)
@click.option("--log-limit", metavar="SIZE", help="How much the log may hold, such as 10GB; then it refuses.")
@click.option("--inbox-limit", type=click.IntRange(1), metavar="N", help="How many messages may wait.")
@click.option("--keep", metavar="TIME", callback=as_span, help="How long everything is kept, such as 90d.")
@click.option("--keep-dead", metavar="TIME", callback=as_span, help="Dead letters, if not as long as that.")
@click.option("--keep-artefacts", metavar="TIME", callback=as_span, help="Artefacts, if longer than the log.")
@on_the_bus
@printing
def bus_setup(
    replicas: int | None,
    log_limit: str | None,
    inbox_limit: int | None,
    keep: timedelta | None,
    keep_dead: timedelta | None,
    keep_artefacts: timedelta | None,
    place: Place,
    printer: Printer,
) -> None:
    """Make what must exist on the bus, and mend what differs. Needs the credentials of a provisioner.

    Limits and times that were set stay until they are set again; at first everything is
    kept for 30 days. What is older than a shorter time is gone at once.

    \b
    Examples:
      consort bus setup
      consort bus setup --server nats://bus:4222 --creds provisioner.creds --replicas 3
      consort bus setup --log-limit 10GB
      consort bus setup --keep 90d --keep-dead 14d
    """
    kept = Keep(keep, keep_artefacts or keep, keep_dead or keep)
    limits = topology.Limits(None if log_limit is None else as_bytes(log_limit), inbox_limit, kept)
    changes = run_to_end(_set_up(place, replicas, limits))
    for change in changes:
        printer.say(f"{change.what}: {change.done}{age_text(change)}")
    if not changes:
        printer.say("all is as it should be")
    printer.data([{"what": change.what, "done": change.done} for change in changes])


async def _set_up(place: Place, replicas: int | None, limits: topology.Limits) -> list[topology.Change]:
    async with _provisioner(place) as (url, credentials):
        return await set_up_bus(url, credentials, replicas, limits)


@bus.command("check")
@click.option("--replicas", type=click.IntRange(1, 5), help="There must be so many copies of everything.")
@click.option("--monitor", metavar="URL", help="Address of the monitoring of a server elsewhere.")
@on_the_bus
@printing
def bus_check(replicas: int | None, monitor: str | None, place: Place, printer: Printer) -> int:
    """Whether the bus is what it should be, and what to do where it is not.

    Streams, consumers, copies, leaders, limits, and whether writes reach the disk. Tells
    too for how long things are kept. Ends with 3 if something is wrong, with 0 if there
    is nothing but warnings.

    \b
    Examples:
      consort bus check
      consort bus check --server nats://bus:4222 --creds provisioner.creds --monitor http://bus:8222
    """
    findings, kept = run_to_end(_check(place, replicas, monitor))
    for finding in findings:
        printer.say(f"{finding.level}: {finding}\n  {finding.mend}")
    if not findings:
        printer.say("all is as it should be")
    data: list[dict[str, Any]] = [
        {"what": finding.what, "level": finding.level, "text": str(finding), "mend": finding.mend}
        for finding in findings
    ]
    if kept:
        printer.say(f"kept: {kept_text(kept)}")
        seconds_kept = {name: span.total_seconds() for name, span in kept.items()}
        told = {"what": "kept", "level": "note", "text": kept_text(kept), "mend": _KEEP}
        data.append({**told, "seconds": seconds_kept})
    printer.data(data)
    return BusUnsuitable.exit_code if any(finding.level == "wrong" for finding in findings) else DONE


async def _check(
    place: Place, replicas: int | None, monitor: str | None
) -> tuple[list[Finding], dict[str, timedelta]]:
    """What is found, and by stream for how long it keeps what is on it.

    The bus of a folder is started only if none of it runs: what died is a finding.
    """
    if place.server is not None:
        findings = await asyncio.to_thread(checking.check_monitor, monitor)
    elif any(node.pid is not None for node in await asyncio.to_thread(embedded.nodes, place.folder)):
        findings = await asyncio.to_thread(checking.check_folder, place.folder)
        there = await asyncio.to_thread(embedded.status, place.folder, whole=False)
        if there is None:
            return findings, {}
        place = Place(there.url, _setup_file(place.folder), place.folder)
    else:
        async with _connected(place) as connection:
            findings = await asyncio.to_thread(checking.check_folder, place.folder)
            return findings + await checking.check(connection, replicas), await _kept(connection)
    async with _connected(place) as connection:
        return findings + await checking.check(connection, replicas), await _kept(connection)


async def _kept(connection: Bus) -> dict[str, timedelta]:
    """Nothing where nobody answers: that is a finding already."""
    try:
        return await topology.keeps(connection, patience=PATIENCE)
    except BusError:
        return {}


@bus.command("backup")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--no-pause", is_flag=True, help="Let runs go on meanwhile; the streams may then not fit together."
)
@on_the_bus
@printing
def bus_backup(directory: Path, no_pause: bool, place: Place, printer: Printer) -> None:
    """Copy everything that is on the bus into a new DIRECTORY. Needs the credentials of a provisioner.

    Runs wait while the copy is made. Keys are not in it: keep FOLDER/keys with it, without
    which no run goes on after a restore.

    \b
    Examples:
      consort bus backup /backups/today
      consort bus backup today --server nats://bus:4222 --creds provisioner.creds
    """
    _tell_copied(run_to_end(_backup(place, directory, pause=not no_pause)), directory, printer)


async def _backup(place: Place, directory: Path, *, pause: bool) -> backup.Manifest:
    async with _connected(place) as connection:
        return await backup.backup(connection, directory, pause=pause)


@bus.command("restore")
@click.argument("directory", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace what is on the bus.")
@click.option(
    "--replicas", type=click.IntRange(1, 5), help="Copies of everything. [default: as by bus setup]"
)
@on_the_bus
@printing
def bus_restore(
    directory: Path, overwrite: bool, replicas: int | None, place: Place, printer: Printer
) -> None:
    """Bring a backup back to an empty bus with the same keys. Needs the credentials of a provisioner.

    Stop orchestrators and agents first. Everything is checked before anything is changed; a
    restore that was cut short is finished with --overwrite.

    \b
    Examples:
      consort bus restore /backups/today
      consort bus restore today --server nats://bus:4222 --creds provisioner.creds
    """
    _tell_copied(run_to_end(_restore(place, directory, overwrite, replicas)), directory, printer)


async def _restore(place: Place, directory: Path, overwrite: bool, replicas: int | None) -> backup.Manifest:
    async with _connected(place) as connection:
        manifest = await backup.restore(connection, directory, overwrite=overwrite, replicas=replicas)
        await topology.ensure(connection, replicas)
        return manifest


def _tell_copied(manifest: backup.Manifest, directory: Path, printer: Printer) -> None:
    streams = [
        {"stream": one.name, "messages": one.messages, "consumers": one.consumers, "bytes": one.bytes}
        for one in manifest.streams
    ]
    for one in streams:
        printer.say(f"{one['stream']}: {one['messages']} messages, {one['consumers']} consumers")
    printer.say(f"backup of {manifest.made}: {directory}")
    printer.data({"directory": str(directory), "made": manifest.made, "streams": streams})


@asynccontextmanager
async def _connected(place: Place) -> AsyncIterator[Bus]:
    async with (
        _provisioner(place) as (url, credentials),
        open_bus(url, credentials, patience=PATIENCE) as connection,
    ):
        yield connection


@asynccontextmanager
async def _provisioner(place: Place) -> AsyncIterator[tuple[str, Credentials]]:
    if place.server is None:
        async with local_bus(place.folder, set_up=False) as server:
            yield server.url, embedded.credentials_for(place.folder, "provisioner", "setup")
    elif place.creds is None:
        raise creds_wanted(place, "a provisioner")
    else:
        yield place.server, Credentials.load(place.creds)


def _setup_file(folder: Path) -> Path:
    embedded.credentials_for(folder, "provisioner", "setup")
    return folder / "keys" / "provisioner.setup.creds"
