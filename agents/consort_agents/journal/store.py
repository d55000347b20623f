"""Where records of one task's journal are kept: the port, and one in memory.

A position takes one record, ever. The one on the bus is `consort_bus.journals`; both pass the
same tests.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from consort_shared.journal import Record
from consort_shared.journal_fold import Slot


class JournalStore(Protocol):
    """The records of one task."""

    async def read(self, start: int = 1) -> list[Slot]:
        """What stands from a position on, up to the first that is seen empty. Raises BusError, TooNew."""

    def append(self, position: int, record: Record) -> asyncio.Future[Slot | None]:
        """Send a record now, in the order of these calls; None once it is stored, or what stands there instead.

        The future raises BusError. Raises ValueError, OverflowError for what cannot be kept.
        """


class MemoryJournal:
    """Records in memory, for trying a skill without a bus; several may write to it, as processes do."""

    def __init__(self) -> None:
        self.slots: dict[int, Slot] = {}

    async def read(self, start: int = 1) -> list[Slot]:
        found: list[Slot] = []
        while (slot := self.slots.get(start + len(found))) is not None:
            found.append(slot)
        return found

    def append(self, position: int, record: Record) -> asyncio.Future[Slot | None]:
        standing = self.slots.setdefault(position, record)
        stored: asyncio.Future[Slot | None] = asyncio.get_running_loop().create_future()
        stored.set_result(None if standing is record else standing)
        return stored
