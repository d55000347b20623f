"""The bus of a chaos run: its nodes, each killed, stopped and started again by number.

Knows how nodes are started and found; decides nothing about when. Everything lies
in one folder; where the first node keeps its data can be told before it is started,
so that a small disk can be put there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from consort_bus import embedded, topology
from consort_bus.connection import open_bus
from consort_bus.errors import BusError, ServerFailed
from consort_bus.server_process import Node
from consort_orchestrator.chaos.guard import Guard

SET_UP_PATIENCE = 60.0
START_TRIES = 20


def home_of_first(folder: Path, count: int) -> Path:
    """Where the first of so many nodes keeps its data."""
    return folder / "bus" if count == 1 else folder / "bus" / "n1"


class Nodes:
    """The nodes of one bus. Made by `start`, ended by `stop`."""

    def __init__(self, folder: Path, count: int, guard: Guard) -> None:
        self.folder = folder
        self.count = count
        self._guard = guard
        self._there: list[Node | None] = [None] * count

    def port(self, number: int) -> int | None:
        """Where a node listens at the moment."""
        there = self._there[number]
        return None if there is None else int(there.url.rpartition(":")[2])

    async def start(self) -> None:
        """All nodes, and what must exist on the bus. Raises BusError."""
        server = await asyncio.to_thread(
            embedded.start, self.folder, nodes=self.count, time_limit=SET_UP_PATIENCE
        )
        for number, node in enumerate(server.nodes):
            self._found(number, node)
        known = embedded.credentials_for(self.folder, "provisioner", "setup")
        until = time.monotonic() + SET_UP_PATIENCE
        while True:
            try:
                async with open_bus(server.url, known, patience=SET_UP_PATIENCE) as bus:
                    await topology.ensure(bus, self.count)
            except BusError:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.25)  # the nodes of a cluster have to find a leader first
            else:
                return

    async def stop(self) -> None:
        for number in range(self.count):
            self.thaw(number)
        with suppress(ServerFailed):
            await asyncio.to_thread(embedded.stop, self.folder)
        for number in range(self.count):
            self._lost(number)

    def kill(self, number: int) -> None:
        self._signal(number, signal.SIGKILL)
        self._lost(number)

    def freeze(self, number: int) -> None:
        self._signal(number, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        self._signal(number, signal.SIGCONT)

    async def revive(self, number: int) -> None:
        """Start a node that was killed. Raises ServerFailed when it does not come up again and again."""
        for tried in range(START_TRIES):
            try:
                node = await asyncio.to_thread(embedded.start_node, self.folder, f"n{number + 1}")
            except BusError:
                if tried + 1 == START_TRIES:
                    raise
                await asyncio.sleep(0.25)
            else:
                self._found(number, node)
                return

    def _signal(self, number: int, what: signal.Signals) -> None:
        there = self._there[number]
        if there is not None and there.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(there.pid, what)

    def _found(self, number: int, node: Node) -> None:
        self._there[number] = node
        if node.pid is not None:
            self._guard.began(node.pid)

    def _lost(self, number: int) -> None:
        there = self._there[number]
        if there is not None and there.pid is not None:
            self._guard.ended(there.pid)
        self._there[number] = None
