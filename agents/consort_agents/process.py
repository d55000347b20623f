"""An agent's process from its command line to its exit code.

Finds the agent by name, connects with its credentials, works until SIGTERM or
SIGINT, then drains. Exit codes: 0 stopped, 2 the agent or the arguments are not
usable, 3 the bus cannot be reached or refuses, or the port for health checks is taken.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import timedelta
from typing import Any

import click

from consort_agents.attendance import new_instance
from consort_agents.finding import find_agent
from consort_agents.kit import Agent
from consort_agents.tracing import service_of
from consort_agents.worker import Worker
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.wire import Wire
from consort_shared.errors import ConsortError
from consort_shared.lifeline import hold_on
from consort_shared.looping import run_for_long
from consort_shared.telemetry.health import answering
from consort_shared.telemetry.logs import set_up_logging
from consort_shared.telemetry.metering import Meters, metering
from consort_shared.telemetry.options import Telling, telling_options
from consort_shared.telemetry.tracing import exported

__all__ = ["find_agent", "main", "serve", "show_cards"]

log = logging.getLogger("consort.agent")


async def serve(
    agent: Agent,
    name: str,
    server: str,
    credentials: Credentials,
    *,
    slots: int | None,
    grace: timedelta,
    telling: Telling,
    meters: Meters,
) -> None:
    """Run an agent until SIGTERM or SIGINT; a second one has what is in hand handed back at once.

    Raises ConsortError. Ends the process where user code that was told to stop does not.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    hold_on(lambda: loop.call_soon_threadsafe(stop.set), patience=grace.total_seconds() + 15)
    instance = new_instance()
    async with (
        exported(service_of(agent.name), instance) as tracing,
        answering(telling.health, meters.scrape) as vitals,
        open_bus(server, credentials, client_name=f"agent {agent.name}", patience=30) as bus,
        Wire(bus.nc, bus) as wire,
    ):
        if tracing is not None:
            tracing.become_global()  # for what skills trace, and the libraries that they use
        worker = Worker(agent, bus, wire, slots=slots, name=name, tracing=tracing, instance=instance)
        vitals.ready_unless(lambda: worker.unready)
        worker.observe()
        closed = asyncio.create_task(bus.wait_closed())
        work = asyncio.create_task(worker.run(stop, grace=grace, hurry=hurry))
        await asyncio.wait({closed, work}, return_when=asyncio.FIRST_COMPLETED)
        if closed.done():
            work.cancel()
            raise closed.result()
        closed.cancel()
        work.result()
    if worker.left:
        log.warning("agent %s ends with %d tasks that do not stop", agent.name, worker.left)
        meters.close()
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


@click.command(name="agent start")
@click.argument("agents", metavar="AGENT", nargs=-1, required=True)
@click.option("--server", envvar=["CONSORT_SERVER", "NATS_URL"], help="Address of the bus.")
@click.option(
    "--creds",
    envvar="CONSORT_CREDS",
    type=click.Path(),
    help="Its credentials.",
)
@click.option(
    "--slots", type=click.IntRange(1, 10_000), help="Tasks at a time; by default what the agent says."
)
@click.option(
    "--grace", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds to finish in."
)
@telling_options
@click.option(
    "--card", is_flag=True, help="Print what each AGENT says of itself, a line of JSON each, and end."
)
def main(
    agents: tuple[str, ...],
    server: str | None,
    creds: str | None,
    slots: int | None,
    grace: float,
    telling: Telling,
    card: bool,
) -> None:
    """Run AGENT (module:attribute, or the name of an installed one) until told to stop."""
    if card:
        show_cards(agents)
        return
    if len(agents) != 1:
        raise click.UsageError("a process runs one agent")
    if server is None or creds is None:
        raise click.UsageError("--server and --creds say which bus the agent works on, and as whom")
    [agent] = agents
    set_up_logging(telling.log_level, telling.log_format)
    try:
        found = find_agent(agent)
        credentials = Credentials.load_for("agent", found.name, creds)
        with metering("agent", found.name, telling.health is not None) as meters:
            serving = serve(
                found,
                agent,
                server,
                credentials,
                slots=slots,
                grace=timedelta(seconds=grace),
                telling=telling,
                meters=meters,
            )
            run_for_long(serving)
    except* ConsortError as group:
        first = group.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        log.error("%s", first)
        sys.exit(getattr(first, "exit_code", 1))


def show_cards(names: Sequence[str]) -> None:
    """Each agent's card on a line, or why it cannot be had: one that is broken does not hide the others."""
    for name in names:
        try:
            with redirect_stdout(sys.stderr):
                shown: dict[str, Any] = {"agent": name, "card": find_agent(name).card.model_dump(mode="json")}
        except Exception as exc:  # noqa: BLE001 - the agent's own code is imported here and may do anything
            told = str(exc) if isinstance(exc, ConsortError) else f"{type(exc).__name__}: {exc}"
            shown = {"agent": name, "error": told}
        click.echo(json.dumps(shown))
