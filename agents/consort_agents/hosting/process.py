"""A tool host's process from its command line to its exit code.

Reads the file with the tools, connects with the host's credentials, works until SIGTERM or SIGINT, then
drains. With `--check` it says what the file defines, and ends. Exit codes: 0 stopped, 2 the file or the
arguments are not usable, 3 the bus cannot be reached or refuses.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from consort_agents.attendance import new_instance
from consort_agents.hosting.host import SLOTS, Host
from consort_agents.hosting.loading import serving
from consort_agents.hosting.spans import service_of
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.wire import Wire
from consort_shared.errors import ConsortError
from consort_shared.lifeline import hold_on
from consort_shared.looping import run_for_long
from consort_shared.telemetry import metrics
from consort_shared.telemetry.health import answering
from consort_shared.telemetry.logs import set_up_logging
from consort_shared.telemetry.metering import Meters, metering
from consort_shared.telemetry.options import Telling, telling_options
from consort_shared.telemetry.tracing import exported

log = logging.getLogger("consort.tools")


@click.command(name="tools start")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", default="", help="The host's name on the bus. [default: that of the file]")
@click.option("--server", envvar=["CONSORT_SERVER", "NATS_URL"], help="Address of the bus.")
@click.option("--creds", envvar="CONSORT_CREDS", type=click.Path(), help="The host's credentials.")
@click.option(
    "--slots", type=click.IntRange(1, 128), default=SLOTS, show_default=True, help="Calls at a time."
)
@click.option(
    "--grace", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds to finish in."
)
@telling_options
@click.option("--check", is_flag=True, help="Print what FILE defines as JSON, and end.")
def main(
    file: Path,
    name: str,
    server: str | None,
    creds: str | None,
    slots: int,
    grace: float,
    telling: Telling,
    check: bool,
) -> None:
    """Serve the tools of FILE to agents until told to stop."""
    if check:
        asyncio.run(_check(file, name))
        return
    if server is None or creds is None:
        raise click.UsageError("--server and --creds say which bus the host works on, and as whom")
    set_up_logging(telling.log_level, telling.log_format)
    try:
        credentials = Credentials.load(creds)
        with metering("toolhost", credentials.identity.name, telling.health is not None) as meters:
            run_for_long(_serve(file, name, server, credentials, slots, grace, telling, meters))
    except* ConsortError as group:
        first = group.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        log.error("%s", first)
        sys.exit(getattr(first, "exit_code", 1))


async def _serve(
    file: Path,
    name: str,
    server: str,
    credentials: Credentials,
    slots: int,
    grace: float,
    telling: Telling,
    meters: Meters,
) -> None:
    """Run a host until SIGTERM or SIGINT; a second one has what is under way given up. Raises ConsortError."""
    stop, hurry = _told_to_stop(grace)
    instance = new_instance()
    async with (
        serving(file, name) as served,
        exported(service_of(served.name), instance) as tracing,
        answering(telling.health, meters.scrape) as vitals,
        open_bus(server, credentials, client_name=f"tool host {served.name}", patience=30) as bus,
        Wire(bus.nc, bus) as wire,
    ):
        if tracing is not None:
            tracing.become_global()  # for what tools trace, and the libraries that they use
        host = Host(served, bus, wire, slots=slots, instance=instance, tracing=tracing)
        vitals.ready_unless(lambda: host.unready)
        metrics.observe_process("toolhost", served.name, lambda: host.unready, lambda: bus.reconnects)
        closed = asyncio.create_task(bus.wait_closed())
        work = asyncio.create_task(host.run(stop, grace=timedelta(seconds=grace), hurry=hurry))
        await asyncio.wait({closed, work}, return_when=asyncio.FIRST_COMPLETED)
        if closed.done():
            work.cancel()
            raise closed.result()
        closed.cancel()
        work.result()


def _told_to_stop(grace: float) -> tuple[asyncio.Event, asyncio.Event]:
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    hold_on(lambda: loop.call_soon_threadsafe(stop.set), patience=grace + 15)
    return stop, hurry


async def _check(file: Path, name: str) -> None:
    """What a file defines as a line of JSON, or why it cannot be used."""
    shown: dict[str, Any]
    try:
        with redirect_stdout(sys.stderr):
            async with serving(file, name) as served:
                tools = {key: tool.definition for key, tool in sorted(served.tools.items())}
                shown = {
                    "host": served.name,
                    "tools": [
                        {"definition": one.model_dump(mode="json"), "digest": one.digest}
                        for one in tools.values()
                    ],
                }
    except Exception as exc:  # noqa: BLE001 - code and files of somebody else are loaded here
        told = str(exc) if isinstance(exc, ConsortError) else f"{type(exc).__name__}: {exc}"
        shown = {"error": told}
    click.echo(json.dumps(shown))
    sys.stdout.flush()
    os._exit(2 if "error" in shown else 0)  # threads of somebody's tools must not keep it
