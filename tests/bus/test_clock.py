"""The time of the bus, measured from here."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from consort_bus.clock import ServerClock
from consort_bus.connection import Bus
from consort_bus.errors import NoAnswer
from consort_bus.wire import Wire

OpenAs = Callable[[str, str], AbstractAsyncContextManager[Bus]]


class _Server:
    """Answers after a while, with a clock of its own."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.takes = 0.0
        self.body: bytes | None = None

    async def request(self, subject: str, /, *, timeout: float = 2.0) -> Msg:
        stamp = datetime.now(UTC) + timedelta(seconds=self.ahead)
        await asyncio.sleep(self.takes)
        body = self.body or json.dumps({"ts": stamp.isoformat()}).encode()
        return Msg(Client(), subject=subject, data=body)


async def test_on_one_machine_the_clocks_agree(open_as: OpenAs) -> None:
    async with open_as("orchestrator", "o1") as bus, Wire(bus.nc, bus) as wire:
        for clock in (ServerClock(bus), ServerClock(wire)):
            assert clock.uncertainty == float("inf")
            skew = await clock.measure()
            assert abs(skew) <= clock.uncertainty + 0.001
            assert abs(clock.now() - time.time()) <= clock.uncertainty + 0.001


async def test_another_clock_is_followed_and_a_slow_answer_changes_little() -> None:
    server = _Server()
    clock = ServerClock(server)
    assert clock.skew == 0
    server.ahead = -3600
    assert await clock.measure() == pytest.approx(3600, abs=0.05)
    server.takes = 0.1  # all of it on the way back, so half of it is taken for skew
    assert await clock.measure() == pytest.approx(3600, abs=0.03)
    server.takes, server.ahead = 0.0, 5  # another node leads, or somebody set its clock
    assert await clock.measure() == pytest.approx(-5, abs=0.05)
    assert clock.now() == pytest.approx(time.time() + 5, abs=0.05)


async def test_an_answer_without_a_time_is_none() -> None:
    server = _Server()
    clock = ServerClock(server)
    await clock.measure()
    known = clock.uncertainty
    server.body = b'{"error": {"code": 404}}'
    with pytest.raises(NoAnswer):
        await clock.measure()
    assert clock.uncertainty == known
