"""A run's entries as a reader sees them who holds no key of the log.

Entries form a hash chain: each names the digest of the one before it. A reader
follows the chain and passes over what does not continue it. That tells a whole
log from one with holes; who wrote an entry only an orchestrator can check.
"""

from __future__ import annotations

from dataclasses import dataclass

from consort_bus.artefacts import ArtefactCorrupt, ArtefactMissing, Artefacts
from consort_bus.envelope import CONTENT_TYPE, body_of
from consort_bus.reading import Stored
from consort_bus.subjects import EntrySubject
from consort_shared.entries import Entry, body_digest
from consort_shared.errors import DecodeError
from consort_shared.upcast import TooNew, read_entry


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry with its place in the stream and the digest of its body."""

    entry: Entry
    seq: int
    digest: str
    addressee: str | None


class Chain:
    """Follows the hash chain of a run's entries; what does not continue it is passed over."""

    def __init__(self, run: str, artefacts: Artefacts) -> None:
        self._run = run
        self._artefacts = artefacts
        self.seq = 0
        self._n = 0
        self._digest = ""

    async def take(self, stored: Stored) -> Logged | None:
        """The entry in a stored message, None for what is not part of the chain. Raises TooNew, BusError."""
        self.seq = stored.seq
        body = await _body(stored, self._artefacts)
        entry = _decoded(stored, body) if body is not None else None
        if body is None or entry is None:
            return None
        if entry.run != self._run or entry.n != self._n + 1 or entry.prev != self._digest:
            return None
        self._n, self._digest = entry.n, body_digest(body)
        where = EntrySubject.parse(stored.subject)
        return Logged(entry, stored.seq, self._digest, where.agent if where is not None else None)


async def _body(stored: Stored, artefacts: Artefacts) -> bytes | None:
    try:
        return await body_of(stored.data, stored.headers, artefacts)
    except (DecodeError, ArtefactMissing, ArtefactCorrupt):
        return None


def _decoded(stored: Stored, body: bytes) -> Entry | None:
    try:
        return read_entry(body, stored.headers.get(CONTENT_TYPE))
    except TooNew:
        raise
    except DecodeError:
        return None


async def entry_of(stored: Stored, artefacts: Artefacts) -> Entry | None:
    """The entry that a stored message holds, None if it holds none. Raises BusError when it cannot be had now."""
    body = await _body(stored, artefacts)
    return None if body is None else _decoded(stored, body)
