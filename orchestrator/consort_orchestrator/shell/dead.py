"""Messages that are set aside: whole, with the reason, where they can be looked at and redriven.

A message ends here when it cannot be read, when it does not prove who sent it, when
it keeps failing, or when it is a task that keeps killing its process. It goes to its
own stream by its place in the one it came from, so setting it aside twice within the
server's memory stores it once.

An order that was understood and is refused is set aside too, so that the refusal is
on record whole, but nobody has to do anything about it: it is settled at once.
"""

from __future__ import annotations

import re

from consort_bus import subjects
from consort_bus.envelope import CONTENT_TYPE, TRACE, as_text
from consort_bus.letters import (
    DELIVERIES,
    FOREIGN,
    FROM,
    KIND,
    ORIGINAL,
    POISON,
    REASON,
    REFUSED,
    SEQ,
    STEP,
    TASK,
    Letter,
    letter_of,
)
from consort_bus.publish import Publisher, WrongLastSequence
from consort_bus.pull import Delivery
from consort_bus.reading import Stored, read
from consort_bus.subjects import CopySubject, DeadSubject, SettledSubject
from consort_bus.wire import Wire
from consort_orchestrator.shell.inbox import Incoming
from consort_shared.codec import MSGPACK, encode
from consort_shared.control import SettledMark
from consort_shared.entries import Granted
from consort_shared.failpoints import failpoint
from consort_shared.ids import traceparent
from consort_shared.telemetry import metrics
from consort_shared.values import INLINE_LIMIT

_LONGEST_REASON = 2000
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"


class DeadLetters:
    """The stream of messages set aside."""

    def __init__(self, wire: Wire, publisher: Publisher) -> None:
        self._wire = wire
        self._publisher = publisher

    async def set_aside(self, incoming: Incoming, why: str, kind: str = REFUSED) -> int:
        """A message of the inbox; the letter that it is. Raises BusError."""
        delivery = incoming.delivery
        return await self._store(
            DeadSubject(subjects.INBOX, incoming.subject.run),
            delivery.data,
            {
                KIND: kind,
                REASON: why,
                FROM: str(incoming.subject),
                SEQ: str(delivery.seq),
                ORIGINAL: as_text(delivery.headers),
                DELIVERIES: str(delivery.delivered),
            },
            f"{subjects.INBOX}.{delivery.seq}",
        )

    async def set_aside_unaddressed(self, delivery: Delivery, why: str) -> None:
        """A message of the inbox that names no run. Raises BusError."""
        headers = {
            KIND: REFUSED,
            REASON: why,
            FROM: delivery.subject,
            SEQ: str(delivery.seq),
            ORIGINAL: as_text(delivery.headers),
            DELIVERIES: str(delivery.delivered),
        }
        where = DeadSubject(subjects.INBOX, None)
        await self._store(where, delivery.data, headers, f"{subjects.INBOX}.{delivery.seq}")

    async def set_aside_stored(self, run: str, stored: Stored, why: str) -> None:
        """A message that stays where it is, on the run's log, and does not count. Raises BusError."""
        headers = {
            KIND: FOREIGN,
            REASON: why,
            FROM: stored.subject,
            SEQ: str(stored.seq),
            ORIGINAL: as_text(stored.headers),
        }
        where = DeadSubject(subjects.LOG, run)
        await self._store(where, stored.data, headers, f"{subjects.LOG}.{stored.seq}")

    async def set_task_aside(self, run: str, granted: Granted, why: str) -> None:
        """A task that keeps killing its process, as it was given. Raises BusError."""
        headers = {
            KIND: POISON,
            REASON: why,
            FROM: str(CopySubject(run, granted.agent, granted.task)),
            ORIGINAL: as_text({CONTENT_TYPE: MSGPACK}),
            TASK: granted.task,
            STEP: granted.path,
            DELIVERIES: next(iter(re.findall(r"\d+", why)), ""),  # the agent's sentence says how often
        }
        body = encode(granted)
        await self._store(DeadSubject(subjects.LOG, run), body, headers, f"poison.{run}.{granted.task}")

    async def again(self, letter: Letter, why: str) -> int:
        """A letter that was redriven and refused once more: a letter of its own. Raises BusError."""
        headers = {
            KIND: letter.kind,
            REASON: f"redriven as letter {letter.id}, refused again: {why}",
            FROM: letter.subject,
            SEQ: str(letter.seq),
            ORIGINAL: as_text(letter.headers),
            TASK: letter.task,
            STEP: letter.step,
            DELIVERIES: str(letter.deliveries + 1),
        }
        where = DeadSubject(letter.stream, letter.run)
        return await self._store(where, letter.body, headers, f"again.{letter.id}")

    async def letter(self, number: int) -> Letter | None:
        """The letter with this sequence, None if there is none. Raises BusError."""
        async for stored in read(self._wire, subjects.DEAD, subjects.DEAD_FILTER, number, batch=1):
            return letter_of(stored) if stored.seq == number else None
        return None

    async def poisoned(self, run: str) -> set[str]:
        """The tasks of a run that are set aside. Raises BusError."""
        where = subjects.dead_of(subjects.LOG, run)
        letters = [letter_of(stored) async for stored in read(self._wire, subjects.DEAD, where)]
        return {letter.task for letter in letters if letter is not None and letter.kind == POISON}

    async def settle(self, number: int, how: str, by: str, at: float) -> None:
        """Mark what became of a letter; the first mark stands. Raises BusError."""
        mark = SettledMark(how=how, by=by, at=at)
        headers = {CONTENT_TYPE: MSGPACK, _EXPECTED: "0"}
        try:
            await self._publisher.publish(str(SettledSubject(number)), encode(mark), headers)
        except WrongLastSequence:
            return

    async def _store(self, where: DeadSubject, data: bytes, headers: dict[str, str], message_id: str) -> int:
        headers[REASON] = " ".join(headers[REASON].split())[:_LONGEST_REASON]
        headers[ORIGINAL] = headers[ORIGINAL][:INLINE_LIMIT]
        headers["Nats-Msg-Id"] = message_id
        if where.run is not None:
            headers[TRACE] = traceparent(where.run)
        letter = await self._publisher.publish(
            str(where), data, {name: text for name, text in headers.items() if text}
        )
        metrics.set_aside(headers[KIND])
        failpoint("letter-stored")
        return letter
