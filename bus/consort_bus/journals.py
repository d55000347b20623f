"""The journals of an agent's tasks on the bus: a subject for each position, each stored once.

An append expects that nothing stands at its position, so of two processes that believe to have a
task one is refused. As with the log, a refusal or a missing receipt proves nothing: what stands
there decides, and where nothing is seen, it is sent again.

What is read counts only if it is the agent's own word: whoever may make a request can have the
server write its reply to any subject. A record that is genuine and cannot be read was written by
a later version.
"""

from __future__ import annotations

import asyncio
import random

from nats.aio.msg import Msg

from consort_bus.envelope import CONTENT_TYPE, AgentSeal, Wrapped
from consort_bus.errors import BusError, NoAnswer, StorageFull
from consort_bus.publish import PublishRefused, WrongLastSequence, parse_ack
from consort_bus.reading import Stored, bears_server_headers, last
from consort_bus.subjects import JOURNAL, JournalSubject
from consort_bus.wire import NotSent, Wire, status
from consort_shared.codec import decode, encode
from consort_shared.errors import DecodeError
from consort_shared.journal import Record, record_adapter
from consort_shared.journal_fold import Slot, Void
from consort_shared.upcast import TooNew

__all__ = ["TaskJournal"]

PATIENCE = 600.0
"""Seconds to go on trying to have a record stored: what it holds may have been paid for."""
TRY = 2.0
"""Seconds that one receipt is waited for."""
_LONGEST_PAUSE = 5.0
_FIRST_PAGE, _PAGE = 4, 32
"""Positions that are asked for at once."""
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"


class TaskJournal:
    """The journal of one task."""

    def __init__(self, wire: Wire, seal: AgentSeal, agent: str, run: str, task: str) -> None:
        self._wire = wire
        self._seal = seal
        self._where = (agent, run, task)

    async def read(self, start: int = 1) -> list[Slot]:
        """What stands from a position on, up to the first that is seen empty; perhaps a moment old.

        Raises TooNew, NoAnswer, ReadRefused, AccessDenied.
        """
        found: list[Slot] = []
        page = _FIRST_PAGE
        while True:
            at = start + len(found)
            for slot in await asyncio.gather(*(self._at(at + ahead) for ahead in range(page))):
                if slot is None:
                    return found
                found.append(slot)
            page = _PAGE

    def append(self, position: int, record: Record) -> asyncio.Future[Slot | None]:
        """Send a record now, in the order of these calls; None once it is stored, or what stands there instead.

        The future raises BusError after long trying. Raises ValueError, OverflowError for what cannot travel.
        """
        subject = self._subject(position)
        wrapped = self._seal.signed(subject, encode(record))
        wrapped.headers[_EXPECTED] = "0"
        sent = self._sent(wrapped)
        return asyncio.get_running_loop().create_task(self._stored(position, record.id, wrapped, sent))

    def _subject(self, position: int) -> str:
        return str(JournalSubject(*self._where, position))

    def _sent(self, wrapped: Wrapped) -> tuple[str, asyncio.Future[Msg]] | None:
        """None when there is no connection now. Raises ValueError, TooLarge."""
        try:
            return self._wire.start_request(wrapped.subject, wrapped.payload, wrapped.headers)
        except NotSent:
            return None

    async def _stored(
        self, position: int, id: str, wrapped: Wrapped, sent: tuple[str, asyncio.Future[Msg]] | None
    ) -> Slot | None:
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        pause = 0.05
        while True:
            try:
                await self._receipt(wrapped, sent)
                return None
            except (NoAnswer, WrongLastSequence, StorageFull, PublishRefused) as exc:
                trouble: BusError = exc
            try:
                standing = await self._at(position)
                if standing is not None:
                    return None if not isinstance(standing, Void) and standing.id == id else standing
            except NoAnswer as exc:
                trouble = exc
            hopeless = isinstance(trouble, PublishRefused) and not trouble.passing
            if hopeless or loop.time() + pause > until or self._wire.nc.is_closed:
                raise trouble
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 # jitter
            pause = min(pause * 2, _LONGEST_PAUSE)
            sent = self._sent(wrapped)

    async def _receipt(self, wrapped: Wrapped, sent: tuple[str, asyncio.Future[Msg]] | None) -> None:
        """Raises what `publish` raises."""
        if sent is None:
            raise NotSent(wrapped.subject)
        token, reply = sent
        try:
            async with asyncio.timeout(TRY):
                msg = await reply
        except TimeoutError:
            raise NoAnswer(wrapped.subject, "timeout") from None
        finally:
            self._wire.forget(token)
        if not msg.data and status(msg) == 503:
            raise NoAnswer(wrapped.subject, "no responders")
        parse_ack(wrapped.subject, msg.data, len(wrapped.payload))

    async def _at(self, position: int) -> Slot | None:
        stored = await last(self._wire, JOURNAL, self._subject(position))
        return None if stored is None else self._believed(stored)

    def _believed(self, stored: Stored) -> Slot:
        """Raises TooNew."""
        if stored.forwarded or bears_server_headers(stored.headers):
            return Void("it was an answer of the server")
        if not self._seal.genuine_own(stored.subject, stored.data, stored.headers):
            return Void("its code does not prove that this agent wrote it")
        try:
            return decode(record_adapter, stored.data, stored.headers.get(CONTENT_TYPE))
        except DecodeError as exc:
            told = f"a record of a journal that this version cannot read: {exc.why}"
            raise TooNew(stored.data, told) from exc
