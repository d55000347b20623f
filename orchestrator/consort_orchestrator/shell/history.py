"""A run's entries: reading them back, and appending the next.

Reading checks every code and the chain. What is on the run's log but is no entry
of ours is reported, never folded. Appending is fenced: it succeeds only behind the
entry that the decision was made on.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import lru_cache

from consort_bus import subjects
from consort_bus.append import ENTRY_HEADER, Fence
from consort_bus.artefacts import Artefacts
from consort_bus.envelope import CONTENT_TYPE, OrchestratorSeal, Wrapped, body_of, stow
from consort_bus.errors import FenceRefused
from consort_bus.leading import leader_last
from consort_bus.reading import Stored, last, read
from consort_bus.standing import Standing
from consort_bus.subjects import EntrySubject
from consort_bus.wire import Wire
from consort_orchestrator.core import Run, apply, outstanding
from consort_orchestrator.tracing.following import Traced
from consort_shared.codec import encode
from consort_shared.entries import ENDED, Entry, Granted, body_digest
from consort_shared.errors import DecodeError
from consort_shared.upcast import read_entry

_entries_of = lru_cache(maxsize=4096)(subjects.run_entries)


@lru_cache(maxsize=4096)
def _subject(run: str, agent: str | None, kind: str) -> str:
    return str(EntrySubject(run, agent, kind))


@dataclass(slots=True)
class Loaded:
    """A run as the log has it; `tail` is the sequence of the last message on its entries' subjects, 0 for none."""

    run: Run
    tail: int = 0
    foreign: list[tuple[Stored, str]] = field(default_factory=list)
    copied: dict[str, Granted] = field(default_factory=dict)
    """tasks, by id, that went out as copies of their entry"""
    traced: Traced | None = None
    """follows the entries, for the run's trace"""
    standing: Standing | None = None
    """takes the facts too, for whoever wants to be told where the run stands"""

    def undelivered(self) -> list[Granted]:
        """The tasks under way whose copy may not have been sent."""
        tasks = outstanding(self.run)
        return [fact for task, fact in self.copied.items() if task in tasks]


class UnknownKind(Exception):
    """An entry that this version cannot apply; the run must not go on here."""


class History:
    """The log, as one orchestrator reads and writes it."""

    def __init__(self, wire: Wire, artefacts: Artefacts, seal: OrchestratorSeal) -> None:
        self._wire = wire
        self._fence = Fence(wire)
        self._artefacts = artefacts
        self._seal = seal

    async def load(
        self, run_id: str, *, traced: Traced | None = None, standing: Standing | None = None
    ) -> Loaded:
        """Fold a run from the log; `traced` and `standing` are shown what it has. Raises BusError, UnknownKind."""
        loaded = Loaded(Run(run_id), traced=traced, standing=standing)
        async for stored in read(self._wire, subjects.LOG, subjects.run_entries(run_id)):
            loaded.tail = stored.seq
            await self._take(loaded, stored)
        return loaded

    async def _take(self, loaded: Loaded, stored: Stored) -> None:
        run = loaded.run
        if not self._seal.genuine_entry(stored.subject, stored.data, stored.headers):
            loaded.foreign.append((stored, "no orchestrator wrote it: its code is missing or wrong"))
            return
        body = await body_of(stored.data, stored.headers, self._artefacts)
        try:
            entry = read_entry(body, stored.headers.get(CONTENT_TYPE))
        except DecodeError as exc:
            raise UnknownKind(f"entry at {stored.seq} of run {run.id}: {exc.why}") from exc
        if entry.run != run.id or entry.n != run.n + 1 or entry.prev != run.chain:
            loaded.foreign.append((stored, f"a copy of entry {entry.n}, stored again out of place"))
            return
        subject = EntrySubject.parse(stored.subject)
        for fact in entry.facts:
            apply(run, fact, entry.at)
            if isinstance(fact, Granted) and (subject is None or subject.agent is None):
                loaded.copied[fact.task] = fact
        if loaded.standing is not None:
            loaded.standing.take(entry.facts)
        run.n = entry.n
        run.chain = body_digest(body)
        if loaded.traced is not None:
            loaded.traced.take(entry)

    async def has_ended(self, run_id: str) -> bool:
        """Whether the run's end is the last entry on the log, without reading the rest. Raises BusError."""
        subject = str(EntrySubject(run_id, None, ENDED))
        stored = await last(self._wire, subjects.LOG, subject)
        if stored is None or not self._seal.genuine_entry(subject, stored.data, stored.headers):
            return False
        newest = await leader_last(self._wire, subjects.LOG, subjects.run_entries(run_id))
        return newest is not None and newest.seq == stored.seq

    async def exists(self, run_id: str) -> bool:
        """Whether anything of the run is on the log. Raises BusError."""
        return await leader_last(self._wire, subjects.LOG, subjects.run_entries(run_id)) is not None

    async def granted(self, run_id: str, task: str) -> Granted | None:
        """A task as its entry gave it. Raises BusError, UnknownKind."""
        async for stored in read(self._wire, subjects.LOG, subjects.run_entries(run_id)):
            if not self._seal.genuine_entry(stored.subject, stored.data, stored.headers):
                continue
            body = await body_of(stored.data, stored.headers, self._artefacts)
            for fact in read_entry(body, stored.headers.get(CONTENT_TYPE)).facts:
                if isinstance(fact, Granted) and fact.task == task:
                    return fact
        return None

    async def require_tail(self, run_id: str, tail: int) -> None:
        """Make sure that nobody wrote behind `tail`. Raises FenceRefused when somebody did, BusError."""
        subject = subjects.run_entries(run_id)
        newest = await leader_last(self._wire, subjects.LOG, subject)
        if (newest.seq if newest is not None else 0) != tail:
            raise FenceRefused(subject, tail)

    async def append(
        self,
        entry: Entry,
        *,
        tail: int,
        agent: str | None,
        kind: str,
        task: str,
        nonce: str,
        sampled: bool = True,
    ) -> tuple[int, str]:
        """Store an entry behind `tail`; its sequence, and its digest for the chain.

        With an agent, the entry is addressed to it and carries the token of its task.
        Raises FenceRefused when somebody else wrote first, AppendUnknown when that cannot be told, StorageFull.
        """
        body = encode(entry)
        digest = body_digest(body)
        wrapped = await self._wrap(entry.run, body, digest, _subject(entry.run, agent, kind))
        if agent is not None:
            self._seal.address(wrapped, entry.run, agent, task, nonce, sampled=sampled)
        seq = await self._fence.append(
            wrapped.subject,
            wrapped.payload,
            wrapped.headers,
            filter_subject=_entries_of(entry.run),
            expected=tail,
            entry_id=wrapped.headers[ENTRY_HEADER],
        )
        return seq, digest

    async def _wrap(self, run: str, body: bytes, digest: str, subject: str) -> Wrapped:
        payload, headers = await stow(body, self._artefacts)
        return self._seal.entry(subject, payload, headers, run, secrets.token_hex(8) + digest[:16])
