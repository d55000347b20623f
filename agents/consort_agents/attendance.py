"""How an agent's process takes part: it announces itself, shows that it lives, asks what time it is.

An announcement nobody answers is made again until somebody does: agents may be
started before there is an orchestrator.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Literal

from pydantic import TypeAdapter

from consort_agents.errors import AgentError
from consort_bus import subjects
from consort_bus.buckets import Bucket
from consort_bus.envelope import AgentSeal
from consort_bus.errors import AccessDenied, BusError
from consort_bus.publish import Publisher
from consort_bus.pull import Pull
from consort_bus.subjects import AgentSubject, ApiSubject
from consort_bus.wire import Wire
from consort_shared.card import AgentCard, Announce, AskWanted, Presence, Wanted, Welcome
from consort_shared.codec import MSGPACK, decode, encode
from consort_shared.errors import DecodeError
from consort_shared.telemetry.health import NOT_CONNECTED, STOPPING

PRESENCE_EVERY, PRESENCE_TTL = 3.0, 10
ANNOUNCE_AGAIN = (0.2, 5.0)
"""Seconds between announcements nobody answers: the first and the longest pause."""
ANSWER_LIMIT = 2.0

log = logging.getLogger("consort.agent")
_welcome: TypeAdapter[Welcome] = TypeAdapter(Welcome)
_wanted: TypeAdapter[Wanted] = TypeAdapter(Wanted)


def new_instance() -> str:
    """A name for one process of an agent."""
    return secrets.token_hex(4)


class Attendance:
    """One process of an agent, as orchestrators know it."""

    def __init__(
        self, card: AgentCard, wire: Wire, publisher: Publisher, seal: AgentSeal, instance: str | None = None
    ) -> None:
        self.instance = instance or new_instance()
        self._card = card
        self._wire = wire
        self._seal = seal
        self._presences = Bucket(wire, publisher, subjects.AGENTS)
        self._started = time.time()
        self._ahead: float | None = None
        self.joined = 0.0
        """when this process was welcomed last, by the bus's clock; 0 before"""
        self._shown = time.monotonic()

    def unready(self, connected: bool, pull: Pull | None) -> str:
        """Why this process takes no tasks, in one sentence; empty while it does."""
        silent = time.monotonic() - self._shown
        if not connected:
            return NOT_CONNECTED
        if pull is None:
            return "it is starting" if self.joined else "no orchestrator has welcomed it yet"
        if pull.paused:
            return STOPPING
        if pull.missing:
            return "its consumer is not there; an orchestrator makes it anew"
        return f"the bus has not taken its signs of life for {silent:.0f} s" if silent > PRESENCE_TTL else ""

    def now(self) -> float:
        """Seconds since 1970 by the clock that deadlines are set by; own time where no orchestrator told it."""
        return time.time() if self._ahead is None else time.monotonic() + self._ahead

    async def announce(self, stop: asyncio.Event) -> str | None:
        """The consumer to pull from; None when told to stop before anybody answered.

        Raises AgentError when the card is refused, AccessDenied.
        """
        announcement = Announce(card=self._card, instance=self.instance)
        pause, told = ANNOUNCE_AGAIN[0], False
        while not stop.is_set():
            asked = time.monotonic()
            try:
                welcome = decode(_welcome, await self._ask("announce", encode(announcement)), MSGPACK)
            except AccessDenied:
                raise
            except (BusError, DecodeError) as exc:
                if not told:
                    log.info("agent %s waits for an orchestrator (%s)", self._card.name, exc)
                    told = True
                try:
                    async with asyncio.timeout(pause):
                        await stop.wait()
                except TimeoutError:
                    pause = min(pause * 1.5, ANNOUNCE_AGAIN[1])
                continue
            if not welcome.accepted:
                raise AgentError(f"agent {self._card.name!r} is not admitted: {welcome.why}")
            self.joined = welcome.now
            if welcome.now > 0:
                self._ahead = welcome.now - (asked + time.monotonic()) / 2
            return welcome.consumer
        return None

    async def wanted(self, run: str, task: str) -> Literal["yes", "no", "later"] | None:
        """Whether an attempt is still wanted; None when nobody says."""
        try:
            answer = await self._ask("wanted", encode(AskWanted(run=run, task=task)))
            return decode(_wanted, answer, MSGPACK).wanted
        except (BusError, DecodeError) as exc:
            log.debug("agent %s: whether task %s is wanted is not known: %s", self._card.name, task, exc)
            return None

    async def show(self, busy: int) -> None:
        """Put down a sign of life. Raises BusError."""
        presence = Presence(
            instance=self.instance,
            card=self._card,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=self._started,
            busy=busy,
        )
        wrapped = self._seal.signed(str(AgentSubject(self._card.name, self.instance)), encode(presence))
        await self._presences.put(
            wrapped.subject, wrapped.payload, headers=wrapped.headers, ttl=timedelta(seconds=PRESENCE_TTL)
        )
        self._shown = time.monotonic()

    async def keep_showing(self, busy: Callable[[], int]) -> None:
        """Show signs of life until cancelled."""
        while True:
            await asyncio.sleep(PRESENCE_EVERY)
            try:
                await self.show(busy())
            except BusError as exc:
                log.info("agent %s: sign of life not sent: %s", self._card.name, exc)

    async def leave(self) -> None:
        """Take the sign of life away, so that no new work is assigned."""
        try:
            await self._presences.delete(
                str(AgentSubject(self._card.name, self.instance)), ttl=timedelta(seconds=1)
            )
        except BusError as exc:
            log.info("agent %s: leaving not announced: %s", self._card.name, exc)

    async def _ask(self, verb: str, body: bytes) -> bytes:
        subject = str(ApiSubject(verb, self._card.name))
        wrapped = self._seal.signed(subject, body)
        answer = await self._wire.request(
            subject, wrapped.payload, headers=wrapped.headers, timeout=ANSWER_LIMIT
        )
        return bytes(answer.data)
