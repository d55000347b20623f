"""The journals of a run, as those read them who may read all: operators and auditors.

They have no agent's key, so they cannot tell what an agent wrote from what the agent's own
credentials were misused for; what the server was made to write they can tell.
"""

from __future__ import annotations

from consort_bus.envelope import CONTENT_TYPE
from consort_bus.leading import read_whole
from consort_bus.reading import bears_server_headers
from consort_bus.subjects import JOURNAL, JournalSubject, journal_of_run
from consort_bus.wire import Wire
from consort_shared.codec import decode
from consort_shared.errors import DecodeError
from consort_shared.journal import record_adapter
from consort_shared.journal_fold import Slot, Void

__all__ = ["journals_of"]


async def journals_of(wire: Wire, run: str) -> dict[tuple[str, str], list[Slot]]:
    """What stands in each journal of a run, by agent and task, in the order in which they were begun.

    Raises NoAnswer, ReadRefused, AccessDenied.
    """
    found: dict[tuple[str, str], dict[int, Slot]] = {}
    async for stored in read_whole(wire, JOURNAL, journal_of_run(run)):
        where = JournalSubject.parse(stored.subject)
        if where is None:
            continue
        slot: Slot
        if stored.forwarded or bears_server_headers(stored.headers):
            slot = Void("it was an answer of the server")
        else:
            try:
                slot = decode(record_adapter, stored.data, stored.headers.get(CONTENT_TYPE))
            except DecodeError as exc:
                slot = Void(exc.why)
        found.setdefault((where.agent, where.task), {})[where.n] = slot
    return {key: _prefix(slots) for key, slots in found.items()}


def _prefix(slots: dict[int, Slot]) -> list[Slot]:
    """From position 1 to the first that is empty: what stands behind it was never answered for."""
    whole: list[Slot] = []
    while (slot := slots.get(len(whole) + 1)) is not None:
        whole.append(slot)
    return whole
