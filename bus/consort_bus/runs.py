"""Reading runs, agents and context: what anyone with a reader's rights can see.

Everything is read from the log and the buckets by direct get, so a reader needs
no right that could disturb anything. A reader holds no key of the log: it checks
that entries form a chain, not who wrote them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic import TypeAdapter

from consort_bus import jetstream, subjects
from consort_bus.artefacts import Artefacts
from consort_bus.buckets import Bucket, Value
from consort_bus.chain import Chain, Logged, entry_of
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE, body_of
from consort_bus.errors import AccessDenied, BusError
from consort_bus.hints import hinted
from consort_bus.leading import leader_last, leader_read, read_whole
from consort_bus.listen import Heard, listening
from consort_bus.publish import Publisher
from consort_bus.reading import read
from consort_bus.standing import ENDED_STATES, Standing
from consort_bus.subjects import AgentSubject, ContextSubject, EntrySubject, LiveSubject
from consort_bus.wire import Wire
from consort_shared.card import Presence
from consort_shared.codec import MSGPACK, decode, unpack
from consort_shared.entries import Entry, Finished, Reopened, Submitted
from consort_shared.errors import DecodeError, RunCancelled, RunFailed, UnknownRun
from consort_shared.ids import run_started
from consort_shared.messages import Output
from consort_shared.upcast import TooNew
from consort_shared.values import STORED, ArtefactRef, Json

__all__ = ["ContextValue", "LiveProgress", "Logged", "RunReader", "RunSummary"]

LOOK_AGAIN = 2.0
"""Seconds after which a watcher looks at the log although nothing hinted at news."""
OUTAGE = 300.0
"""Seconds a watcher waits for a bus that is away."""
READ_WHOLE = 2000
"""Entries up to which an open run is read whole to tell its state; of a longer one the last entry tells."""

_presence: TypeAdapter[Presence] = TypeAdapter(Presence)
_output: TypeAdapter[Output] = TypeAdapter(Output)


@dataclass(frozen=True, slots=True)
class ContextValue:
    """A context key as the bucket shows it: value, revision, who wrote it, when."""

    key: str
    value: Json
    revision: int
    author: str
    task: str
    time: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in one line; `state` is one of `standing.STATES`, times are in seconds since 1970."""

    run: str
    state: str
    plan: str
    client: str
    submitted: float
    last: float
    entries: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class LiveProgress:
    """How far a task says it is; not stored, may be missed."""

    agent: str
    task: str
    step: str
    text: str
    done: float | None
    total: float | None
    written: str = ""
    """a piece of the text that a model is writing; then nothing else is told"""


