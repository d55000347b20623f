"""A run's entries as they are stored, whether or not this version of Consort can read them.

For whoever keeps histories, or has to say why one cannot be read. What belongs to the
run is told by the chain alone: each entry names the digest of the one before it, and
`n` and `prev` stand in the same place in every version of the schema. What does not
continue the chain is nobody's entry and is left out, and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from consort_bus import subjects
from consort_bus.artefacts import ArtefactCorrupt, ArtefactMissing, Artefacts
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE, SCHEMA, body_of
from consort_bus.health import subjects_of
from consort_bus.leading import leader_last, read_whole
from consort_bus.reading import Stored
from consort_bus.subjects import EntrySubject
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, unpack
from consort_shared.entries import ENDED, body_digest
from consort_shared.errors import DecodeError

__all__ = ["Indexed", "Recorded", "Recording", "latest", "open_runs", "recording", "run_index"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One entry: its place in the log and its body, None with the reason when it was stored and is gone."""

    seq: int
    subject: str
    schema: int
    body: bytes | None
    content_type: str = MSGPACK
    time: datetime | None = None
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """The entries of a run that form its chain, and how many messages on its log do not."""

    run: str
    entries: tuple[Recorded, ...]
    foreign: int = 0


@dataclass(frozen=True, slots=True)
class Indexed:
    """A run as the subjects of the log tell: how many entries, whether one of them is an end.

    `most` is how many of them stand under the same subject, of which there is a limit.
    """

    run: str
    entries: int
    ended: bool
    most: int


async def run_index(bus: Bus) -> list[Indexed]:
    """All runs on the log, without reading any of them, in the order of their ids. Raises BusError."""
    counts: dict[str, int] = {}
    most: dict[str, int] = {}
    ended: set[str] = set()
    for subject, count in (await subjects_of(bus, subjects.LOG, subjects.ENTRIES_FILTER)).items():
        where = EntrySubject.parse(subject)
        if where is None:
            continue
        counts[where.run] = counts.get(where.run, 0) + count
        most[where.run] = max(most.get(where.run, 0), count)
        if where.kind == ENDED:
            ended.add(where.run)
    return [Indexed(run, counts[run], run in ended, most[run]) for run in sorted(counts)]


async def open_runs(bus: Bus) -> int:
    """How many runs on the log have not ended; one that ended and was taken up again is not counted. Raises BusError.

    The names are looked through in a thread, so that whatever else goes on is not held up.
    """
    return await asyncio.to_thread(_open, await subjects_of(bus, subjects.LOG, subjects.ENTRIES_FILTER))


def _open(found: Iterable[str]) -> int:
    runs: set[str] = set()
    ended: set[str] = set()
    for subject in found:
        run, kind = subjects.run_and_kind(subject)
        runs.add(run)
        if kind == ENDED:
            ended.add(run)
    return len(runs) - len(ended)


async def latest(wire: Wire, run: str) -> Stored | None:
    """The newest message on a run's log, whatever it is. Raises BusError."""
    return await leader_last(wire, subjects.LOG, subjects.run_entries(run))


async def recording(wire: Wire, artefacts: Artefacts, run: str) -> Recording:
    """A run's entries, large bodies fetched; none for a run that nobody knows. Raises BusError."""
    links = _Links(run)
    async for stored in read_whole(wire, subjects.LOG, subjects.run_entries(run)):
        try:
            links.take(stored, await body_of(stored.data, stored.headers, artefacts))
        except DecodeError:
            links.foreign += 1
        except (ArtefactMissing, ArtefactCorrupt) as exc:
            links.lost.append(_recorded(stored, None, str(exc)))
    return links.end()


class _Links:
    """Follows the chain. An entry whose body is gone counts if the next but one entry is what follows."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.entries: list[Recorded] = []
        self.lost: list[Recorded] = []
        self.foreign = 0
        self._n = 0
        self._digest = ""

    def take(self, stored: Stored, body: bytes) -> None:
        n, prev = self._place(body, stored.headers)
        if not self.entries and not self.lost and n > 1:
            self._n, self._digest = n - 1, prev  # the log keeps no more of its beginning
        if n == self._n + 1 and prev == self._digest:
            self.foreign += len(self.lost)
        elif self.lost and self._n + 1 < n <= self._n + 1 + len(self.lost):
            self.entries += self.lost
        else:
            self.foreign += 1
            return
        self.lost = []
        self._n, self._digest = n, body_digest(body)
        self.entries.append(_recorded(stored, body))

    def end(self) -> Recording:
        return Recording(self.run, (*self.entries, *self.lost), self.foreign)

    def _place(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        """The number that an entry gives itself and what it follows; 0 for what is no entry of the run."""
        try:
            value = unpack(body, headers.get(CONTENT_TYPE))
        except DecodeError:
            return 0, ""
        if not isinstance(value, dict) or value.get("run") != self.run:
            return 0, ""
        n, prev = value.get("n"), value.get("prev", "")
        return (n, prev) if isinstance(n, int) and isinstance(prev, str) else (0, "")


def _recorded(stored: Stored, body: bytes | None, missing: str = "") -> Recorded:
    schema = stored.headers.get(SCHEMA, "")
    return Recorded(
        stored.seq,
        stored.subject,
        int(schema) if schema.isascii() and schema.isdecimal() else 1,
        body,
        stored.headers.get(CONTENT_TYPE, MSGPACK),
        stored.time,
        missing,
    )
