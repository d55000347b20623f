"""A tool of a host, as an agent calls it.

The call is stored once, under an id that stays the same when it is made again after a crash. The answer is
read from its own subject, which is the truth; hearing it come by is only a hint to look. Where the newest
there is no answer of the host, because somebody put something else in its place, it is asked for again.
Errors are answers: nothing is raised but cancellation, and a call that is cancelled goes on to its end.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

from consort_agents.hosting.answers import error, unkept
from consort_agents.tools.definition import Caller, Definition, ToolAnswer
from consort_bus import subjects
from consort_bus.artefacts import ArtefactCorrupt, ArtefactMissing, Artefacts
from consort_bus.buckets import Bucket
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE, stow
from consort_bus.errors import AccessDenied, BusError
from consort_bus.listen import Heard, listening
from consort_bus.publish import Publisher, WrongLastSequence
from consort_bus.subjects import ToolSubject, tool_answers_for
from consort_bus.toolbox import believed_reply
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, encode
from consort_shared.tooling import ToolCall, ToolReply
from consort_shared.values import Json, digest

LOOK_EVERY = 2.0
"""Seconds between looks for an answer that was not heard coming by."""
SOON = 0.002
"""Seconds until the next look after one was heard: it comes by when it is sent, a moment before it is stored.
Twice as long each time."""
ASK_AGAIN = 1.0
"""Seconds after which a call whose answer's place is taken is asked for again."""
UNLIMITED = 300.0
"""Seconds that a call is waited for where its task has no deadline, beyond the tool's own time limit."""

log = logging.getLogger("consort.agent")
Paused: TypeAlias = Callable[[], Awaitable[str]]
"""Why a host may not be called now; empty if it may."""


async def _never() -> str:
    return ""


