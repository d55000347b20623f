"""A server with everything set up, for fixtures."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consort_bus import embedded, topology
from consort_bus.connection import open_bus
from consort_bus.embedded import Embedded


@contextmanager
def ready_bus(folder: Path) -> Iterator[Embedded]:
    """A bus in a folder while the block lasts. Not for use within an event loop."""
    server = embedded.start(folder)
    try:
        asyncio.run(_set_up(server))
        yield server
    finally:
        embedded.stop(server.folder)


async def _set_up(server: Embedded) -> None:
    credentials = embedded.credentials_for(server.folder, "provisioner", "setup")
    async with open_bus(server.url, credentials) as bus:
        await topology.ensure(bus)
