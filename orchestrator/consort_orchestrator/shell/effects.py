"""What follows from an entry that is stored: deliveries, projections, the timer, orders.

All of it is derived from entries and can be done again without harm. It is done
after the entry is stored and before the messages that caused it are acknowledged;
whoever next loads the run does what may be missing (`restore`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from consort_bus import subjects
from consort_bus.artefacts import Artefacts
from consort_bus.buckets import Bucket
from consort_bus.connection import Bus
from consort_bus.envelope import OrchestratorSeal, Wrapped, stow
from consort_bus.errors import BusError
from consort_bus.publish import PubAck, Publisher, WrongLastSequence
from consort_bus.subjects import ContextSubject, ControlSubject, CopySubject, TimerSubject, WaitingSubject
from consort_bus.topology import FIRED_TIMER_TTL
from consort_orchestrator.core import Run
from consort_orchestrator.core.handoff import promised
from consort_orchestrator.core.state import Kept
from consort_shared.codec import MSGPACK, encode, pack_as, plain
from consort_shared.entries import SCHEMA, Fact, Granted, Waiting, Written
from consort_shared.failpoints import failpoint
from consort_shared.messages import Answer, EffectAnswer, Hold, Stop
from consort_shared.values import Json

EXPECT_LAST = "Nats-Expected-Last-Subject-Sequence"
SCHEDULE, TARGET = "Nats-Schedule", "Nats-Schedule-Target"
REVISION = "Consort-Revision"


class Effects:
    """Carries out what entries imply."""

    def __init__(
        self,
        bus: Bus,
        publisher: Publisher,
        context: Bucket,
        artefacts: Artefacts,
        seal: OrchestratorSeal,
        sampled: Callable[[Run], bool],
        reads: Callable[[str], str],
    ) -> None:
        self._bus = bus
        self._publisher = publisher
        self._context = context
        self._artefacts = artefacts
        self._seal = seal
        self._sampled = sampled
        self._reads = reads
        """the content type that an agent's processes read"""

    async def of(
        self,
        run: Run,
        facts: Sequence[Fact],
        *,
        direct: bool,
        waited: Iterable[str] = (),
        wake_at: float | None = None,
    ) -> None:
        """What an entry's facts imply. `direct`: its one task went out with the entry itself.

        `waited` are the skills that the run waited for before; `wake_at` is the instant to set its timer
        for, if it needs a new one. Raises BusError.
        """
        pending: list[asyncio.Future[PubAck]] = []
        results: dict[str, dict[str, Json]] = {}
        if wake_at is not None:
            pending.append(await self._set_timer(run.id, wake_at))
        failpoint("effects-halfway")
        for fact in facts:
            if isinstance(fact, Granted) and not direct:
                pending.append(await self._copy(run, fact, results))
            elif isinstance(fact, Written):
                pending.append(await self._project(run, fact.key, fact))
            elif isinstance(fact, Waiting):
                pending.append(await self._put(str(WaitingSubject(fact.skill, run.id)), b"{}"))
        for skill in set(waited) - set(run.waiting.values()):
            pending.append(await self._put(str(WaitingSubject(skill, run.id)), b"", {"KV-Operation": "DEL"}))
        await _all(pending)

    async def restore(self, run: Run) -> None:
        """Do again whatever a crash may have left undone; what is there already is left alone. Raises BusError."""
        if run.finished is not None:
            return
        pending: list[asyncio.Future[PubAck]] = []
        for skill in dict.fromkeys(run.waiting.values()):
            pending.append(await self._put(str(WaitingSubject(skill, run.id)), b"{}"))
        if run.context:
            kept_there = await self._context.entries(subjects.run_context(run.id))
            there = {value.subject: value.headers.get(REVISION) for value in kept_there}
            for key, kept in run.context.items():
                # A newer one stays: what was folded may be a moment old.
                if int(there.get(str(ContextSubject(run.id, key))) or 0) < kept.revision:
                    pending.append(await self._project(run, key, kept))
        await _all(pending)

    async def resend(self, run: Run, granted: Iterable[Granted]) -> None:
        """Deliver tasks of entries that granted several, where the delivery is missing. Raises BusError."""
        results: dict[str, dict[str, Json]] = {}
        await _all([await self._copy(run, fact, results) for fact in granted])

    async def tell(self, orders: Iterable[tuple[str, Stop | Answer | EffectAnswer | Hold]]) -> None:
        """Orders and answers to agents: not stored, lost if nobody listens, and nothing depends on them."""
        for agent, order in orders:
            body, content_type = packed(plain(order), self._reads(agent))
            wrapped = self._seal.order(str(ControlSubject(agent)), body, agent, content_type)
            await self._bus.publish(wrapped.subject, wrapped.payload, headers=wrapped.headers)

    async def _set_timer(self, run: str, at: float) -> asyncio.Future[PubAck]:
        """Have the run woken at an instant, whatever becomes of this process. Replaces the timer it had."""
        when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        headers = {
            SCHEDULE: f"@at {when}",
            TARGET: str(TimerSubject("fire", run)),
            "Nats-Schedule-TTL": FIRED_TIMER_TTL,
        }
        return await self._put(str(TimerSubject("set", run)), b"", headers)

    async def _copy(
        self, run: Run, fact: Granted, results: dict[str, dict[str, Json]]
    ) -> asyncio.Future[PubAck]:
        """Deliver a task. The results that tasks share are made ready once and kept in `results`."""
        granted = plain(fact)
        outputs = promised(run, fact)
        for prior in granted["handoff"].get("priors", ()):
            path = prior["path"]
            if path in outputs:
                if path not in results:
                    results[path] = plain(outputs[path])
                prior["output"] = results[path]
        entry = int(fact.task.partition("-")[0])
        value = {"v": SCHEMA, "run": run.id, "n": entry, "entry": fact.nonce, "granted": granted}
        body, content_type = packed(value, self._reads(fact.agent))
        payload, headers = await stow(body, self._artefacts, content_type)
        subject = str(CopySubject(run.id, fact.agent, fact.task))
        sampled = self._sampled(run)
        wrapped = self._seal.address(
            Wrapped(subject, payload, headers), run.id, fact.agent, fact.task, fact.nonce, sampled=sampled
        )
        # Stored once: a second copy of the same task is refused by the server.
        headers[EXPECT_LAST] = "0"
        return await self._publisher.publish_nowait(subject, wrapped.payload, headers)

    async def _project(self, run: Run, key: str, kept: Kept | Written) -> asyncio.Future[PubAck]:
        payload, headers = await stow(encode(kept.output), self._artefacts)
        headers |= {REVISION: str(kept.revision), "Consort-Author": kept.author, "Consort-Task": kept.task}
        return await self._put(str(ContextSubject(run.id, key)), payload, headers)

    async def _put(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None
    ) -> asyncio.Future[PubAck]:
        return await self._publisher.publish_nowait(subject, payload, headers)


def packed(value: dict[str, Any], content_type: str) -> tuple[bytes, str]:
    """Plain values as an agent reads them, and the content type of that.

    What JSON cannot hold goes out as it stands in the log: one agent's odd result must not stop the run.
    """
    try:
        return pack_as(content_type, value), content_type
    except (TypeError, ValueError):
        return pack_as(MSGPACK, value), MSGPACK


async def _all(pending: Sequence[asyncio.Future[PubAck]]) -> None:
    """Wait for every acknowledgement. What is stored already counts as stored. Raises the first BusError."""
    failed: BusError | None = None
    for receipt in pending:
        try:
            await receipt
        except WrongLastSequence:
            pass
        except BusError as exc:
            failed = failed or exc
    if failed is not None:
        raise failed
