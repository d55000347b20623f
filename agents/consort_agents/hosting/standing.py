"""How a host's process stands: what it may serve, and that it lives.

What is approved is looked at again when it is older than a moment, and at once where it matters; nothing is
kept beyond that, so an approval, a pause, or the end of either takes effect within seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable

from consort_agents.hosting.served import Served, not_pinned, not_served
from consort_agents.tools.definition import Definition
from consort_bus.errors import BusError
from consort_bus.toolbox import ALIVE_TTL, Toolbox
from consort_shared.tooling import Approved, HostAlive, HostCounts

APPROVED_FRESH = 1.0
"""Seconds for which what is approved is believed without looking."""
SHOW_EVERY = ALIVE_TTL / 4
MEASURE_EVERY = 60.0
"""Seconds between looks at the bus's clock: a sign of life bears the time at which it was stored."""

log = logging.getLogger("consort.tools")


class Standing:
    """One process of a host, as others know it."""

    def __init__(self, served: Served, toolbox: Toolbox, instance: str) -> None:
        self.instance = instance
        self._served = served
        self._toolbox = toolbox
        self._approved: Approved | None = None
        self._looked = float("-inf")
        self._started = time.time()
        self._shown = time.monotonic()
        self._ahead = time.time() - time.monotonic()
        self._measured = float("-inf")

    def now(self) -> float:
        """Seconds since 1970 by the bus's clock, which deadlines are set by."""
        return time.monotonic() + self._ahead

    async def why_not(self, tool: str) -> str:
        """Why a tool may not be served now, in one sentence; empty if it may. Raises BusError."""
        definition = self._served.tools[tool].definition
        if time.monotonic() - self._looked > APPROVED_FRESH:
            await self.look()
        return self._why_not(definition)

    def _why_not(self, definition: Definition) -> str:
        return not_pinned(self._served, definition) or not_served(self._approved, definition)

    async def look(self) -> None:
        """Look at what is approved. Raises BusError."""
        self._approved, _ = await self._toolbox.approved(self._served.name)
        self._looked = time.monotonic()

    @property
    def refused(self) -> dict[str, str]:
        """The tools that are not served now, and why."""
        found = {name: self._why_not(tool.definition) for name, tool in self._served.tools.items()}
        return {name: why for name, why in found.items() if why}

    async def lives(self, instance: str) -> bool:
        """Whether another process of this host lives. Raises BusError."""
        return await self._toolbox.lives(self._served.name, instance)

    @property
    def silent(self) -> float:
        """Seconds since the bus took a sign of life."""
        return time.monotonic() - self._shown

    async def show(self, busy: int, queued: int, counts: HostCounts) -> None:
        """Put down a sign of life. Raises BusError."""
        alive = HostAlive(
            host=self._served.name,
            instance=self.instance,
            machine=socket.gethostname(),
            pid=os.getpid(),
            started=self._started,
            tools={name: tool.definition.digest for name, tool in self._served.tools.items()},
            refused=self.refused,
            busy=busy,
            queued=queued,
            counts=counts,
        )
        asked = time.monotonic()
        await self._toolbox.show(alive)
        self._shown = time.monotonic()
        if self._shown - self._measured > MEASURE_EVERY:
            stored = await self._toolbox.shown_at(self._served.name, self.instance)
            if stored is not None:
                self._ahead, self._measured = stored - (asked + self._shown) / 2, self._shown

    async def keep_showing(self, figures: Callable[[], tuple[int, int, HostCounts]]) -> None:
        """Look, and show signs of life, until cancelled. What changes in what is served is told once."""
        told: dict[str, str] = {}
        while True:
            try:
                await self.look()
                await self.show(*figures())
            except BusError as exc:
                log.info("tool host %s: sign of life not sent: %s", self._served.name, exc)
            for name, why in self.refused.items():
                if told.get(name) != why:
                    log.warning("tool host %s does not serve %s: %s", self._served.name, name, why)
            for name in told.keys() - self.refused.keys():
                log.info("tool host %s serves %s", self._served.name, name)
            told = self.refused
            await asyncio.sleep(SHOW_EVERY)

    async def leave(self) -> None:
        """Take the sign of life away."""
        try:
            await self._toolbox.leave(self._served.name, self.instance)
        except BusError as exc:
            log.info("tool host %s: leaving not announced: %s", self._served.name, exc)
