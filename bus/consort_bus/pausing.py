"""Pauses of agents: marks in a bucket, and the word to orchestrators to look at them.

A mark holds whether or not an orchestrator is there; the word only saves waiting
for their next look. The first mark stands: whoever pauses what is paused is told who
did it before, and why.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from nats.aio.msg import Msg
from pydantic import TypeAdapter

from consort_bus import jetstream, subjects
from consort_bus.buckets import Bucket, Value
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE
from consort_bus.errors import BusError, NoAnswer
from consort_bus.owner import Owner
from consort_bus.publish import WrongLastSequence
from consort_bus.refusals import NotPaused, UnknownAgent
from consort_bus.subjects import ApiSubject, OrchestratorSubject, PauseSubject
from consort_bus.wire import Wire, status
from consort_shared.codec import JSON, MSGPACK, decode, encode
from consort_shared.control import PauseMark
from consort_shared.errors import DecodeError
from consort_shared.ids import is_token

__all__ = ["Applied", "PausedAgent", "Pausing"]

APPLIED_WITHIN = 1.0
"""Seconds that orchestrators are given to say that they have applied a pause."""
MARKED_WITHIN = 5.0
"""Seconds for which it is tried to set a mark where another is just set or taken off."""
MARK_KEPT = timedelta(hours=1)
"""How long it stays on record that a pause was taken off."""
_NO_CONSUMER = frozenset({10014, 10059})

_paused: TypeAdapter[PauseMark] = TypeAdapter(PauseMark)


@dataclass(frozen=True, slots=True)
class PausedAgent:
    """A pause of an agent, or with None of all."""

    agent: str | None
    mark: PauseMark


@dataclass(frozen=True, slots=True)
class Applied:
    """Which orchestrators have applied the marks, and which agents they paused or resumed for it."""

    orchestrators: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()
    expected: int = 0
    """orchestrators that are there, as far as their signs of life tell"""
    already: PauseMark | None = None
    """of what was to be paused and is paused already: since when, by whom and why; nothing was changed then"""


class Pausing(Owner):
    """What an operator does to agents."""

    def __init__(self, bus: Bus, wire: Wire) -> None:
        super().__init__(bus, wire)
        self._control = Bucket(wire, self._publisher, subjects.CONTROL)

    async def paused(self) -> list[PausedAgent]:
        """The agents that are paused, None among them if all are. Raises BusError."""
        found = []
        for value in await self._control.entries(subjects.PAUSES_FILTER):
            where = PauseSubject.parse(value.subject)
            if where is None:
                continue
            if (mark := _mark_in(value)) is not None:
                found.append(PausedAgent(where.agent, mark))
        return sorted(found, key=lambda pause: pause.agent or "")

    async def pause_agent(self, name: str, why: str = "") -> Applied:
        """Give an agent no more tasks and deliver none of those it was given; what it has begun it finishes.

        One that is paused already stays so, by whoever paused it first: `Applied.already`. Raises UnknownAgent,
        BusError.
        """
        await self._require_agent(name)
        return await self._pause(name, why)

    async def pause_all(self, why: str = "") -> Applied:
        """Pause every agent, also those that come later. Raises BusError."""
        return await self._pause(None, why)

    async def resume_agent(self, name: str) -> Applied:
        """Take an agent's pause off. Raises NotPaused, UnknownAgent, BusError."""
        if all(pause.agent != name for pause in await self.paused()):
            await self._require_agent(name)
        return await self._resume(name)

    async def resume_all(self) -> Applied:
        """Take the pause of everything off; agents that are paused by themselves stay so.

        Raises NotPaused, BusError.
        """
        return await self._resume(None)

    async def _pause(self, agent: str | None, why: str) -> Applied:
        mark = PauseMark(by=self.speaks_as, at=time.time(), why=why)
        stands = await self._marked(str(PauseSubject(agent)), mark)
        return await self._apply() if stands is None else Applied(already=stands)

    async def _marked(self, key: str, mark: PauseMark) -> PauseMark | None:
        """Set a mark unless there is one; the one that was there first. Raises BusError."""
        loop = asyncio.get_running_loop()
        until, before = loop.time() + MARKED_WITHIN, 0
        while True:
            try:
                headers = {CONTENT_TYPE: MSGPACK}
                await self._control.put(
                    key, encode(mark), headers=headers, expected_revision=before, timeout=5.0
                )
                return None
            except WrongLastSequence as exc:
                there = await self._control.newest(key)
                late = there is not None and exc.actual is not None and there.revision < exc.actual
                if there is not None and not late and (stands := _mark_in(there)) is not None:
                    return stands
                if loop.time() >= until:
                    raise
                before = 0 if there is None else there.revision
            await asyncio.sleep(0.02)  # what was read may be a moment old

    async def _resume(self, agent: str | None) -> Applied:
        key = str(PauseSubject(agent))
        if await self._control.get(key) is None:
            raise NotPaused(agent)
        await self._control.delete(key, ttl=MARK_KEPT)
        return await self._apply()

    async def _require_agent(self, name: str) -> None:
        there = sorted({presence.card.name for presence in await self.agents()})
        if name in there:
            return
        if not is_token(name):
            raise UnknownAgent(name, there)
        subject = jetstream.consumer_info(subjects.LOG, subjects.agent_consumer_name(name))
        answer = json.loads((await self._wire.request(subject, b"", timeout=5.0)).data)
        if answer.get("error", {}).get("err_code") in _NO_CONSUMER:
            raise UnknownAgent(name, there)

    async def _apply(self) -> Applied:
        """Ask orchestrators to look at the marks at once; those that answer in time."""
        expected = await self._orchestrators()
        subject = str(ApiSubject("control", self.bus.identity.name))
        collector = _Answers(subject, max(expected, 1))
        token = self._wire.expect(collector)
        try:
            self._wire.send(subject, b"{}", reply=self._wire.reply_to(token), headers={CONTENT_TYPE: JSON})
            await _until(collector.enough, APPLIED_WITHIN)
        finally:
            self._wire.forget(token)
        if collector.error is not None:
            raise collector.error
        return _applied(collector.answers, expected)

    async def _orchestrators(self) -> int:
        """How many orchestrators show signs of life."""
        values = await self._control.entries(subjects.ORCHESTRATORS_FILTER)
        return sum(OrchestratorSubject.parse(value.subject) is not None for value in values)