class Calls:
    """The calls to tool hosts of one process of an agent. `now` is seconds since 1970 by the bus's clock."""

    def __init__(self, bus: Bus, wire: Wire, now: Callable[[], float] = time.time) -> None:
        self.agent = bus.identity.name
        self._bus = bus
        self._stream = Bucket(wire, Publisher(wire), subjects.TOOLS)
        self._artefacts = Artefacts(wire, bus.identity)
        self._now = now
        self._waiting: dict[str, asyncio.Event] = {}
        wire.on_reconnect(self._look)

    @asynccontextmanager
    async def hearing(self) -> AsyncIterator[None]:
        """Hear answers come by while the block lasts; without it they are looked for now and then."""
        async with listening(self._bus, tool_answers_for(self.agent), self._heard):
            yield

    async def call(
        self,
        host: str,
        definition: Definition,
        arguments: Mapping[str, Json],
        caller: Caller,
        paused: Paused = _never,
    ) -> ToolAnswer:
        """What a tool of a host answers, or why there is no answer.

        `paused` is asked now and then: a call that waits for a host which is paused meanwhile is taken back.
        """
        call = self._call_of(host, definition, arguments, caller)
        answer = str(_answer_of(call))
        hint = self._waiting.setdefault(answer, asyncio.Event())
        try:
            async with asyncio.timeout(max(call.deadline - self._now(), 0.05)):
                return await self._answered(call, definition, hint, paused)
        except TimeoutError:
            told = f"host {host} has not answered in time; the call may still be done"
            return error(f"{definition.name}: {told}", "no-answer")
        except AccessDenied as exc:
            return error(f"{definition.name} cannot be called: {exc}", "not-permitted")
        except BusError as exc:
            return error(f"{definition.name} cannot be called now: {exc}", "bus")
        finally:
            self._waiting.pop(answer, None)

    def _call_of(
        self, host: str, definition: Definition, arguments: Mapping[str, Json], caller: Caller
    ) -> ToolCall:
        key = caller.call_id or secrets.token_hex(16)
        longest = self._now() + definition.timeout + UNLIMITED
        return ToolCall(
            host=host,
            agent=self.agent,
            run=caller.run,
            id=digest([self.agent, caller.task, definition.name, key])[:32],
            tool=definition.name,
            arguments=dict(arguments),
            definition=definition.digest,
            task=caller.task,
            step=caller.step,
            key=key[:128],
            asked=1,
            deadline=caller.deadline or longest,
            trace=caller.trace[:64],
        )

    async def _answered(
        self, call: ToolCall, definition: Definition, hint: asyncio.Event, paused: Paused
    ) -> ToolAnswer:
        """Ask, and wait for the answer. Raises BusError."""
        answer = str(_answer_of(call))
        asked, pause = await self._asked(call), LOOK_EVERY
        while True:
            hint.clear()
            reply, taken = await self._reply(answer)
            if reply is not None:
                return await self._answer(reply)
            if taken:
                log.warning("agent %s: something else is in the place of an answer: asked again", call.agent)
                asked = await self._asked(call.model_copy(update={"asked": asked + 1}))
            try:
                async with asyncio.timeout(ASK_AGAIN if taken else pause):
                    await hint.wait()
                pause = SOON  # what came by may not be stored yet
            except TimeoutError:
                if pause < LOOK_EVERY:
                    pause = min(2 * pause, LOOK_EVERY)
                elif why := await paused():
                    given_up = {"asked": asked + 1, "deadline": self._now()}
                    await self._asked(call.model_copy(update=given_up))
                    return await self._taken_back(call, definition, hint, why)

    async def _taken_back(
        self, call: ToolCall, definition: Definition, hint: asyncio.Event, why: str
    ) -> ToolAnswer:
        """The answer to a call that was given up, if it comes yet: it may have been under way. Raises BusError."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (LOOK_EVERY if definition.idempotent else definition.timeout)
        while True:
            hint.clear()
            reply, _ = await self._reply(str(_answer_of(call)))
            if reply is not None:
                return await self._answer(reply)
            left = until - loop.time()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(min(left, LOOK_EVERY)):
                    await hint.wait()
            except TimeoutError:
                continue
        doubt = (
            "" if definition.idempotent else "; if it had begun before that, nobody knows whether it happened"
        )
        return error(f"{definition.name}: {why}, and the call was taken back{doubt}", "paused")

    async def _asked(self, call: ToolCall) -> int:
        """Store a call, unless it is there already; which time it is asked for. Raises BusError."""
        subject = str(ToolSubject("call", call.host, call.agent, call.run, call.id))
        body, headers = await stow(encode(call), self._artefacts)
        headers = {**headers, CONTENT_TYPE: MSGPACK}
        while True:
            try:
                fence = 0 if call.asked == 1 else None
                await self._stream.put(subject, body, headers=headers, expected_revision=fence)
            except WrongLastSequence:
                pass
            except AccessDenied:
                raise
            except BusError as exc:
                log.info("agent %s: a call of %s is not stored yet: %s", call.agent, call.tool, exc)
                await asyncio.sleep(0.2)
                continue
            return call.asked

    async def _reply(self, answer: str) -> tuple[ToolReply | None, bool]:
        """The answer if it is there; and whether something else is there. Raises AccessDenied."""
        try:
            value = await self._stream.newest(answer)
        except AccessDenied:
            raise
        except BusError as exc:
            log.debug("whether an answer is there is not known: %s", exc)
            return None, False
        if value is None:
            return None, False
        reply = believed_reply(value.subject, value.data, value.headers, value.forwarded)
        return reply, reply is None

    async def _answer(self, reply: ToolReply) -> ToolAnswer:
        try:
            answer = await unkept(reply.kept, self._artefacts, reply.host)
        except (ArtefactMissing, ArtefactCorrupt) as exc:
            return error(f"the answer of {reply.tool} is lost: {exc}", "unreadable")
        return answer.model_copy(update={"saved": reply.saved}) if reply.saved else answer

    async def _heard(self, heard: Heard) -> None:
        """An answer comes by."""
        if (hint := self._waiting.get(heard.subject)) is not None:
            hint.set()

    def _look(self) -> None:
        for hint in self._waiting.values():
            hint.set()


class RemoteTool:
    """A tool of a host."""

    def __init__(self, host: str, definition: Definition, calls: Calls) -> None:
        self.host = host
        self.hosted = definition
        self.definition = definition.model_copy(update={"name": local_name(host, definition.name)})
        self._calls = calls

    def __repr__(self) -> str:
        return f"<tool {self.host}.{self.hosted.name}>"

    takes_key = True
    """A call that is made again has the same id, and the host knows what became of it."""

    async def call(
        self, arguments: Mapping[str, Json], caller: Caller, paused: Paused = _never
    ) -> ToolAnswer:
        return await self._calls.call(self.host, self.hosted, arguments, caller, paused)


def _answer_of(call: ToolCall) -> ToolSubject:
    return ToolSubject("answer", call.host, call.agent, call.run, call.id)


def local_name(host: str, tool: str) -> str:
    """What a model calls a shared tool: `host__tool`, shortened where that is over 64 characters."""
    name = f"{host}__{tool}"
    return name if len(name) <= 64 else f"{name[:55]}_{digest(name)[:8]}"