class RunReader:
    """Reads over one connection."""

    def __init__(self, bus: Bus, wire: Wire) -> None:
        self.bus = bus
        self._wire = wire
        self._publisher = Publisher(wire)
        self._presences = Bucket(wire, self._publisher, subjects.AGENTS)
        self._contexts = Bucket(wire, self._publisher, subjects.CONTEXT)
        self.artefacts = Artefacts(wire, bus.identity)

    @property
    def wire(self) -> Wire:
        """The connection, for those who read what is not of runs."""
        return self._wire

    # --- following a run

    async def watch(self, run: str, *, after: int = 0, beyond: bool = False) -> AsyncIterator[Logged]:
        """The entries of a run, from the one after number `after` on, as they come, to the run's end.

        Late or early does not matter: what is stored is read, a run that nobody knows yet is waited for. An end
        that the run was taken up again after is passed over. `beyond` goes on after the end, for what may follow.
        Survives reconnects and restarts of the bus. Raises BusError when the bus stays away, TooNew.
        """
        chain = Chain(run, self.artefacts)
        over = False
        async with hinted(self.bus, run) as hints:
            away_since: float | None = None
            while True:
                hints.looking()
                try:
                    async for stored in read(
                        self._wire, subjects.LOG, subjects.run_entries(run), chain.seq + 1
                    ):
                        logged = await chain.take(stored)
                        if logged is None:
                            continue
                        over = _over(logged.entry, over)
                        if logged.entry.n > after:
                            yield logged
                    away_since = None
                except AccessDenied:
                    raise
                except BusError:
                    now = asyncio.get_running_loop().time()
                    away_since = away_since or now
                    if now - away_since > OUTAGE or self.bus.nc.is_closed:
                        raise
                else:
                    if over and not beyond:
                        return
                await hints.wait(chain.seq, LOOK_AGAIN)

    async def result(self, run: str, *, timeout: float | None = None) -> Json:
        """The run's result, once it has ended. Raises RunFailed, RunCancelled, TimeoutError, BusError."""
        finished: Finished | None = None
        async with asyncio.timeout(timeout):
            async for logged in self.watch(run):
                for fact in logged.entry.facts:
                    finished = fact if isinstance(fact, Finished) else finished
        if finished is None:
            raise RunFailed(run, "its log ends without an end")
        return await self.outcome(run, finished)

    async def outcome(self, run: str, finished: Finished) -> Json:
        """The result that a run's last fact holds, stored parts fetched. Raises RunFailed, RunCancelled, BusError."""
        match finished.state:
            case "completed":
                return await self._fetched(finished.output)
            case "failed":
                raise RunFailed(run, finished.why)
            case "cancelled":
                raise RunCancelled(run, finished.why)

    @asynccontextmanager
    async def progress(self, run: str) -> AsyncIterator[asyncio.Queue[LiveProgress]]:
        """What the run's tasks say while they go on, while the block lasts."""
        queue: asyncio.Queue[LiveProgress] = asyncio.Queue(maxsize=1000)

        async def heard(message: Heard) -> None:
            told = _progress(message)
            if told is not None and not queue.full():
                queue.put_nowait(told)

        async with listening(self.bus, subjects.run_live(run), heard):
            yield queue

    # --- reading

    async def entries(self, run: str) -> list[Logged]:
        """Every entry of a run so far, none less than anybody has seen before. Raises UnknownRun, TooNew, BusError."""
        found = [logged async for logged in self._entries(run)]
        if not found:
            raise UnknownRun(f"there is no run {run} on this bus")
        return found

    async def runs(self, limit: int = 20) -> list[RunSummary]:
        """The newest runs, newest first. Raises BusError."""
        ids = await self._run_ids()
        return [await self._summary(run) for run in sorted(ids, key=_begun, reverse=True)[:limit]]

    async def find_run(self, text: str) -> str:
        """The run whose id starts with `text`; `last` is the newest. Raises UnknownRun."""
        ids = sorted(await self._run_ids(), key=_begun)
        found = ids[-1:] if text == "last" else [run for run in ids if run.startswith(text)]
        if len(found) != 1:
            what = "no run" if not found else f"{len(found)} runs"
            raise UnknownRun(
                f"there is {what} {'at all' if text == 'last' else f'whose id starts with {text!r}'} on this bus"
            )
        return found[0]

    async def agents(self) -> list[Presence]:
        """The agents' processes that have shown a sign of life lately. Raises BusError."""
        found = []
        for value in await self._presences.entries(subjects.AGENTS_FILTER):
            if AgentSubject.parse(value.subject) is None or value.deleted:
                continue
            try:
                found.append(decode(_presence, value.data, value.headers.get(CONTENT_TYPE)))
            except DecodeError:
                continue
        return sorted(found, key=lambda presence: (presence.card.name, presence.started))

    async def context(self, run: str) -> list[ContextValue]:
        """A run's context as the bucket has it, by key. Raises BusError."""
        values = await self._contexts.entries_whole(subjects.run_context(run))
        return sorted([await self._context_value(value) for value in values], key=lambda value: value.key)

    async def context_history(self, run: str, key: str) -> list[ContextValue]:
        """The last revisions of a context key, oldest first. Raises BusError."""
        values = await self._contexts.history(str(ContextSubject(run, key)))
        return [await self._context_value(value) for value in values]

    async def value_of(self, output: Output) -> Json:
        """A step's result, fetched if it is stored. Raises BusError, DecodeError."""
        return output.value if output.ref is None else unpack(await self.artefacts.get(output.ref))

    async def _context_value(self, value: Value) -> ContextValue:
        where = ContextSubject.parse(value.subject)
        output = decode(_output, await body_of(value.data, value.headers, self.artefacts), MSGPACK)
        return ContextValue(
            where.key if where is not None else value.subject,
            await self.value_of(output),
            int(value.headers.get("Consort-Revision", 0)),
            value.headers.get("Consort-Author", ""),
            value.headers.get("Consort-Task", ""),
            value.time.isoformat(),
        )

    async def _run_ids(self) -> set[str]:
        ids: set[str] = set()
        offset = 0
        while True:
            body = json.dumps({"subjects_filter": subjects.ENTRIES_FILTER, "offset": offset}).encode()
            answer = json.loads(
                (await self._wire.request(jetstream.stream_info(subjects.LOG), body, timeout=5)).data
            )
            found = answer.get("state", {}).get("subjects") or {}
            ids |= {where.run for subject in found if (where := EntrySubject.parse(subject)) is not None}
            offset += len(found)
            if not found or offset >= answer.get("total", 0):
                return ids

    async def _summary(self, run: str) -> RunSummary:
        """What was handed in, from the first entry; where it stands, from the last if that tells."""
        try:
            first, last = await self._first(run), await self._last(run)
            if first is None or last is None:
                return RunSummary(run, "unreadable", "", "", 0.0, 0.0, 0)
            standing = Standing()
            standing.take(last.facts)
            if standing.state not in ENDED_STATES and last.n <= READ_WHOLE:
                standing = Standing()
                async for logged in self._entries(run):
                    standing.take(logged.entry.facts)
                    first = first if _handed_in(first) else logged.entry
        except TooNew as exc:
            return RunSummary(run, "unreadable", "", "", 0.0, 0.0, 0, exc.why)
        plan, client = _handed_in(first) or _handed_in(last) or ("", "")
        return RunSummary(run, standing.state, plan, client, first.at, last.at, last.n, standing.why)

    async def _entries(self, run: str) -> AsyncIterator[Logged]:
        chain = Chain(run, self.artefacts)
        async for stored in read_whole(self._wire, subjects.LOG, subjects.run_entries(run)):
            if (logged := await chain.take(stored)) is not None:
                yield logged

    async def _first(self, run: str) -> Entry | None:
        chain = Chain(run, self.artefacts)
        async for stored in leader_read(self._wire, subjects.LOG, subjects.run_entries(run)):
            if (logged := await chain.take(stored)) is not None:
                return logged.entry
        return None

    async def _last(self, run: str) -> Entry | None:
        found = await leader_last(self._wire, subjects.LOG, subjects.run_entries(run))
        return await entry_of(found, self.artefacts) if found is not None else None

    async def _fetched(self, value: Json) -> Json:
        if isinstance(value, Mapping):
            if set(value) == {STORED}:
                return unpack(await self.artefacts.get(ArtefactRef.model_validate(value[STORED])))
            return {key: await self._fetched(part) for key, part in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [await self._fetched(part) for part in value]
        return value


def _handed_in(entry: Entry) -> tuple[str, str] | None:
    """The plan's name and who handed it in, if the entry tells."""
    return next(((fact.plan.name, fact.client) for fact in entry.facts if isinstance(fact, Submitted)), None)


def _over(entry: Entry, before: bool) -> bool:
    for fact in entry.facts:
        if isinstance(fact, Finished):
            before = True
        elif isinstance(fact, (Reopened, Submitted)):
            before = False
    return before


def _progress(message: Heard) -> LiveProgress | None:
    """What a task says of itself; None for what cannot be read, which is worth nothing."""
    where = LiveSubject.parse(message.subject)
    if where is None:
        return None
    try:
        told = json.loads(message.data)
        if "tokens" in told:
            written = str(told["tokens"])
            return LiveProgress(where.agent, where.task, str(told["step"]), "", None, None, written)
        step, text = str(told["step"]), str(told["text"])
        return LiveProgress(where.agent, where.task, step, text, told["done"], told["total"])
    except (ValueError, KeyError, TypeError):
        return None


def _begun(run: str) -> tuple[float, str]:
    """For putting runs in order. An id that was not made from the time, and so lies ahead of it, comes first."""
    begun = run_started(run).timestamp() if int(run[:12], 16) < 4e12 else 0.0
    return (begun if begun <= time.time() + 3600 else 0.0), run
