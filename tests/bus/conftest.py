"""A plain server for tests of what runs on one connection, without identities and their rights."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from _nats_server import Server, connect

from consort_bus.wire import Wire


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For tests that leave it running."""
    server = Server(tmp_path_factory.mktemp("nats")).start()
    yield server
    server.kill()


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For tests that stop and start it."""
    server = Server(tmp_path_factory.mktemp("nats")).start()
    yield server
    server.kill()


@pytest.fixture
async def wire(shared_server: Server) -> AsyncIterator[Wire]:
    nc, events = await connect(shared_server.url)
    async with Wire(nc, events) as wire:
        yield wire
    await nc.close()
