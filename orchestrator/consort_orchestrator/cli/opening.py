"""From a place to an open connection, and how a command runs until it is told to stop.

The bus of a folder is started for as long as a command needs it, and set up if
nobody did so before. A command that only looks never makes a folder.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from consort_bus import embedded, topology
from consort_bus.client import Client, connect
from consort_bus.connection import open_bus
from consort_bus.credentials import Credentials
from consort_bus.embedded import Embedded
from consort_bus.errors import BusUnreachable
from consort_orchestrator.cli.options import Place
from consort_shared.errors import InvalidInput, UnknownRun
from consort_shared.ids import is_run_id

T = TypeVar("T")
_LAST = "last"
PATIENCE = 5.0
"""Seconds for which a bus is waited for that may just be starting."""
CLIENT = "me"
"""The name under which a person at this machine hands in runs."""


@asynccontextmanager
async def client_of(place: Place, *, role: str = "client", looking: bool = True) -> AsyncIterator[Client]:
    """A client of the bus. `looking` refuses a folder where there never was one. Raises BusError."""
    if place.server is not None:
        if place.creds is None:
            raise creds_wanted(place, "a client")
        async with connect(place.server, place.creds) as client:
            yield client
        return
    if looking and not (place.folder / "bus").is_dir():
        raise BusUnreachable(
            str(place.folder),
            "nothing was ever started in this folder",
            "`consort run` or `consort up` begin there; name another with --folder, or a bus elsewhere with --server",
        )
    async with local_bus(place.folder, set_up=not looking) as server:
        known = place.creds or embedded.credentials_for(place.folder, role, CLIENT)
        async with connect(server.url, known) as client:
            yield client


def creds_wanted(place: Place, whose: str) -> InvalidInput:
    """Nobody is let in without credentials."""
    return InvalidInput(
        f"{place.server} needs the credentials of {whose}: name the file with --creds; "
        "`consort access issue` makes one where the bus was set up"
    )


@asynccontextmanager
async def local_bus(
    folder: Path, *, set_up: bool = True, nodes: int | None = None
) -> AsyncIterator[Embedded]:
    """The bus of a folder while the block lasts, with all that must exist on it. Raises BusError.

    `nodes` is for a bus that is new in the folder; otherwise it has those that it had.
    """
    async with embedded.running(folder, nodes=nodes) as server:
        if set_up:
            await set_up_bus(server.url, embedded.credentials_for(folder, "provisioner", "setup"))
        yield server


async def set_up_bus(
    url: str,
    provisioner: Credentials,
    replicas: int | None = None,
    limits: topology.Limits = topology.Limits(),  # noqa: B008 - it is frozen
) -> list[topology.Change]:
    """Make what must exist on a bus. Without `replicas`, with as many copies as its servers are good for."""
    async with open_bus(url, provisioner, patience=PATIENCE) as bus:
        return await topology.ensure(bus, replicas, limits=limits)


async def resolved(client: Client, place: Place, text: str) -> str:
    """The id of a run as people name it. A whole id is taken as it is: the run may be yet to come.

    `last` is the newest on the log, or one handed in from this folder since. Raises UnknownRun, BusError.
    """
    if is_run_id(text):
        return text
    noted = _noted(place) if text == "last" else ""
    try:
        return max(await client.find_run(text), noted)
    except UnknownRun:
        if noted:
            return noted
        raise


def remember(place: Place, run: str) -> None:
    """Note a run that was handed in: it is not on the log before an orchestrator takes it up."""
    if place.server is None:
        (place.folder / _LAST).write_text(f"{run}\n", encoding="ascii")


def _noted(place: Place) -> str:
    try:
        text = (place.folder / _LAST).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    return text if place.server is None and is_run_id(text) else ""


def credentials_file(folder: Path, role: str, name: str) -> Path:
    """A file with credentials for the bus of a folder, issued if there are none. Raises BusError, InvalidInput."""
    credentials = embedded.credentials_for(folder, role, name)
    path = folder.absolute() / "keys" / f"{role}.{name}.creds"
    if not path.exists():
        credentials.save(path)
    return path


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine. Ctrl-C, SIGTERM and a closed terminal cancel it, so that it cleans up.

    Raises KeyboardInterrupt when that happened.
    """
    return asyncio.run(_cancellable(work))


async def _cancellable(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    told = False

    def stop() -> None:
        nonlocal told
        told = True
        task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if told:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
