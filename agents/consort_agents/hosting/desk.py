"""What becomes of one call: believed or not, allowed or not, whose turn, done, answered, acknowledged.

Who calls is in the subject, which the bus has checked; nothing that the body says of it is needed. A call is
refused with an answer, never with silence. The answer is stored once and the delivery acknowledged last: a
process that dies on the way leaves the call to be delivered again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from consort_agents.hosting.answers import error, kept
from consort_agents.hosting.served import Served
from consort_agents.hosting.spans import HostSpans
from consort_agents.hosting.standing import Standing
from consort_agents.hosting.turns import Turns
from consort_agents.hosting.work import Piece, Work
from consort_bus import subjects
from consort_bus.artefacts import ArtefactCorrupt, ArtefactMissing, Artefacts
from consort_bus.buckets import Bucket
from consort_bus.envelope import CONTENT_TYPE, body_of
from consort_bus.errors import BusError
from consort_bus.publish import Publisher, WrongLastSequence
from consort_bus.pull import Delivery
from consort_bus.subjects import ToolSubject
from consort_bus.toolbox import believed_call, believed_reply
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, encode
from consort_shared.errors import DecodeError
from consort_shared.failpoints import failpoint
from consort_shared.telemetry import metrics
from consort_shared.tooling import HostCounts, How, Kept, ToolCall, ToolEnded, ToolReply

log = logging.getLogger("consort.tools")
_AGAIN = 0.5
"""Seconds after which a call that could not be dealt with comes again."""
YOUNG = 0.9
"""Seconds within which no caller gives up a call; see `remote.ASK_AGAIN`."""


@dataclass(eq=False, slots=True)
class Held:
    """A call in hand. The newest delivery of it holds the lease."""

    call: ToolCall
    delivery: Delivery
    came: float = field(default_factory=time.monotonic)
    turn: float = 0.0
    """when its work began, by the monotonic clock"""


class Desk:
    """The calls that one process of a host has in hand."""

    def __init__(
        self,
        served: Served,
        standing: Standing,
        work: Work,
        turns: Turns[asyncio.Event],
        wire: Wire,
        publisher: Publisher,
        artefacts: Artefacts,
        spans: HostSpans,
    ) -> None:
        self._served = served
        self._spans = spans
        self._standing = standing
        self._work = work
        self._turns = turns
        self._answers = Bucket(wire, publisher, subjects.TOOLS)
        self._artefacts = artefacts
        self._going: dict[str, asyncio.Task[ToolEnded]] = {}
        self._queued: set[asyncio.Task[ToolEnded]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self.held: dict[tuple[str, str], Held] = {}
        self._counts = {"done": 0, "saved": 0, "refused": 0, "late": 0, "in_doubt": 0}

    @property
    def counts(self) -> HostCounts:
        return HostCounts(**self._counts)

    async def take(self, delivery: Delivery) -> None:
        """Deal with a delivered call to its end. Never raises but when cancelled; it then goes back."""
        try:
            call = await self._call_of(delivery)
        except BusError as exc:
            log.info("tool host %s: a call goes back: %s", self._served.name, exc)
            delivery.nak(_AGAIN)
            return
        if call is None or call.host != self._served.name:
            log.warning("tool host %s: what is no call is set aside: %s", self._served.name, delivery.subject)
            delivery.term("not a call that an agent made")
            return
        key = (call.agent, call.id)
        if (known := self.held.get(key)) is not None:
            known.delivery = delivery
            return
        held = self.held[key] = Held(call, delivery)
        try:
            await self._dealt_with(held)
        except BusError as exc:
            log.warning("tool host %s: a call of %s goes back: %s", self._served.name, call.tool, exc)
            held.delivery.nak(_AGAIN)
        except asyncio.CancelledError:
            held.delivery.nak()
            raise
        except Exception:
            log.exception("tool host %s: a call of %s goes back", self._served.name, call.tool)
            held.delivery.nak(_AGAIN)
        finally:
            del self.held[key]

    async def _call_of(self, delivery: Delivery) -> ToolCall | None:
        """The call of a delivery; None for what is none, or what large arguments of are not to be had."""
        if delivery.forwarded:
            return None
        try:
            body = await body_of(delivery.data, delivery.headers, self._artefacts)
        except (DecodeError, ArtefactMissing, ArtefactCorrupt):
            return None
        return believed_call(delivery.subject, body, delivery.headers, delivery.forwarded)

    def keep_leases(self) -> None:
        """Tell the bus that what is in hand is being worked on."""
        for held in self.held.values():
            held.delivery.in_progress()

    async def _dealt_with(self, held: Held) -> None:
        call = held.call
        if (held.delivery.delivered > 1 or call.asked > 1) and await self._answered(call):
            held.delivery.ack()
            return
        if (refusal := await self._refusal(held)) is not None:
            kind, why = refusal
            how: How = "late" if kind == "late" else "refused"
            _, keep = await kept(error(why, kind), self._artefacts)
            log.info("%s: %s of agent %s, %s", how, call.tool, call.agent, kind)
            await self._reply(held, how, keep, saved=False, seconds=0.0)
            return
        piece = Piece.of(call, self._served.tools[call.tool])
        while True:
            ended = await self._ended(piece, held)
            saved = (ended.by, ended.request) != (call.agent, call.id)
            if not (saved and ended.how == "late"):
                break  # else it was too late for another call, whose answer is not ours
        log.info(
            "%s: %s for agent %s after %.3f s",
            "saved" if saved else ended.how,
            call.tool,
            call.agent,
            ended.seconds,
        )
        await self._reply(held, ended.how, ended.kept, saved=saved, seconds=ended.seconds)

    async def _refusal(self, held: Held) -> tuple[str, str] | None:
        """The kind and the reason why a call is not made; None if it is. Raises BusError."""
        call = held.call
        tool = self._served.tools.get(call.tool)
        if tool is None:
            there = ", ".join(sorted(self._served.tools)) or "none"
            return "unknown-tool", f"host {call.host} has no tool {call.tool!r}; it has {there}"
        if (refusal := await self._by_now(held)) is not None:
            return refusal
        if call.definition != tool.definition.digest:
            return "changed", f"{call.tool} is defined otherwise now than you know it; look at it again"
        if why := self._served.permits(call.agent, tool.definition, call.arguments):
            return "not-permitted", why
        return None

    async def _by_now(self, held: Held) -> tuple[str, str] | None:
        """Of `_refusal` what may become so while a call waits for its turn. Raises BusError."""
        call = held.call
        if why := await self._standing.why_not(call.tool):
            return "not-approved", why
        if call.deadline and call.deadline < self._standing.now():
            return "late", f"{call.tool} was not called: its time was up before its turn came"
        if await self._taken_back(held):
            return "late", f"{call.tool} was not called: {call.agent} had taken the call back"
        return None

    async def _taken_back(self, held: Held) -> bool:
        """Whether who waited for a call has given it up since, by asking again with no time left. Raises BusError."""
        call, now = held.call, self._standing.now()
        if now - held.delivery.time.timestamp() < YOUNG:
            return False
        subject = ToolSubject("call", call.host, call.agent, call.run, call.id)
        value = await self._answers.newest(str(subject))
        newest = (
            None
            if value is None
            else believed_call(value.subject, value.data, value.headers, value.forwarded)
        )
        return newest is not None and newest.asked > call.asked and 0 < newest.deadline < now

    async def _ended(self, piece: Piece, held: Held) -> ToolEnded:
        """What the work gave. Whoever asks for the same meanwhile waits for it without a turn of its own."""
        going = self._going.get(piece.id)
        if going is None:
            going = self._going[piece.id] = asyncio.create_task(self._in_turn(piece, held))
            going.add_done_callback(lambda _: self._going.pop(piece.id, None))
        try:
            return await asyncio.shield(going)
        except asyncio.CancelledError:
            if not going.done():
                going.cancel()
            raise

    async def _in_turn(self, piece: Piece, held: Held) -> ToolEnded:
        if (found := await self._work.found(piece)) is not None:
            return found
        await self._turn(piece)
        held.turn = time.monotonic()
        try:
            if (refusal := await self._by_now(held)) is not None:
                return await self._unmade(piece, *refusal)
            return await self._work.done(piece)
        finally:
            self._turns.ended(piece.call.tool)
            self._advance()

    async def _turn(self, piece: Piece) -> None:
        turn, current = asyncio.Event(), asyncio.current_task()
        assert current is not None
        if self._closing:
            raise asyncio.CancelledError
        self._turns.add(piece.call.run, piece.call.tool, turn)
        self._queued.add(current)
        try:
            self._advance()
            await turn.wait()
        finally:
            self._queued.discard(current)

    def give_back_waiting(self) -> None:
        """Give back the calls whose turn has not come, and those that still come to it."""
        self._closing = True
        self._turns.drain()
        for waiting in list(self._queued):
            waiting.cancel()

    async def _unmade(self, piece: Piece, kind: str, why: str) -> ToolEnded:
        call = piece.call
        _, keep = await kept(error(why, kind), self._artefacts)
        return ToolEnded(
            instance=self._standing.instance,
            tool=call.tool,
            by=call.agent,
            request=call.id,
            how="late" if kind == "late" else "refused",
            kept=keep,
            seconds=0.0,
            at=time.time(),
        )

    def _advance(self) -> None:
        """Let those go whose turn it is, and look again when a quota opens."""
        now = time.monotonic()
        while (turn := self._turns.take(now)) is not None:
            turn.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (at := self._turns.next_at(now)) is not None:
            self._timer = asyncio.get_running_loop().call_later(max(at - now, 0.001), self._advance)

    async def _answered(self, call: ToolCall) -> bool:
        """Whether the newest on the answer's subject is our answer. Raises BusError."""
        value = await self._answers.newest(str(_answer_of(call)))
        if value is None:
            return False
        return believed_reply(value.subject, value.data, value.headers, value.forwarded) is not None

    async def _reply(self, held: Held, how: How, keep: Kept, *, saved: bool, seconds: float) -> None:
        call = held.call
        reply = ToolReply(
            host=call.host,
            agent=call.agent,
            run=call.run,
            id=call.id,
            tool=call.tool,
            how=how,
            kept=keep,
            saved=saved,
            seconds=seconds,
            waited=max(held.turn - held.came, 0.0) if held.turn else 0.0,
            task=call.task,
            step=call.step,
            instance=self._standing.instance,
            at=time.time(),
        )
        await self._stored(call, encode(reply))
        failpoint("tool-answered")
        held.delivery.ack()
        outcome = "saved" if saved else how
        self._counts[outcome.replace("-", "_")] += 1
        metrics.tool_answered(call.host, call.tool, outcome, seconds if outcome == "done" else None)
        tool = self._served.tools.get(call.tool)
        held_for = time.monotonic() - held.came
        self._spans.answered(call, reply, None if tool is None else tool.definition, held_for)

    async def _stored(self, call: ToolCall, body: bytes) -> None:
        """Store an answer once: over what is not one, never over one. Raises BusError."""
        subject, over = str(_answer_of(call)), 0
        while True:
            try:
                await self._answers.put(
                    subject, body, headers={CONTENT_TYPE: MSGPACK}, expected_revision=over
                )
                return
            except WrongLastSequence as exc:
                if await self._answered(call):
                    return
                if exc.actual is None or exc.actual == over:
                    await asyncio.sleep(0.05)
                over = exc.actual if exc.actual is not None else over


def _answer_of(call: ToolCall) -> ToolSubject:
    return ToolSubject("answer", call.host, call.agent, call.run, call.id)
