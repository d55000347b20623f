"""One case after another: which run's messages are judged when, and what becomes of those that cannot be.

Runs proceed concurrently, `AT_ONCE` of them, the messages of one run one batch at a
time: whatever has arrived for a run when its turn comes is judged together, in one
entry. The others wait in line: under load the line grows, not the time that a
write takes. Runs are cached while something happens to them and folded again when
it does later.

A failure anywhere leaves messages unacknowledged, and the broker brings them again.
One that keeps failing is set aside, and so are those of a run whose history this
version cannot read: the run stands still until they are redriven, and nothing else does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Sequence

from consort_bus.errors import BusError
from consort_bus.letters import FAILING, UNKNOWN_KIND
from consort_bus.pull import Delivery
from consort_orchestrator.core.state import IllegalMove
from consort_orchestrator.shell import chronicle
from consort_orchestrator.shell.cases import Case
from consort_orchestrator.shell.dead import DeadLetters
from consort_orchestrator.shell.history import UnknownKind
from consort_orchestrator.shell.inbox import Incoming
from consort_orchestrator.shell.judge import Judge
from consort_shared.telemetry.logs import About, set_about

AT_ONCE = 64
"""Runs that are judged at the same time."""
CACHED_RUNS = 2000
IDLE = 30.0
"""Seconds after which a run that nothing happens to leaves the cache."""
POISON_AFTER = 10
"""Deliveries after which a message that keeps failing is set aside."""
UNREADABLE_AFTER = 2
"""Deliveries after which a message is set aside whose run cannot be read."""
RETRY_IN, LONGEST_RETRY = 1.0, 60.0

log = logging.getLogger("consort.orchestrator")


class Desk:
    """Has what arrives judged, run by run."""

    def __init__(self, judge: Judge, dead: DeadLetters, now: Callable[[], float]) -> None:
        self._judge = judge
        self._dead = dead
        self._now = now
        self._cases: OrderedDict[str, Case] = OrderedDict()
        self._line: deque[Case] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def cached(self) -> int:
        return len(self._cases)

    def take(self, incoming: Incoming) -> None:
        """Put a message on the desk; returns at once.

        One that comes again while it is still in hand is passed over: acknowledging it once is enough.
        """
        run_id = incoming.subject.run
        case = self._cases.get(run_id)
        if case is None:
            case = self._cases[run_id] = Case(run_id)
            self._evict()
        else:
            self._cases.move_to_end(run_id)
        place = incoming.delivery.seq
        if place in case.in_hand:
            return
        case.in_hand[place] = incoming
        case.queue.append(incoming)
        if not case.busy:
            case.busy = True
            self._line.append(case)
            if len(self._tasks) < AT_ONCE:
                self._begin(self._work())

    def take_unaddressed(self, delivery: Delivery) -> None:
        """Set a message aside that names no run; returns at once."""
        self._begin(self._set_unaddressed_aside(delivery))

    async def drained(self) -> None:
        """Wait until nothing is being judged any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def sweep(self) -> None:
        """Let go of runs that nothing has happened to for a while."""
        oldest = self._now() - IDLE
        for case in list(self._cases.values()):
            if case.touched > oldest:
                break
            if not case.busy:
                del self._cases[case.id]

    def keep(self) -> None:
        """Tell the bus that what stands in line is not forgotten, so that it is not delivered again meanwhile."""
        for case in self._cases.values():
            for incoming in case.in_hand.values():
                incoming.delivery.in_progress()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _evict(self) -> None:
        while len(self._cases) > CACHED_RUNS:
            case = next((case for case in self._cases.values() if not case.busy), None)
            if case is None:
                return
            del self._cases[case.id]

    async def _work(self) -> None:
        """Judge one case after another, until nobody is in line any more."""
        while self._line:
            case = self._line.popleft()
            set_about(About(case.id))
            try:
                while case.queue:
                    batch, case.queue = sorted(case.queue, key=_place), []
                    try:
                        await self._batch(case, batch)
                    finally:
                        for incoming in batch:
                            del case.in_hand[incoming.delivery.seq]
                    case.touched = self._now()
            finally:
                case.busy = False
            if case.run is not None and case.run.finished is not None and not case.queue:
                self._cases.pop(case.id, None)

    async def _batch(self, case: Case, batch: Sequence[Incoming]) -> None:
        """Judge a batch to its end. Whatever goes wrong, the messages come again or are set aside."""
        began = time.perf_counter()
        try:
            await self._judge.judge(case, batch)
            chronicle.judged(time.perf_counter() - began)
        except BusError as exc:
            log.warning("run %s: %s; %d messages will come again", case.id, exc, len(batch))
            chronicle.judged(time.perf_counter() - began, type(exc).__name__)
            case.forget()
            for incoming in batch:
                incoming.delivery.nak(RETRY_IN)
        except asyncio.CancelledError:
            raise
        except UnknownKind as exc:
            log.error("run %s stands still: %s", case.id, exc)
            chronicle.judged(time.perf_counter() - began, type(exc).__name__)
            case.forget()
            await self._give_back(batch, str(exc), UNKNOWN_KIND, UNREADABLE_AFTER)
        except Exception as exc:  # the loop's edge: one run's trouble must not stop the others
            case.forget()
            if len(batch) > 1:  # one of them is the trouble, perhaps
                for incoming in batch:
                    await self._batch(case, [incoming])
                return
            chronicle.judged(time.perf_counter() - began, type(exc).__name__)
            known = isinstance(exc, (IllegalMove, ValueError))
            log.error("run %s: cannot go on: %s", case.id, exc, exc_info=None if known else exc)
            await self._give_back(batch, f"{type(exc).__name__}: {exc}", FAILING, POISON_AFTER)

    async def _give_back(self, batch: Sequence[Incoming], why: str, kind: str, limit: int) -> None:
        for incoming in batch:
            delivered = incoming.delivery.delivered
            if delivered < limit:
                incoming.delivery.nak(min(RETRY_IN * 2.0 ** (delivered - 1), LONGEST_RETRY))
                continue
            try:
                await self._dead.set_aside(incoming, why, kind)
                incoming.delivery.ack()
            except BusError as refused:
                log.warning("run %s: a message cannot be set aside now: %s", incoming.subject.run, refused)

    async def _set_unaddressed_aside(self, delivery: Delivery) -> None:
        log.warning("a message in the inbox names no run: %s", delivery.subject)
        try:
            await self._dead.set_aside_unaddressed(
                delivery, "its subject names no run: 32 hex digits are wanted"
            )
            delivery.ack()
        except BusError as exc:
            log.warning("it cannot be set aside now: %s", exc)


def _place(incoming: Incoming) -> int:
    """In the order in which they were said: what comes again may have been overtaken."""
    return incoming.delivery.seq
