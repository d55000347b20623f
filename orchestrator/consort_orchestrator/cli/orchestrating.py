"""The process of an orchestrator, from its options to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack

from consort_bus import embedded, topology
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.wire import Wire
from consort_orchestrator.cli.opening import creds_wanted, local_bus
from consort_orchestrator.cli.options import Place
from consort_orchestrator.shell.service import Orchestrator
from consort_orchestrator.tracing.derive import SERVICE
from consort_shared.lifeline import hold_on
from consort_shared.looping import run_for_long
from consort_shared.telemetry.health import answering
from consort_shared.telemetry.logs import set_up_logging
from consort_shared.telemetry.metering import Meters, metering
from consort_shared.telemetry.options import Telling
from consort_shared.telemetry.tracing import exported

CONNECT_PATIENCE = 30.0
"""Seconds to wait for a bus that is just starting."""
log = logging.getLogger("consort.orchestrator")


def serve(place: Place, name: str, telling: Telling) -> None:
    """Run an orchestrator until told to stop. Raises BusError, PortTaken."""
    set_up_logging(telling.log_level, telling.log_format)
    with metering("orchestrator", name, telling.health is not None) as meters:
        run_for_long(_serve(place, name, telling, meters))


async def _serve(place: Place, name: str, telling: Telling, meters: Meters) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    hold_on(lambda: loop.call_soon_threadsafe(stop.set))
    async with AsyncExitStack() as stack:
        vitals = await stack.enter_async_context(answering(telling.health, meters.scrape))
        url, credentials = await _identity(stack, place, name)
        bus = await stack.enter_async_context(
            open_bus(url, credentials, client_name=f"orchestrator {name}", patience=CONNECT_PATIENCE)
        )
        await topology.require(bus)
        wire = await stack.enter_async_context(Wire(bus.nc, bus))
        closed = asyncio.create_task(bus.wait_closed())
        tracing = await stack.enter_async_context(exported(SERVICE, f"{name}-{os.getpid()}"))
        orchestrator = Orchestrator(bus, wire, tracing)
        vitals.ready_unless(lambda: orchestrator.unready)
        orchestrator.observe()
        work = asyncio.create_task(orchestrator.run(stop))
        await asyncio.wait({closed, work}, return_when=asyncio.FIRST_COMPLETED)
        if closed.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            raise closed.result()
        closed.cancel()
        work.result()


async def _identity(stack: AsyncExitStack, place: Place, name: str) -> tuple[str, Credentials]:
    if place.server is None:
        server = await stack.enter_async_context(local_bus(place.folder))
        known = embedded.credentials_for(place.folder, "orchestrator", name)
        return server.url, known if place.creds is None else Credentials.load_for(
            "orchestrator", name, place.creds
        )
    if place.creds is None:
        raise creds_wanted(place, "an orchestrator")
    return place.server, Credentials.load_for("orchestrator", name, place.creds)
