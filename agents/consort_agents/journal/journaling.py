"""A task's calls, each made once however often the task is delivered: the `Journal` of `port`.

That a call begins is sent before it is made, and its answer is stored before it is returned: one
write to wait for. A process takes consecutive positions; where another has gone on with the task
it finds its position taken, learns that it has lost, and stops the calls in hand. Strays and
forgeries in its way are stepped over.

The first record is waited for, and one that takes over first writes that it does: so no call is
made by a process that does not hold the task. An answer waits for all records sent before it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from consort_agents.errors import AttemptOver, JournalDiverged, JournalLost, SkillError
from consort_agents.journal.keeping import Keeping, as_text
from consort_agents.journal.nesting import around, within_call
from consort_agents.journal.port import Call, CallKind, Recorded
from consort_agents.journal.recall import Asked, Recall
from consort_agents.journal.rehearsal import Rehearsal
from consort_agents.journal.store import JournalStore
from consort_shared import hiding
from consort_shared.failpoints import failpoint
from consort_shared.journal import Answered, Began, Raised, Record, Restarted, Resumed, call_id
from consort_shared.journal_fold import Past, Slot, fold
from consort_shared.values import Json

FRESH = 1.0
"""Seconds after a stored record within which the next call begins at once. Later, the process may have been
frozen and taken for dead, so it waits for the record that it begins."""
LAST_WAIT = 1.0
"""Seconds that a call may take to end when it is cancelled, before it is left behind."""

log = logging.getLogger("consort.agent")


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose journal it is, and who works on the task now."""

    run: str
    task: str
    instance: str = "offline"
    delivered: int = 1


def nobody(over: AttemptOver) -> None:
    """Nobody is to be told that the attempt is over."""


