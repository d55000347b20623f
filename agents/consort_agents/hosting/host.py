"""The process of a tool host: takes calls, keeps their leases alive, shows that it lives, drains.

It asks for more calls than it works on at once, so that it can be fair between runs; those that wait are
kept by signs of progress like those that are under way. Told to stop, it takes no more, gives back what has
not begun, and finishes what has.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from consort_agents.attendance import new_instance
from consort_agents.hosting.desk import Desk
from consort_agents.hosting.errors import HostError
from consort_agents.hosting.ledger import Ledger
from consort_agents.hosting.served import Served
from consort_agents.hosting.spans import HostSpans
from consort_agents.hosting.standing import Standing
from consort_agents.hosting.turns import Turns
from consort_agents.hosting.work import Work
from consort_bus import subjects
from consort_bus.artefacts import Artefacts
from consort_bus.connection import Bus
from consort_bus.publish import Publisher
from consort_bus.pull import Delivery, Pull
from consort_bus.toolbox import ALIVE_TTL, Toolbox
from consort_bus.wire import Wire
from consort_shared.telemetry.health import NOT_CONNECTED, STOPPING
from consort_shared.telemetry.tracing import Tracing
from consort_shared.tooling import HostCounts

SLOTS = 16
"""Calls that one process works on at once, where nobody said."""
IN_HAND = 128
"""Calls that one process has in hand at most, with those that wait for their turn."""
LEASE_EVERY = 1.5
"""Seconds between signs of progress; well below any time for an acknowledgement."""
LAST_TRIES = 2.0

log = logging.getLogger("consort.tools")


class Host:
    """One process of a tool host, over one connection."""

    def __init__(
        self,
        served: Served,
        bus: Bus,
        wire: Wire,
        *,
        slots: int = SLOTS,
        instance: str | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        if (bus.identity.role, bus.identity.name) != ("toolhost", served.name):
            right = f"`consort access issue toolhost {served.name} --out toolhost.{served.name}.creds`"
            raise HostError(
                f"the credentials are for {bus.identity}, the host is toolhost.{served.name}; {right} makes "
                "the right ones where the keys are"
            )
        self.instance = instance or new_instance()
        self._served = served
        self._bus = bus
        publisher = Publisher(wire)
        artefacts = Artefacts(wire, bus.identity)
        self._standing = Standing(served, Toolbox(wire, publisher), self.instance)
        self._turns: Turns[asyncio.Event] = Turns(slots, served.quotas)
        ledger = Ledger(wire, publisher, served.name)
        work = Work(served, ledger, artefacts, self.instance, self._standing.lives)
        self._desk = Desk(
            served, self._standing, work, self._turns, wire, publisher, artefacts, HostSpans(tracing)
        )
        self._works: set[asyncio.Task[None]] = set()
        consumer = subjects.host_consumer_name(served.name)
        self._pull = Pull(
            wire, subjects.TOOLS, consumer, self._arrived, slots=IN_HAND, expires=5.0, heartbeat=2.0
        )
        self._running = False

    @property
    def unready(self) -> str:
        """Why it takes no calls, in one sentence; empty while it does."""
        if not self._bus.connected:
            return NOT_CONNECTED
        if not self._running:
            return "it is starting"
        if self._pull.paused:
            return STOPPING
        if self._pull.missing:
            return "its consumer is not there; `consort tools approve` makes it"
        silent = self._standing.silent
        return f"the bus has not taken its signs of life for {silent:.0f} s" if silent > ALIVE_TTL else ""

    async def run(
        self,
        stop: asyncio.Event,
        *,
        grace: timedelta = timedelta(seconds=30),
        hurry: asyncio.Event | None = None,
    ) -> None:
        """Work until told to stop; with `hurry` what is under way is given up at once. Raises BusError."""
        await self._standing.look()
        await self._standing.show(0, 0, self._desk.counts)
        async with asyncio.TaskGroup() as group:
            showing = group.create_task(self._standing.keep_showing(self._figures))
            background = [group.create_task(self._keep_leases()), group.create_task(self._pull.run())]
            self._running = True
            log.info(
                "tool host %s (%s) is ready, tools: %s",
                self._served.name,
                self.instance,
                ", ".join(sorted(self._served.tools)) or "none",
            )
            await stop.wait()
            self._pull.pause()
            await self._drain(grace, hurry or asyncio.Event())
            showing.cancel()
            await self._standing.leave()
            for task in background:
                task.cancel()

    def _figures(self) -> tuple[int, int, HostCounts]:
        return self._turns.busy, self._turns.waiting, self._desk.counts

    def _arrived(self, delivery: Delivery) -> None:
        work = asyncio.get_running_loop().create_task(self._desk.take(delivery))
        self._works.add(work)
        work.add_done_callback(self._over)

    def _over(self, work: asyncio.Task[None]) -> None:
        self._works.discard(work)
        self._pull.release()

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(LEASE_EVERY)
            self._desk.keep_leases()

    async def _drain(self, grace: timedelta, hurry: asyncio.Event) -> None:
        """Finish what has begun; what waits for its turn goes back to be done elsewhere."""
        self._desk.give_back_waiting()
        hurrying = asyncio.create_task(hurry.wait())
        loop = asyncio.get_running_loop()
        until = loop.time() + grace.total_seconds()
        while self._works and not hurry.is_set() and loop.time() < until:
            await asyncio.wait(
                {hurrying, *self._works}, timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED
            )
        hurrying.cancel()
        left = set(self._works)
        if left:
            log.info("tool host %s gives back what is not done: %d calls", self._served.name, len(left))
            for work in left:
                work.cancel()
            await asyncio.wait(left, timeout=LAST_TRIES)
