"""An orchestrator as a process, and nothing around it.

What `consort orchestrator start` runs, without its options. `CONSORT_BENCH_PROFILE` names a
file to write a profile to.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.wire import Wire
from consort_orchestrator.shell.service import Orchestrator
from consort_shared.lifeline import hold_on
from consort_shared.logs import set_up_logging


async def serve(server: str, credentials: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    hold_on(lambda: loop.call_soon_threadsafe(stop.set), patience=10)
    async with open_bus(server, Credentials.load(credentials)) as bus, Wire(bus.nc, bus) as wire:
        await Orchestrator(bus, wire).run(stop)


if __name__ == "__main__":
    set_up_logging("warning")
    uvloop.run(serve(sys.argv[1], sys.argv[2]))
