"""One case after another: the loop that turns messages into entries.

Runs proceed concurrently, `AT_ONCE` of them, the messages of one run one batch at a
time: whatever has arrived for a run when its turn comes is judged together, in one
entry. The others wait in line: under load the line grows, not the time that a
write takes. Runs are cached while something happens to them and folded again when
it does later.

The order is always: load, decide, append fenced, do what follows, acknowledge. A
failure anywhere leaves the messages unacknowledged, and the broker brings them
again; saying a thing twice changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consort_bus.artefacts import Artefacts
from consort_bus.envelope import OrchestratorSeal
from consort_bus.errors import AppendUnknown, BusError, FenceRefused
from consort_bus.pull import Delivery
from consort_orchestrator.core import Decision, Foreign, NeedArtefacts, Run, Said, World, decide
from consort_orchestrator.core.handoff import delivered
from consort_orchestrator.core.state import IllegalMove
from consort_orchestrator.shell.dead import DeadLetters
from consort_orchestrator.shell.effects import Effects
from consort_orchestrator.shell.history import History, UnknownKind
from consort_orchestrator.shell.inbox import Incoming, open_message
from consort_orchestrator.shell.registry import Registry
from consort_shared.codec import unpack
from consort_shared.entries import (
    SCHEMA,
    Accepted,
    Cause,
    Entry,
    Fact,
    Failure,
    Granted,
    Opened,
    body_digest,
    kind_of,
)
from consort_shared.values import Json

AT_ONCE = 64
"""Runs that are judged at the same time."""
CACHED_RUNS = 2000
IDLE = 30.0
"""Seconds after which a run that nothing happens to leaves the cache."""
POISON_AFTER = 10
"""Deliveries after which a message that keeps failing is set aside."""
RETRY_IN, LONGEST_RETRY = 1.0, 60.0
ATTEMPTS = 20
"""How often one batch is decided anew when others write to the same run."""

log = logging.getLogger("consort.orchestrator")


@dataclass(slots=True)
class Case:
    """A run on the desk."""

    id: str
    queue: list[Incoming] = field(default_factory=list)
    in_hand: set[int] = field(default_factory=set)
    """where in the inbox the messages stand that are queued or being judged"""
    busy: bool = False
    """in line, or being judged"""
    run: Run | None = None
    looked_up: bool = False
    """whether anything has been tried yet that would tell of earlier entries"""
    tail: int = 0
    timer: float | None = None
    """when the run's timer is known to be set for"""
    foreign: list[Foreign] = field(default_factory=list)
    blobs: dict[str, Json] = field(default_factory=dict)
    touched: float = 0.0


