"""A plain server for tests of what runs on one connection, without identities and their rights."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from _nats_server import Server, connect

from consort_bus.wire import Wire


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for each test: a stream that is deleted and made anew at once may still hold old messages."""
    server = Server(tmp_path_factory.mktemp("nats")).start()
    yield server
    server.kill()


@pytest.fixture
async def wire(server: Server) -> AsyncIterator[Wire]:
    nc, events = await connect(server.url)
    async with Wire(nc, events) as wire:
        yield wire
    await nc.close()
