"""What tests of every part share: one real server for the session, and connections to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

import pytest

from consort_bus import embedded
from consort_bus.connection import Bus, open_bus
from consort_bus.embedded import Embedded
from ready_bus import ready_bus

OpenAs = Callable[[str, str], AbstractAsyncContextManager[Bus]]


@pytest.fixture(scope="session")
def embedded_bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A server with everything set up. Tests share it, so they use run ids and names of their own."""
    with ready_bus(tmp_path_factory.mktemp("consort")) as server:
        yield server


@pytest.fixture
def open_as(embedded_bus: Embedded) -> OpenAs:
    """Opens a connection under a role and a name: `async with open_as("agent", "a1") as bus`."""

    def connect(role: str, name: str) -> AbstractAsyncContextManager[Bus]:
        return open_bus(embedded_bus.url, embedded.credentials_for(embedded_bus.folder, role, name))

    return connect