class Journaling:
    """The calls of one task, in one process.

    `over` is told when the attempt is over because of the journal, should the skill swallow what is
    raised. It belongs to the task in which it is made: what is asked from there is the skill's own flow.
    """

    def __init__(
        self,
        store: JournalStore,
        keeping: Keeping,
        whose: Whose,
        rehearsal: Rehearsal | None = None,
        fresh: float = FRESH,
    ) -> None:
        self._store = store
        self._keeping = keeping
        self._whose = whose
        self._rehearsal = rehearsal
        self._fresh = fresh
        self.over: Callable[[AttemptOver], None] = nobody
        self._by = secrets.token_hex(8)
        self._recall = Recall()
        self._main: asyncio.Task[Any] | None = None
        self._held = False
        """whether the last record of the task is known to be this process's"""
        self._next = 1
        self._known = 0.0
        """when a record was sent that is known to be stored, by the monotonic clock"""
        self._count = 0
        self._door = asyncio.Lock()
        self._ended: BaseException | None = None
        self._unsettled: set[asyncio.Task[None]] = set()
        self._in_hand: set[asyncio.Task[Json]] = set()
        self.writes = 0
        """records that were sent"""

    # --- for whoever runs the skill

    async def open(self) -> None:
        """To be called in the skill's own flow, before it. Reads what an earlier process left and takes over.

        Raises JournalLost, BusError, TooNew.
        """
        self._main = asyncio.current_task()
        if self._whose.delivered > 1:
            slots = await self._store.read()
            if slots:
                await self._take_over(slots)

    def left_over(self) -> JournalDiverged | None:
        """What is wrong with a skill that returns now: calls on record that it did not ask for."""
        return self._recall.left_over()

    async def restart(self, why: str) -> None:
        """Make void what is on record, so that the skill can be run from its start. Raises JournalLost, BusError."""
        self._ended = None
        await self._send(Restarted(**self._signed(), why=why[:1000]))
        self._recall = Recall()

    # --- for the skill

    @property
    def replaying(self) -> bool:
        """Whether answers of an earlier process are left."""
        return self._recall.replaying

    async def call(
        self,
        kind: CallKind,
        name: str,
        request: Json,
        perform: Callable[[Call], Awaitable[Json]],
        *,
        wait: bool = False,
        shown: Mapping[str, Any] | None = None,
    ) -> Recorded:
        """See `port.Journal`. Raises JournalDiverged, JournalLost, BusError, SkillError for what is no JSON."""
        begun = await self.begin(kind, name, request, wait=wait, shown=shown)
        if isinstance(begun, Recorded):
            return begun
        work = asyncio.create_task(self._performed(perform, begun))
        self._in_hand.add(work)
        since = time.monotonic()
        try:
            await asyncio.wait({work})
            self._check()
            value = work.result()
            failpoint("call-made")
        except BaseException as exc:
            self.raised(begun, exc)
            raise
        finally:
            self._in_hand.discard(work)
            await _stopped(work)
        return await self.answer(begun, value, time.monotonic() - since)

    async def begin(
        self,
        kind: CallKind,
        name: str,
        request: Json,
        *,
        wait: bool = False,
        shown: Mapping[str, Any] | None = None,
    ) -> Call | Recorded:
        """The answer on record, or a call that is to be made now and ended by `answer` or `raised`."""
        try:
            asked = Asked.of(kind, name, request)
        except (TypeError, ValueError, RecursionError) as exc:
            raise _no_json(f"the request to {kind} {name}", exc) from exc
        told = hiding.shown(dict(shown)) if shown is not None else ""
        begun = await self._begun(asked, told, wait)
        if self._rehearsal is None or isinstance(begun, Recorded):
            return begun
        return replace(
            await self.answer(begun, self._rehearsal.answer(kind, name, request), 0.0), replayed=True
        )

    async def _begun(self, asked: Asked, told: str, wait: bool) -> Call | Recorded:
        self._check()
        main = asyncio.current_task() is self._main
        if not self._held:
            async with self._door:
                if not self._held:
                    first = await self._first(asked, main, told)
                    if first is not None:
                        return first
                self._check()
        try:
            past = self._recall.claim(asked, main, around())
        except JournalDiverged as exc:
            self._end(exc)
            raise
        if past is not None:
            return await self._again(past)
        began = self._began(asked, main, told)
        unsure = time.monotonic() - self._known > self._fresh
        sent = self._send(began)
        if wait or unsure:
            await sent
        return self._call(began.n, again=False)

    async def answer(self, call: Call, value: Json, seconds: float) -> Recorded:
        """Put an answer on record; it is stored when this returns. Raises as `call`."""
        self._check()
        try:
            text = as_text(value)
            value = json.loads(text)  # as it will be replayed
        except (TypeError, ValueError, RecursionError) as exc:
            self.raised(call, exc)
            raise _no_json(f"what call {call.n} gave", exc) from exc
        kept = await self._keeping.kept(text, value)
        sent = self._send(Answered(**self._signed(), n=call.n, seconds=round(seconds, 6), **kept))
        await self._settled()
        await sent
        failpoint("call-answered")
        return Recorded(call.n, call.id, value, replayed=False)

    def raised(self, call: Call, exc: BaseException) -> None:
        """Put down that a call ended without an answer. Waits for nothing."""
        if self._ended is None and isinstance(exc, (Exception, asyncio.CancelledError)):
            self._send(Raised(**self._signed(), n=call.n, error=type(exc).__name__))

    async def gave_up(self, call: Call, error: str) -> None:
        """As `raised`, for a call that was made elsewhere."""
        if self._ended is None:
            self._send(Raised(**self._signed(), n=call.n, error=error))

    # --- taking and keeping the task

    async def _first(self, asked: Asked, main: bool, told: str) -> Call | None:
        """Begin the task's first call; None when the task turns out to be another process's that is gone."""
        began = self._began(asked, main, told)
        since = time.monotonic()
        standing = await self._store.append(1, began)
        self.writes += 1
        if standing is None:
            self._held, self._next, self._known = True, 2, since
            return self._call(began.n, again=False)
        self._count = 0
        await self._take_over(await self._store.read())
        return None

    async def _take_over(self, slots: list[Slot]) -> None:
        """Write behind all that was read that this process goes on. Refused, it was not all: read on."""
        whose = self._whose
        while True:
            record = Resumed(**self._signed(), instance=whose.instance, delivered=whose.delivered)
            since = time.monotonic()
            standing = await self._store.append(len(slots) + 1, record)
            self.writes += 1
            if standing is None:
                break
            slots = [*slots, standing, *await self._store.read(len(slots) + 2)]
        memory = fold(slots)
        self._held, self._next, self._known = True, memory.length + 2, since
        self._count = memory.last
        self._recall = Recall(memory.calls)
        answered = sum(past.answered is not None for past in memory.calls.values())
        log.info("goes on with task %s: %d answers are on record", whose.task, answered)

    async def _again(self, past: Past) -> Call | Recorded:
        if past.answered is None:
            return self._call(past.n, again=True)
        value = await self._keeping.given(past.answered)
        return Recorded(past.n, call_id(self._whose.run, self._whose.task, past.n), value, replayed=True)

    def _send(self, record: Record) -> asyncio.Task[None]:
        """Send a record now; the task ends when it is stored, and raises JournalLost or BusError."""
        position, stored = self._sent(record)
        settled = asyncio.get_running_loop().create_task(self._stored(record, position, stored))
        self._unsettled.add(settled)
        settled.add_done_callback(self._settle)
        return settled

    def _sent(self, record: Record) -> tuple[int, asyncio.Future[Slot | None]]:
        position = self._next
        self._next += 1
        self.writes += 1
        return position, self._store.append(position, record)

    async def _stored(self, record: Record, position: int, stored: asyncio.Future[Slot | None]) -> None:
        while True:
            since = time.monotonic()
            standing = await stored
            if standing is None:
                self._known = max(self._known, since)
                return
            if isinstance(standing, Resumed):
                self._end(JournalLost(position))
                self._check()
            position, stored = self._sent(record)  # a stray or a forgery stands in the way

    def _settle(self, settled: asyncio.Task[None]) -> None:
        self._unsettled.discard(settled)
        if not settled.cancelled() and (exc := settled.exception()) is not None:
            self._end(exc)

    async def _settled(self) -> None:
        """Wait for all that was sent up to now. Raises what ended the journal."""
        if self._unsettled:
            await asyncio.wait(set(self._unsettled))
        self._check()

    def _end(self, exc: BaseException) -> None:
        """No further call is made: the task is lost, has diverged, or its journal cannot be written."""
        if self._ended is None:
            self._ended = exc
            if isinstance(exc, AttemptOver):
                self.over(exc)
            for work in self._in_hand:
                work.cancel()

    def _check(self) -> None:
        if self._ended is not None:
            raise self._ended

    # --- small things

    async def _performed(self, perform: Callable[[Call], Awaitable[Json]], call: Call) -> Json:
        failpoint("call-begun")
        with within_call(call.n):
            return await perform(call)

    def _began(self, asked: Asked, main: bool, told: str) -> Began:
        self._count += 1
        return Began(
            **self._signed(),
            n=self._count,
            call=asked.kind,
            name=asked.name,
            request=asked.digest,
            parts=asked.parts,
            shown=told,
            main=main,
            within=around(),
        )

    def _call(self, n: int, *, again: bool) -> Call:
        return Call(n, call_id(self._whose.run, self._whose.task, n), again)

    def _signed(self) -> dict[str, Any]:
        return {"id": secrets.token_hex(8), "by": self._by, "at": round(time.time(), 3)}


async def _stopped(work: asyncio.Task[Json]) -> None:
    """Do not leave a call behind that nobody waits for any more."""
    if not work.done():
        work.cancel()
        await asyncio.wait({work}, timeout=LAST_WAIT)
    if not work.cancelled() and work.done():
        work.exception()  # it is raised by whoever waited, or nobody does


def _no_json(what: str, exc: BaseException) -> SkillError:
    return SkillError(f"{what} is not JSON: {exc}", kind="bad-output", retry=False)
