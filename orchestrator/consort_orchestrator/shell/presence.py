"""Which orchestrators are at work, and which parts of the inbox are this one's to judge.

The bus serves each part of the inbox to one orchestrator at a time, the pinned one,
and to another as soon as that one falls silent: nobody has to notice anything. What
is decided here is only the balance: who sees that it serves more than its share lets
go of the parts that are another's. Every orchestrator computes the same shares from
the same signs of life, and where they differ for a moment, two judge the same run
and the fence lets one of them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from hashlib import blake2b

from pydantic import TypeAdapter

from consort_bus import subjects
from consort_bus.buckets import Bucket
from consort_bus.clock import ServerClock
from consort_bus.envelope import OrchestratorSeal
from consort_bus.errors import BusError
from consort_bus.pull import Pull
from consort_bus.subjects import OrchestratorSubject
from consort_shared.codec import MSGPACK, decode, encode
from consort_shared.control import OrchestratorPresence
from consort_shared.errors import DecodeError

SHOWN_EVERY, TIME_TO_LIVE = 1.0, timedelta(seconds=5)
LEFT_KEPT = timedelta(seconds=30)
"""For how long it shows that an orchestrator took its leave, and did not just fall silent."""
SILENCE = 3.5
"""Seconds without a sign of life after which an orchestrator is taken to be gone."""
CLOCK_EVERY = 15.0
UNSEEN = 5.0
"""Seconds without taking its share after which an orchestrator does not count as ready."""

log = logging.getLogger("consort.orchestrator")
_presence: TypeAdapter[OrchestratorPresence] = TypeAdapter(OrchestratorPresence)


def shares(instances: Iterable[str], shards: int = subjects.SHARDS) -> dict[int, str]:
    """Whose each part of the inbox is: as even as can be, and as few as possible change with who is there."""
    there = sorted(set(instances))
    left = dict.fromkeys(there, math.ceil(shards / len(there))) if there else {}
    owners: dict[int, str] = {}
    for shard in range(shards):
        wish = sorted(there, key=lambda one: blake2b(f"{shard} {one}".encode(), digest_size=8).digest())
        for one in wish:
            if left[one]:
                left[one] -= 1
                owners[shard] = one
                break
    return owners


def writer_name(name: str, instance: str) -> str:
    """How entries name the orchestrator that wrote them."""
    return f"{name}-{instance}"


class Presences:
    """This orchestrator's sign of life, and its share among those that are there."""

    def __init__(
        self,
        name: str,
        instance: str,
        control: Bucket,
        seal: OrchestratorSeal,
        clock: ServerClock,
        version: str,
        decisions: Callable[[], int],
        gone: Callable[[Sequence[str], Sequence[str]], None] = lambda writers, there: None,
    ) -> None:
        """`gone` is called with the orchestrators that have fallen silent, as writers, and with who is there."""
        self._subject = str(OrchestratorSubject(name, instance))
        self._name, self._instance = name, instance
        self._control = control
        self._seal = seal
        self._clock = clock
        self._version = version
        self._decisions = decisions
        self._gone = gone
        self._alive: dict[str, str] = {}
        """by instance: the names that entries bear of those that were there last"""
        self._heard: dict[str, tuple[int, float]] = {}
        """by instance: the revision of its last sign of life, and when it was seen first"""
        self.left: frozenset[str] = frozenset()
        """the instances that took their leave a moment ago"""
        self._started = time.time()
        self._measured = 0.0
        self._settled: float | None = None
        self.first = False
        """whether the first part of the inbox is this one's share: what only one of them need do, is its to do"""

    @property
    def unsettled(self) -> str:
        """Why this orchestrator has no share of the inbox now, empty when it has."""
        if self._settled is None:
            return "it has not been welcomed to its share of the inbox yet"
        silent = time.monotonic() - self._settled
        return f"the bus has not taken its signs of life for {silent:.0f} s" if silent > UNSEEN else ""

    async def run(self, pulls: Sequence[Pull]) -> None:
        """Show presence and keep the balance until cancelled; `pulls` by shard."""
        while True:
            try:
                await self._show(sum(pull.pinned for pull in pulls))
                self.balance(pulls, await self.there())
                await self._measure()
            except BusError as exc:
                log.info("signs of life of orchestrators cannot be had now: %s", exc)
            await asyncio.sleep(SHOWN_EVERY)

    async def leave(self) -> None:
        """Say that this orchestrator goes. A failure is no harm: the sign of life expires."""
        try:
            await self._control.delete(self._subject, ttl=LEFT_KEPT)
        except BusError as exc:
            log.info("leaving was not announced: %s", exc)

    async def there(self) -> list[str]:
        """The instances that are at work, this one among them. Raises BusError."""
        now = time.monotonic()
        values = await self._control.marks(subjects.ORCHESTRATORS_FILTER)
        heard: dict[str, tuple[int, float]] = {}
        named: dict[str, str] = {}
        left: set[str] = set()
        for value in values:
            where = OrchestratorSubject.parse(value.subject)
            if where is not None and value.took_leave:
                left.add(where.instance)
            if (
                where is None
                or value.deleted
                or not self._seal.genuine_own(value.subject, value.data, value.headers)
            ):
                continue
            try:
                presence = decode(_presence, value.data, MSGPACK)
            except DecodeError as exc:
                log.warning("orchestrator %s: unreadable sign of life: %s", where.name, exc.why)
                continue
            known = self._heard.get(presence.instance)
            fresh = known is None or known[0] != value.revision
            heard[presence.instance] = (value.revision, now if fresh or known is None else known[1])
            named[presence.instance] = writer_name(presence.name, presence.instance)
        self._heard = heard
        alive = {instance for instance, (_, since) in heard.items() if now - since < SILENCE}
        there = sorted(alive | {self._instance})
        self.left = frozenset(left)
        gone = [name for one, name in self._alive.items() if one not in alive and one not in left]
        self._alive = {instance: named[instance] for instance in alive}
        if gone:
            self._gone(gone, there)
        return there

    async def accounted_for(self) -> list[str]:
        """The instances that are at work, or took their leave a moment ago. Raises BusError."""
        return sorted({*await self.there(), *self.left})

    def balance(self, pulls: Sequence[Pull], there: Sequence[str]) -> None:
        """Let go of what is served here and is another's share."""
        owners = shares(there, len(pulls))
        self._settled, self.first = time.monotonic(), owners[0] == self._instance
        given = [shard for shard, pull in enumerate(pulls) if pull.pinned and owners[shard] != self._instance]
        for shard in given:
            pulls[shard].yield_pin()
        if given:
            log.info(
                "%d parts of the inbox are left to other orchestrators, %d are there", len(given), len(there)
            )

    async def _show(self, shards: int) -> None:
        presence = OrchestratorPresence(
            name=self._name,
            instance=self._instance,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=self._started,
            version=self._version,
            shards=shards,
            skew=round(self._clock.skew, 3),
            decisions=self._decisions(),
        )
        wrapped = self._seal.own(self._subject, encode(presence))
        await self._control.put(self._subject, wrapped.payload, headers=wrapped.headers, ttl=TIME_TO_LIVE)

    async def _measure(self) -> None:
        if time.monotonic() - self._measured < CLOCK_EVERY:
            return
        self._measured = time.monotonic()
        skew = await self._clock.measure()
        if abs(skew) > 1.0:
            log.warning("this machine's clock is %+.1f s off the bus's; times are kept by the bus's", skew)