def _mark_in(value: Value) -> PauseMark | None:
    """The mark that a value is; None for what is none of an operator's, or was taken off."""
    if value.deleted or value.forwarded:
        return None
    try:
        return decode(_paused, value.data, MSGPACK)
    except DecodeError:
        return None


class _Answers:
    """Collects the answers to one request, until there are as many as expected or nobody is there."""

    def __init__(self, subject: str, expected: int) -> None:
        self.subject = subject
        self.answers: list[bytes] = []
        self.enough = asyncio.Event()
        self.error: BusError | None = None
        self._expected = expected

    def arrived(self, msg: Msg) -> None:
        if status(msg) != 503:
            self.answers.append(msg.data)
        if status(msg) == 503 or len(self.answers) >= self._expected:
            self.enough.set()

    def failed(self, error: BusError) -> None:
        self.error = None if isinstance(error, NoAnswer) else error
        self.enough.set()


def _applied(answers: Sequence[bytes], expected: int) -> Applied:
    names: set[str] = set()
    paused: set[str] = set()
    resumed: set[str] = set()
    for answer in answers:
        try:
            told = json.loads(answer)
            names.add(str(told["orchestrator"]))
            paused.update(map(str, told.get("paused", ())))
            resumed.update(map(str, told.get("resumed", ())))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return Applied(tuple(sorted(names)), tuple(sorted(paused)), tuple(sorted(resumed)), expected)


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