class Desk:
    """Judges what arrives, run by run."""

    def __init__(
        self,
        writer: str,
        history: History,
        effects: Effects,
        registry: Registry,
        artefacts: Artefacts,
        seal: OrchestratorSeal,
        dead: DeadLetters,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._writer = writer
        self._history = history
        self._effects = effects
        self._registry = registry
        self._artefacts = artefacts
        self._seal = seal
        self._dead = dead
        self._now = now
        self._cases: OrderedDict[str, Case] = OrderedDict()
        self._line: deque[Case] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self.decisions = 0

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
        case.in_hand.add(place)
        case.queue.append(incoming)
        if not case.busy:
            case.busy = True
            self._line.append(case)
            if len(self._tasks) < AT_ONCE:
                task = asyncio.get_running_loop().create_task(self._work())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def take_unaddressed(self, delivery: Delivery) -> None:
        """Set a message aside that names no run; returns at once."""
        task = asyncio.get_running_loop().create_task(self._set_unaddressed_aside(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _set_unaddressed_aside(self, delivery: Delivery) -> None:
        log.warning("a message in the inbox names no run: %s", delivery.subject)
        try:
            await self._dead.set_aside_unaddressed(
                delivery, "its subject names no run: 32 hex digits are wanted"
            )
            delivery.ack()
        except BusError as exc:
            log.warning("it cannot be set aside now: %s", exc)

    async def drained(self) -> None:
        """Wait until nothing is being judged any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def cached(self) -> int:
        return len(self._cases)

    def sweep(self) -> None:
        """Let go of runs that nothing has happened to for a while."""
        oldest = self._now() - IDLE
        for case in list(self._cases.values()):
            if case.touched > oldest:
                break
            if not case.busy:
                del self._cases[case.id]

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
            try:
                while case.queue:
                    batch, case.queue = case.queue, []
                    try:
                        await self._judge(case, batch)
                    finally:
                        case.in_hand.difference_update(incoming.delivery.seq for incoming in batch)
                    case.touched = self._now()
            finally:
                case.busy = False

    async def _judge(self, case: Case, batch: list[Incoming]) -> None:
        """Judge a batch to its end. Whatever goes wrong, the messages come again or are set aside."""
        refused = 0
        try:
            while refused < ATTEMPTS:
                try:
                    await self._attempt(case, batch)
                except FenceRefused:
                    refused += 1
                    self._forget(case)
                except NeedArtefacts as exc:
                    await self._fetch(case, exc)
                else:
                    return
            raise AppendUnknown(case.id, f"{ATTEMPTS} attempts to get an entry in")
        except BusError as exc:
            log.warning("run %s: %s; %d messages will come again", case.id, exc, len(batch))
            self._forget(case)
            for incoming in batch:
                incoming.delivery.nak(RETRY_IN)
        except asyncio.CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 # the loop's edge: one run's trouble must not stop the others
            self._forget(case)
            await self._trouble(case, batch, exc)

    def _forget(self, case: Case) -> None:
        case.run = None
        case.timer = None
        case.blobs.clear()

    async def _trouble(self, case: Case, batch: Sequence[Incoming], exc: Exception) -> None:
        known = isinstance(exc, (UnknownKind, IllegalMove, ValueError))
        log.error("run %s: cannot go on: %s", case.id, exc, exc_info=None if known else exc)
        for incoming in batch:
            if incoming.delivery.delivered < POISON_AFTER:
                incoming.delivery.nak(min(RETRY_IN * 2.0 ** (incoming.delivery.delivered - 1), LONGEST_RETRY))
                continue
            try:
                await self._dead.set_aside(incoming, f"{type(exc).__name__}: {exc}")
                incoming.delivery.ack()
            except BusError as refused:
                log.warning("run %s: a message cannot be set aside now: %s", case.id, refused)

    async def _attempt(self, case: Case, batch: Sequence[Incoming]) -> None:
        guessed = not case.looked_up and _seems_new(batch)
        remembered = case.run is not None
        case.looked_up = True
        if not remembered and _only_wakes(batch) and await self._history.has_ended(case.id):
            _acknowledge(batch)  # the timer of a run that ended in time
            self._cases.pop(case.id, None) if not case.queue else None
            return
        run = case.run or (Run(case.id) if guessed else await self._load(case))
        now = self._now()
        said: list[Said] = [Said("log", foreign) for foreign in case.foreign]
        refused: list[tuple[Incoming, str]] = []
        causes: list[Cause] = []
        by_message: dict[int, Incoming] = {}
        for incoming in batch:
            opened = await open_message(incoming, run, self._seal, self._artefacts)
            if opened.refusal:
                refused.append((incoming, opened.refusal))
            if opened.said is not None:
                said.append(opened.said)
                by_message[id(opened.said)] = incoming
                causes.append(
                    Cause(sender=opened.said.sender, digest=body_digest(incoming.delivery.data)[:16])
                )
        nonce = secrets.token_hex(6)
        waited = list(run.waiting.values())
        case.run = None  # until the entry is stored, the run in memory may be ahead of the log
        decision = decide(run, said, World(now, nonce, self._registry.candidates, case.blobs))
        for message, why in decision.refused:
            if id(message) in by_message and all(by_message[id(message)] is not i for i, _ in refused):
                refused.append((by_message[id(message)], why))
        if guessed and not decision.facts:
            await self._attempt(case, batch)  # no fence would refuse the guess
            return
        if remembered and not decision.facts:
            await self._history.require_tail(
                case.id, case.tail
            )  # nor what is remembered of a run that moved on
        direct = await self._append(case, run, decision, tuple(causes), now) if decision.facts else False
        case.run = run
        case.foreign.clear()
        await self._follow(case, run, decision, waited, direct, refused, batch)

    async def _append(
        self, case: Case, run: Run, decision: Decision, causes: tuple[Cause, ...], now: float
    ) -> bool:
        """Store the decision as the run's next entry. Whether it is addressed to the one agent it gives a task."""
        facts, grant = _addressed(run, decision.facts)
        entry = Entry(
            v=SCHEMA,
            run=run.id,
            n=run.n + 1,
            at=now,
            writer=self._writer,
            prev=run.chain,
            causes=causes,
            facts=facts,
        )
        case.tail, run.chain = await self._history.append(
            entry,
            tail=case.tail,
            agent=grant.agent if grant else None,
            kind=kind_of(facts),
            task=grant.task if grant else "",
            nonce=grant.nonce if grant else "",
        )
        run.n += 1
        self.decisions += 1
        self._registry.count(facts)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("run %s entry %d: %s", run.id, run.n, ", ".join(fact.fact for fact in facts))
        return grant is not None

    async def _follow(
        self,
        case: Case,
        run: Run,
        decision: Decision,
        waited: Sequence[str],
        direct: bool,
        refused: Sequence[tuple[Incoming, str]],
        batch: Sequence[Incoming],
    ) -> None:
        for incoming, why in refused:
            log.warning("run %s: %s: %s", run.id, incoming.subject, why)
            await self._dead.set_aside(incoming, why)
        due, now = run.next_due, self._now()
        if due is not None and case.timer is not None and now < case.timer <= due:
            due = None  # it is set for early enough
        wake_at = None if due is None else max(due, now)
        await self._effects.of(run, decision.facts, direct=direct, waited=waited, wake_at=wake_at)
        case.timer = due or case.timer
        if any(self._registry.candidates(skill) for skill in run.waiting.values()):
            self._registry.tell_news()  # somebody came between the decision and the mark on the waiting list
        if decision.stopped or decision.answers:
            await self._effects.tell(run, decision)
            self._registry.forget_load(agent for agent, _ in decision.stopped)
        _acknowledge(batch)
        if run.finished is not None:
            self._cases.pop(case.id, None) if not case.queue else None

    async def _load(self, case: Case) -> Run:
        """Fold the run from the log, and make good what a crash may have left undone."""
        loaded = await self._history.load(case.id)
        case.tail = loaded.tail
        case.timer = None
        for stored, why in loaded.foreign:
            if stored.seq not in loaded.run.set_aside:
                await self._dead.set_aside_stored(case.id, stored, why)
                case.foreign.append(Foreign(stored.seq, why))
        await self._effects.resend(loaded.run, loaded.undelivered())
        await self._effects.restore(loaded.run)
        return loaded.run

    async def _fetch(self, case: Case, need: NeedArtefacts) -> None:
        """Get stored values that a decision depends on, and start over from the log."""
        case.run = None
        case.timer = None
        for ref in need.refs:
            case.blobs[ref.artefact] = unpack(await self._artefacts.get(ref), ref.media_type)


def _acknowledge(batch: Sequence[Incoming]) -> None:
    for incoming in batch:
        incoming.delivery.ack()


def _only_wakes(batch: Sequence[Incoming]) -> bool:
    return all(incoming.subject.kind == "timer" for incoming in batch)


def _seems_new(batch: Sequence[Incoming]) -> bool:
    """Whether these look like the first words of a run, so that it can be decided on without reading its log.

    Being wrong about it costs one refused append.
    """
    return all(incoming.subject.kind == "client" and incoming.delivery.delivered == 1 for incoming in batch)


def _addressed(run: Run, facts: tuple[Fact, ...]) -> tuple[tuple[Fact, ...], Granted | None]:
    """Whether an entry may be addressed to an agent, and the facts as that agent needs them.

    It may when it gives exactly one task and holds nothing else of the run than what that task's hand-off holds
    anyway: the results that its step needs, or the failure of the attempt before.
    """
    grant: Granted | None = None
    for fact in facts:
        if isinstance(fact, Granted):
            if grant is not None:
                return facts, None
            grant = fact
    if grant is None:
        return facts, None
    shown = {prior.path for prior in grant.handoff.priors}
    at_hand: set[str] = set()
    for fact in facts:
        if isinstance(fact, Accepted) and fact.path in shown:
            at_hand.add(fact.path)
        elif not (
            fact is grant
            or (isinstance(fact, Failure) and fact.path == grant.path)
            or (isinstance(fact, Opened) and fact.items is None)
        ):
            return facts, None
    full = delivered(run, grant, at_hand)
    return tuple(full if fact is grant else fact for fact in facts), grant
