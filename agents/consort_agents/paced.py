"""Calls that keep to limits which all processes share, by way of the bus.

    async with pacing_of(bus, wire, publisher, attendance.now) as pacing:
        async with pacing.permit(provider.key, run=run, tokens=2000, deadline=deadline) as permit:
            ...
            permit.answered(tokens=1700, seen=provider.limits())

One per process. As long as nothing is known to limit a key, a permit is a look at what is in
memory; otherwise each costs one small write. What is written when: `paced_line`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from consort_agents.paced_call import Call
from consort_agents.paced_line import Line
from consort_bus.connection import Bus
from consort_bus.publish import Publisher
from consort_bus.rates import Rates
from consort_bus.wire import Wire
from consort_shared.ids import is_token

__all__ = ["BusPacing", "pacing_of"]


class BusPacing:
    """The `Pacing` of a process on the bus. Made by `pacing_of`."""

    def __init__(self, bus: Bus, rates: Rates, now: Callable[[], float], claimant: str) -> None:
        self._bus = bus
        self._rates = rates
        self._now = now
        self._claimant = claimant
        self._lines: dict[str, Line] = {}
        self._serving: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def permit(self, key: str, *, run: str, tokens: int, deadline: float) -> AsyncIterator[Call]:
        """As `Pacing.permit`. Raises PacingLate, and ValueError for a key that cannot be one."""
        if not key:
            yield Call(run, tokens, deadline)
            return
        line = self._line(key)
        call = Call(run, max(tokens, 0), deadline)
        await line.enter(call)
        try:
            yield call
        finally:
            line.leave(call)

    def breakers(self) -> dict[str, bool]:
        """By key: whether its breaker is open, as this process knows."""
        return {key: line.breaker for key, line in self._lines.items()}

    async def close(self) -> None:
        """Let go of what this process holds or waits for."""
        for task in self._serving.values():
            task.cancel()
        await asyncio.gather(*self._serving.values(), return_exceptions=True)
        await asyncio.gather(*(line.close() for line in self._lines.values()))

    def _line(self, key: str) -> Line:
        line = self._lines.get(key)
        if line is None:
            if not is_token(key):
                raise ValueError(
                    f"{key!r} cannot name shared limits: use lower-case letters, digits, - and _, at most 32"
                )
            line = self._lines[key] = Line(key, self._claimant, self._rates, self._now)
            self._serving[key] = asyncio.get_running_loop().create_task(line.serve(self._bus))
        return line


@asynccontextmanager
async def pacing_of(
    bus: Bus, wire: Wire, publisher: Publisher, now: Callable[[], float], *, claimant: str = ""
) -> AsyncIterator[BusPacing]:
    """The pacing of a process while the block lasts. `now` is the bus's clock, `claimant` a name for the process."""
    pacing = BusPacing(bus, Rates(wire, publisher), now, claimant or secrets.token_hex(6))
    try:
        yield pacing
    finally:
        await pacing.close()
