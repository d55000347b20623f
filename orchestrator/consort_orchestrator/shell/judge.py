"""One batch of messages for one run: load, decide, append fenced, do what follows, acknowledge.

Saying a thing twice changes nothing, so whatever goes wrong on the way is left
undone and the messages come again. A decision counts only if it was made on all
that the log holds: the fence sees to that where something is appended, and where
nothing is, the log's leader is asked, because what was read may have been a moment
old. Knows nothing of the order in which runs get their turn (`desk`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consort_bus.artefacts import Artefacts
from consort_bus.envelope import OrchestratorSeal
from consort_bus.errors import AppendUnknown, FenceRefused
from consort_bus.letters import REFUSED, Letter
from consort_orchestrator.core import (
    Decision,
    Foreign,
    NeedArtefacts,
    Run,
    Said,
    Unreadable,
    World,
    decide,
)
from consort_orchestrator.core.decide import Forged
from consort_orchestrator.core.said import Steering
from consort_orchestrator.core.state import in_hand
from consort_orchestrator.shell import chronicle
from consort_orchestrator.shell.addressing import addressed
from consort_orchestrator.shell.admission import Admission
from consort_orchestrator.shell.cases import Case
from consort_orchestrator.shell.dead import DeadLetters
from consort_orchestrator.shell.effects import Effects
from consort_orchestrator.shell.history import History
from consort_orchestrator.shell.inbox import Incoming, Opened, open_message
from consort_orchestrator.shell.redriving import Redriving
from consort_orchestrator.shell.registry import Registry
from consort_orchestrator.tracing.following import Traced
from consort_shared.codec import unpack
from consort_shared.entries import SCHEMA, Cause, Entry, Failure, Redriven, body_digest, kind_of
from consort_shared.failpoints import failpoint
from consort_shared.messages import POISON, Submit
from consort_shared.telemetry import metrics

ATTEMPTS = 20
"""How often one batch is decided anew when others write to the same run."""
PATIENCE, _LATER = 10.0, 0.5
"""Seconds for which what is wanted of a run that is not there yet is put off, and for how long at a time."""
_PAUSE = 0.02
"""Seconds more to wait after each refusal: a replica may lag a moment behind."""

log = logging.getLogger("consort.orchestrator")


@dataclass(frozen=True, slots=True)
class _Refused:
    """A message to set aside. To an order that was understood the refusal is the answer: it is settled with it."""

    incoming: Incoming
    why: str
    kind: str = REFUSED
    answered: bool = False


@dataclass(slots=True)
class _Opened:
    """A batch, read: what was said, by which message, and what is to be set aside."""

    said: list[Said] = field(default_factory=list)
    by_said: dict[int, Incoming] = field(default_factory=dict)
    causes: list[Cause] = field(default_factory=list)
    refused: list[_Refused] = field(default_factory=list)
    letters: dict[int, Letter] = field(default_factory=dict)
    """by what was said: the dead letter that it came from"""
    put_off: list[Incoming] = field(default_factory=list)
    """messages that were given back, because what they are about is not there yet"""
    turned_away: set[int] = field(default_factory=set)
    """what was said and is not to be set aside, although it is refused"""


class Judge:
    """Turns messages for a run into its next entry."""

    def __init__(
        self,
        writer: str,
        history: History,
        effects: Effects,
        registry: Registry,
        artefacts: Artefacts,
        seal: OrchestratorSeal,
        dead: DeadLetters,
        redriving: Redriving,
        admission: Admission,
        now: Callable[[], float],
        follow: Callable[[str], Traced] | None,
        sampled: Callable[[Run], bool],
    ) -> None:
        self._writer = writer
        self._speaks_as = f"orchestrator.{writer}"
        self._history = history
        self._effects = effects
        self._registry = registry
        self._artefacts = artefacts
        self._seal = seal
        self._dead = dead
        self._redriving = redriving
        self._admission = admission
        self._now = now
        self._follow_for_trace = follow
        self._sampled = sampled
        self.decisions = 0

    async def judge(self, case: Case, batch: Sequence[Incoming]) -> None:
        """Judge a batch to its end. Raises BusError, and whatever a history that cannot be folded raises."""
        refused = 0
        chronicle.taken(batch)
        while refused < ATTEMPTS:
            try:
                await self._attempt(case, batch)
            except FenceRefused:
                refused += 1
                metrics.fence_refused()
                case.forget()
                await asyncio.sleep(_PAUSE * (refused - 1))
            except NeedArtefacts as exc:
                await self._fetch(case, exc)
            else:
                return
        raise AppendUnknown(case.id, f"{ATTEMPTS} attempts to get an entry in")

    async def _attempt(self, case: Case, batch: Sequence[Incoming]) -> None:
        guessed = not case.looked_up and _seems_new(batch)
        remembered = case.run is not None
        case.looked_up = True
        if not remembered and _only_wakes(batch) and await self._history.has_ended(case.id):
            _acknowledge(batch)  # the timer of a run that ended in time
            return
        run = case.run or (self._new(case) if guessed else await self._load(case))
        if _fired(batch):
            case.timer = None
        opened = await self._open(case, run, batch)
        batch = [incoming for incoming in batch if incoming not in opened.put_off]
        waited = list(run.waiting.values())
        now = max(self._now(), _fired(batch))
        case.run = None  # until the entry is stored, the run in memory may be ahead of the log
        world = World(
            now,
            secrets.token_hex(6),
            self._registry.candidates,
            case.blobs,
            self._registry.paused(in_hand(run)),
            self._registry.cards,
        )
        decision = decide(run, opened.said, world)
        if not decision.facts:
            if guessed:
                await self._attempt(case, batch)  # no fence would refuse the guess
                return
            await self._history.require_tail(case.id, case.tail)
        for said, why in decision.refused:
            if id(said) in opened.by_said and id(said) not in opened.turned_away:
                answered = isinstance(said.message, Steering)
                opened.refused.append(_Refused(opened.by_said[id(said)], why, answered=answered))
        failpoint("entry-decided")
        direct = (
            await self._append(case, run, decision, tuple(opened.causes), now) if decision.facts else False
        )
        failpoint("entry-stored")
        case.run = run
        case.foreign.clear()
        stored = self._now()
        try:
            await self._follow(case, run, decision, waited, direct)
        finally:  # told whatever becomes of what follows, and not before: that would hold it up
            if decision.facts:
                chronicle.decided(run, decision.facts, batch, stored, copies=not direct)
        await self._set_aside(run, opened, decision)
        failpoint("effects-done")
        _acknowledge(batch)
        failpoint("causes-acknowledged")

    async def _open(self, case: Case, run: Run, batch: Sequence[Incoming]) -> _Opened:
        found = _Opened([Said("log", foreign) for foreign in case.foreign])
        for incoming in batch:
            opened, letter = await open_message(incoming, run, self._seal, self._artefacts), None
            ordered = opened.redrive is not None
            if opened.redrive is not None:
                opened, letter = await self._redriving.reopened(*opened.redrive, run)
            first = opened.said
            if first is not None and run.plan is None and run.finished is None:
                if isinstance(first.message, Submit):
                    opened = self._admitted(opened, first, found)
                elif not opened.submits and self._too_early(first, found):
                    incoming.delivery.nak(_LATER)
                    found.put_off.append(incoming)
                    continue
            if opened.refusal:
                found.refused.append(_Refused(incoming, opened.refusal, opened.kind, ordered))
            if opened.said is not None:
                found.said.append(opened.said)
                if letter is not None:
                    found.letters[id(opened.said)] = letter
                elif not opened.refusal:
                    found.by_said[id(opened.said)] = incoming
                digest = body_digest(incoming.delivery.data)[:16]
                found.causes.append(Cause(sender=opened.said.by or opened.said.sender, digest=digest))
        return found

    def _too_early(self, said: Said, found: _Opened) -> bool:
        """Whether something is wanted of a run whose submission may still be on its way: it was overtaken then."""
        if any(isinstance(other.message, Submit) for other in found.said):
            return False
        return said.at > 0 and self._now() - said.at < PATIENCE

    def _admitted(self, opened: Opened, said: Said, found: _Opened) -> Opened:
        """A new run is turned away, on record, while there is room only for those under way."""
        why = self._admission.refusal
        if not why:
            return opened
        turned_away = self._admission.turned_away(said, why)
        found.turned_away.add(id(turned_away))
        return Opened(turned_away)

    async def _append(
        self, case: Case, run: Run, decision: Decision, causes: tuple[Cause, ...], now: float
    ) -> bool:
        """Store the decision as the run's next entry. Whether it is addressed to the one agent it gives a task."""
        facts, grant = addressed(run, decision.facts, self._registry.reads)
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
            sampled=self._sampled(run),
        )
        run.n += 1
        if case.traced is not None:
            case.traced.take(entry)
        self.decisions += 1
        self._registry.count(facts)
        return grant is not None

    async def _follow(
        self, case: Case, run: Run, decision: Decision, waited: Sequence[str], direct: bool
    ) -> None:
        """Do what the entry implies. Raises BusError."""
        due, now = run.next_due, self._now()
        if due is not None and case.timer is not None and now < case.timer <= due:
            due = None  # it is set for early enough
        wake_at = None if due is None else max(due, now)
        await self._effects.of(run, decision.facts, direct=direct, waited=waited, wake_at=wake_at)
        case.timer = due or case.timer
        if any(self._registry.candidates(skill) for skill in run.waiting.values()):
            self._registry.tell_news()  # somebody came between the decision and the mark on the waiting list
        if decision.orders:
            await self._effects.tell(decision.orders)
        for fact in decision.facts:
            if isinstance(fact, Failure) and fact.kind == POISON:
                await self._set_poison_aside(run, fact.task)
            elif isinstance(fact, Redriven):
                await self._dead.settle(fact.letter, "redriven", fact.by, now)

    async def _set_aside(self, run: Run, opened: _Opened, decision: Decision) -> None:
        for one in opened.refused:
            # Why may quote what somebody wrote; the letter keeps it.
            level = logging.INFO if one.answered else logging.WARNING
            told = "run %s: %s is set aside: %s; see `consort dead`"
            log.log(level, told, run.id, one.incoming.subject, one.kind)
            letter_id = await self._dead.set_aside(one.incoming, one.why, one.kind)
            if one.answered:
                await self._dead.settle(letter_id, REFUSED, self._speaks_as, self._now())
        refused = {id(said): why for said, why in decision.refused}
        for key, letter in opened.letters.items():
            why = refused.get(key, "")
            said = next(said for said in opened.said if id(said) == key)
            if isinstance(said.message, (Forged, Unreadable)):
                why = said.message.why
            if why and any(
                isinstance(fact, Redriven) and fact.letter == letter.id for fact in decision.facts
            ):
                letter_id = await self._dead.again(letter, why)
                if isinstance(said.message, Steering) and letter.kind != POISON:
                    await self._dead.settle(letter_id, REFUSED, self._speaks_as, self._now())

    def _new(self, case: Case) -> Run:
        case.traced = None if self._follow_for_trace is None else self._follow_for_trace(case.id)
        return Run(case.id)

    async def _load(self, case: Case) -> Run:
        """Fold the run from the log, and make good what a crash may have left undone."""
        case.traced = None if self._follow_for_trace is None else self._follow_for_trace(case.id)
        loaded = await self._history.load(case.id, traced=case.traced)
        case.tail = loaded.tail
        case.timer = None
        case.foreign.clear()
        for stored, why in loaded.foreign:
            if stored.seq not in loaded.run.set_aside:
                await self._dead.set_aside_stored(case.id, stored, why)
                case.foreign.append(Foreign(stored.seq, why))
        await self._effects.resend(loaded.run, loaded.undelivered())
        await self._effects.restore(loaded.run)
        if loaded.run.poisoned:
            known = await self._dead.poisoned(case.id)
            for task in loaded.run.poisoned:
                if task not in known:
                    await self._set_poison_aside(loaded.run, task)
        return loaded.run

    async def _set_poison_aside(self, run: Run, task: str) -> None:
        granted = await self._history.granted(run.id, task)
        if granted is not None:
            await self._dead.set_task_aside(run.id, granted, run.failed.get(task, POISON))

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


def _fired(batch: Sequence[Incoming]) -> float:
    """When the bus fired the last timer among these, in seconds since 1970; 0 for none.

    What a timer was set for is due then, also if this process believes that it is a moment earlier.
    """
    times = [incoming.delivery.time.timestamp() for incoming in batch if incoming.subject.kind == "timer"]
    return max(times, default=0.0)


def _seems_new(batch: Sequence[Incoming]) -> bool:
    """Whether these look like the first words of a run, so that it can be decided on without reading its log.

    Being wrong about it costs one refused append.
    """
    return all(incoming.subject.kind == "client" and incoming.delivery.delivered == 1 for incoming in batch)
