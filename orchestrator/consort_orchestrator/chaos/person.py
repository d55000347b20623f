"""Plays the person who is asked whether an effect happened.

Looks into the outside world and says what is true. One thing a person must not do:
answer while the process that was about to do it could still do it. So an answer is
given once that process is gone, or has gone on running for a while.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from consort_bus.client import Client
from consort_bus.errors import BusError
from consort_orchestrator.chaos.history import Doubt, Follower
from consort_orchestrator.chaos.ledger import Ledger
from consort_orchestrator.chaos.processes import Processes

QUIET = 2.0
"""Seconds of running on after which a process has done what it was about to do."""
LOOK_EVERY = 0.2
AGAIN = 1.0


class Person:
    """Answers every doubt that the log tells of."""

    def __init__(self, client: Client, follower: Follower, ledger: Ledger, processes: Processes) -> None:
        self._client = client
        self._follower = follower
        self._ledger = ledger
        self._processes = processes
        self._pids: dict[str, int] = {}
        """the process behind each agent's instance"""
        self.answers = 0

    async def answer_all(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._remember())
            while True:
                doubt = await self._follower.doubts.get()
                group.create_task(self._answer(doubt))

    async def _remember(self) -> None:
        """Which process is which instance, while it says so: signs of life expire."""
        while True:
            with suppress(BusError):
                for presence in await self._client.agents():
                    self._pids[presence.instance] = presence.pid
            await asyncio.sleep(AGAIN)

    async def _answer(self, doubt: Doubt) -> None:
        since = time.monotonic()
        while not self._is_over(doubt, since):  # noqa: ASYNC110 # a matter of time, which no event tells
            await asyncio.sleep(LOOK_EVERY)
        done = self._ledger.find(doubt.run, doubt.path, doubt.key)
        while doubt.run not in self._follower.ended:
            try:
                if done is None:
                    await self._client.resolve(doubt.run, doubt.path, doubt.key, "redo")
                else:
                    await self._client.resolve(doubt.run, doubt.path, doubt.key, "done", done.value)
                self.answers += 1
                return
            except BusError:
                await asyncio.sleep(AGAIN)

    def _is_over(self, doubt: Doubt, since: float) -> bool:
        pid = self._pids.get(doubt.instance)
        if pid is None:
            return self._processes.all_ran_on(since, QUIET)
        return self._processes.cannot_act(pid, since, QUIET)
