"""Fixtures of the tests of the journal: the same stores in memory and on a real bus."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from journal_kit import Desk

from consort_bus.connection import Bus
from consort_bus.wire import Wire


@pytest.fixture(params=["memory", "bus"])
def connecting(request: pytest.FixtureRequest) -> object:
    return request.getfixturevalue("open_as") if request.param == "bus" else None


@pytest.fixture
async def desk(connecting: object) -> AsyncIterator[Desk]:
    if connecting is None:
        yield Desk()
        return
    async with AsyncExitStack() as stack:
        name = f"j{secrets.token_hex(4)}"
        bus: Bus = await stack.enter_async_context(connecting("agent", name))  # type: ignore[operator]
        wire = await stack.enter_async_context(Wire(bus.nc, bus))
        yield Desk(bus, wire)
