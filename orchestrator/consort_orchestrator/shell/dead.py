"""Messages that are set aside: whole, with the reason, where they can be looked at.

A message ends here when it cannot be read, when it does not prove who sent it, or
when it keeps failing. It goes to its own stream by its place in the one it came
from, so setting it aside twice within the server's memory stores it once.
"""

from __future__ import annotations

from consort_bus import subjects
from consort_bus.envelope import as_text
from consort_bus.publish import Publisher
from consort_bus.pull import Delivery
from consort_bus.reading import Stored
from consort_bus.subjects import DeadSubject
from consort_orchestrator.shell.inbox import Incoming
from consort_shared.values import INLINE_LIMIT

REASON, FROM, SEQ, ORIGINAL = "Consort-Reason", "Consort-From", "Consort-Seq", "Consort-Headers"
_LONGEST_REASON = 2000


class DeadLetters:
    """The stream of messages set aside."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def set_aside(self, incoming: Incoming, why: str) -> None:
        """A message of the inbox. Raises BusError."""
        delivery = incoming.delivery
        await self._store(
            DeadSubject(subjects.INBOX, incoming.subject.run),
            str(incoming.subject),
            delivery.seq,
            delivery.data,
            as_text(delivery.headers),
            why,
        )

    async def set_aside_unaddressed(self, delivery: Delivery, why: str) -> None:
        """A message of the inbox that names no run. Raises BusError."""
        where = DeadSubject(subjects.INBOX, None)
        await self._store(
            where, delivery.subject, delivery.seq, delivery.data, as_text(delivery.headers), why
        )

    async def set_aside_stored(self, run: str, stored: Stored, why: str) -> None:
        """A message that stays where it is, on the run's log, and does not count. Raises BusError."""
        await self._store(
            DeadSubject(subjects.LOG, run),
            stored.subject,
            stored.seq,
            stored.data,
            as_text(stored.headers),
            why,
        )

    async def _store(
        self, where: DeadSubject, subject: str, seq: int, data: bytes, original: str, why: str
    ) -> None:
        headers = {
            REASON: " ".join(why.split())[:_LONGEST_REASON],
            FROM: subject,
            SEQ: str(seq),
            ORIGINAL: original[:INLINE_LIMIT],
            "Nats-Msg-Id": f"{where.stream}.{seq}",
        }
        await self._publisher.publish(str(where), data, headers)
