"""Carries out faults: begins each at its time, and undoes it at the end of its time.

Which fault and when is the schedule's; how a process is stopped or a link held is
known elsewhere. Everything done here is put down with the time at which it was
really done, because a busy machine is late.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from consort_orchestrator.chaos.disk import SmallDisk
from consort_orchestrator.chaos.nodes import Nodes
from consort_orchestrator.chaos.processes import Processes
from consort_orchestrator.chaos.proxy import Link, Meddling
from consort_orchestrator.chaos.schedule import Fault

MEDDLED = ("in.agent.", "log.")
"""What messages are duplicated, delayed and reordered: what agents say, entries and deliveries."""
SLOW_RATE = 20_000.0
"""Bytes a second of a slow link."""
BURST = 0.1
"""Seconds after which a slow node is stopped again."""


@dataclass(slots=True)
class Injected:
    """A fault that was carried out; times in seconds since 1970, `until` 0 while it lasts."""

    fault: Fault
    whom: str
    began: float
    until: float = 0.0


@dataclass(slots=True)
class Injector:
    """What faults can be done to."""

    nodes: Nodes
    processes: Processes
    disk: SmallDisk | None
    done: list[Injected] = field(default_factory=list)

    @asynccontextmanager
    async def storm(self, faults: Iterator[Fault]) -> AsyncIterator[None]:
        """Faults strike while the block lasts; at its end those under way run out, and nothing is left of them."""
        under_way: set[asyncio.Task[None]] = set()
        striking = asyncio.create_task(self._strike(faults, under_way))
        try:
            yield
        except BaseException:
            for task in under_way:
                task.cancel()  # whoever is interrupted has no time for them
            raise
        finally:
            striking.cancel()
            await asyncio.gather(striking, return_exceptions=True)
            ended = await asyncio.gather(*under_way, return_exceptions=True)
        for problem in ended:
            if isinstance(problem, BaseException):
                raise problem

    async def _strike(self, faults: Iterator[Fault], under_way: set[asyncio.Task[None]]) -> None:
        began = time.monotonic()
        for fault in faults:
            if fault.kind == "full-disk" and self.disk is None:
                continue
            await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
            under_way.add(asyncio.create_task(self._carry_out(fault)))

    async def _carry_out(self, fault: Fault) -> None:
        whom = self._whom(fault)
        injected = Injected(fault, whom, time.time())
        self.done.append(injected)
        if fault.strikes == "node":
            await self._on_node(fault)
        elif fault.strikes == "link":
            await self._on_links(fault, self.processes.role(whom).links)
        else:
            await self._on_process(fault, whom)
        injected.until = time.time()

    def _whom(self, fault: Fault) -> str:
        if fault.strikes == "node":
            return f"node-{fault.target}"
        orchestrators, agents = self.processes.of("orchestrator"), self.processes.of("agent")
        there = {"orchestrator": orchestrators, "agent": agents}.get(fault.strikes, orchestrators + agents)
        return there[fault.target]

    async def _on_process(self, fault: Fault, name: str) -> None:
        if fault.kind.startswith("kill"):
            self.processes.kill(name)
            await asyncio.sleep(fault.seconds)
            await self.processes.revive(name)
        else:
            self.processes.freeze(name)
            await asyncio.sleep(fault.seconds)
            self.processes.thaw(name)

    async def _on_node(self, fault: Fault) -> None:
        number = fault.target
        match fault.kind:
            case "kill-node":
                self.nodes.kill(number)
                await asyncio.sleep(fault.seconds)
                await self.nodes.revive(number)
            case "freeze-node":
                self.nodes.freeze(number)
                await asyncio.sleep(fault.seconds)
                self.nodes.thaw(number)
            case "slow-node":
                until = time.monotonic() + fault.seconds
                while time.monotonic() < until:
                    self.nodes.freeze(number)
                    await asyncio.sleep(BURST * fault.share)
                    self.nodes.thaw(number)
                    await asyncio.sleep(BURST * (1 - fault.share / 2))
            case "full-disk":
                assert self.disk is not None
                await asyncio.to_thread(self.disk.fill)
                await asyncio.sleep(fault.seconds)
                self.disk.clear()
                self.nodes.kill(0)  # a node that could not write does not try again before it is started anew
                await self.nodes.revive(0)
            case _:
                raise ValueError(f"{fault.kind} strikes no node")

    async def _on_links(self, fault: Fault, links: tuple[Link, ...]) -> None:
        for link in links:
            _strike_link(link, fault)
        await asyncio.sleep(fault.seconds)
        for link in links:
            if fault.kind in ("partition", "one-way") and fault.lossy:
                link.reset()  # both sides had given up meanwhile: what was held is lost
            link.calm()


def _strike_link(link: Link, fault: Fault) -> None:
    match fault.kind:
        case "partition":
            link.hold()
        case "one-way":
            link.hold(up=fault.upward, down=not fault.upward)
        case "reset":
            link.reset()
        case "delay":
            link.latency = fault.lag
        case "slow-link":
            link.rate = SLOW_RATE
        case "duplicate" | "reorder":
            link.meddling = Meddling(MEDDLED, fault.share, fault.lag, twice=fault.kind == "duplicate")
        case _:
            raise ValueError(f"{fault.kind} strikes no link")
