"""The client: submit a plan, watch the run, get its result; read what is there.

    async with connect() as client:
        run = await client.submit(plan, {"question": "…"})
        print(await client.result(run))

A submission is safe once `submit` returns, whether or not an orchestrator is up.
Everything is read from the log and the buckets by direct get, so a client needs
no right that could disturb anything. A client holds no key of the log: it checks
that entries form a chain, not who wrote them.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from consort_bus import subjects
from consort_bus.artefacts import Artefacts
from consort_bus.buckets import Bucket, Value
from consort_bus.chain import Chain, Logged, entry_of
from consort_bus.connection import Bus, open_bus
from consort_bus.credentials import Credentials
from consort_bus.embedded import DEFAULT_FOLDER, credentials_for, running
from consort_bus.envelope import body_of, stow
from consort_bus.errors import BusError, KeysUnusable
from consort_bus.listen import Heard, listening
from consort_bus.publish import Publisher
from consort_bus.reading import last_of, read
from consort_bus.subjects import AgentSubject, ContextSubject, EntrySubject, IncomingSubject, LiveSubject
from consort_bus.wire import Wire
from consort_shared.card import Presence
from consort_shared.codec import MSGPACK, decode, encode, unpack
from consort_shared.entries import Entry, Finished, Submitted, Waiting
from consort_shared.errors import DecodeError, RunCancelled, RunFailed, UnknownRun
from consort_shared.ids import new_run_id, run_started
from consort_shared.messages import Cancel, Output, Submit
from consort_shared.plan.model import Plan
from consort_shared.values import STORED, ArtefactRef, Json

__all__ = [
    "Client",
    "ContextValue",
    "LiveProgress",
    "Logged",
    "RunSummary",
    "connect",
]

LOOK_AGAIN = 2.0
"""Seconds after which a watcher looks at the log although nothing hinted at news."""
OUTAGE = 300.0
"""Seconds a watcher waits for a bus that is away."""

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
    """A run as its first and last entry tell."""

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


class Client:
    """Talks to the bus as one client. Made by `connect`."""

    def __init__(self, bus: Bus, wire: Wire) -> None:
        self.bus = bus
        self._wire = wire
        self._publisher = Publisher(wire)
        self._presences = Bucket(wire, self._publisher, subjects.AGENTS)
        self._contexts = Bucket(wire, self._publisher, subjects.CONTEXT)
        self.artefacts = Artefacts(wire, bus.identity)

    # --- telling

    async def submit(
        self, plan: Plan, inputs: Mapping[str, Json] | None = None, *, goal: str = "", run: str | None = None
    ) -> str:
        """Hand in a plan; the run's id. It is stored when this returns.

        Submitting the same plan again under the same `run` id does nothing, so it is safe to repeat after a
        timeout. Raises StorageFull and other BusErrors; then nothing is known unless it says otherwise.
        """
        run = run or new_run_id()
        await self._tell(run, Submit(plan=plan, inputs=dict(inputs or {}), goal=goal))
        return run

    async def cancel(self, run: str, why: str = "") -> None:
        """Ask for a run to be cancelled. Raises BusError."""
        await self._tell(run, Cancel(why=why))

    async def _tell(self, run: str, message: Submit | Cancel) -> None:
        subject = str(IncomingSubject("client", self.bus.identity.name, run))
        payload, headers = await stow(encode(message), self.artefacts)
        await self._publisher.publish(subject, payload, headers, timeout=10.0)

    # --- following a run

    async def watch(self, run: str, *, after: int = 0) -> AsyncIterator[Logged]:
        """The entries of a run, from the one after number `after` on, as they come, to the run's end.

        Late or early does not matter: what is stored is read, a run that nobody knows yet is waited for.
        Survives reconnects and restarts of the bus. Raises BusError when the bus stays away.
        """
        news = asyncio.Event()

        async def hint(_: Heard) -> None:
            news.set()

        chain = Chain(run, self.artefacts)
        async with listening(self.bus, subjects.run_hints(run), hint):
            away_since: float | None = None
            while True:
                news.clear()
                try:
                    async for stored in read(
                        self._wire, subjects.LOG, subjects.run_entries(run), chain.seq + 1
                    ):
                        logged = await chain.take(stored)
                        if logged is None:
                            continue
                        if logged.entry.n > after:
                            yield logged
                        if any(isinstance(fact, Finished) for fact in logged.entry.facts):
                            return
                    away_since = None
                except BusError:
                    now = asyncio.get_running_loop().time()
                    away_since = away_since or now
                    if now - away_since > OUTAGE or self.bus.nc.is_closed:
                        raise
                await _either(news, LOOK_AGAIN)

    async def result(self, run: str, *, timeout: float | None = None) -> Json:
        """The run's result, once it has ended. Raises RunFailed, RunCancelled, TimeoutError, BusError."""
        async with asyncio.timeout(timeout):
            async for logged in self.watch(run):
                for fact in logged.entry.facts:
                    if isinstance(fact, Finished):
                        return await self.outcome(run, fact)
        raise RunFailed(run, "its log ends without an end")

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
            where = LiveSubject.parse(message.subject)
            try:
                told = json.loads(message.data)
                if where is not None and not queue.full():
                    queue.put_nowait(
                        LiveProgress(
                            where.agent,
                            where.task,
                            str(told["step"]),
                            str(told["text"]),
                            told["done"],
                            told["total"],
                        )
                    )
            except (ValueError, KeyError, TypeError):
                return  # progress is worth nothing if it cannot be read

        async with listening(self.bus, subjects.run_live(run), heard):
            yield queue

    # --- reading

    async def entries(self, run: str) -> list[Logged]:
        """Every entry of a run so far. Raises UnknownRun, BusError."""
        chain = Chain(run, self.artefacts)
        found = []
        async for stored in read(self._wire, subjects.LOG, subjects.run_entries(run)):
            logged = await chain.take(stored)
            if logged is not None:
                found.append(logged)
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
                found.append(decode(_presence, value.data, MSGPACK))
            except DecodeError:
                continue
        return sorted(found, key=lambda presence: (presence.card.name, presence.started))

    async def context(self, run: str) -> list[ContextValue]:
        """A run's context as the bucket has it, by key. Raises BusError."""
        values = await self._contexts.entries(subjects.run_context(run))
        return sorted([await self._context_value(value) for value in values], key=lambda value: value.key)

    async def context_history(self, run: str, key: str) -> list[ContextValue]:
        """The last revisions of a context key, oldest first. Raises BusError."""
        values = await self._contexts.history(str(ContextSubject(run, key)))
        return [await self._context_value(value) for value in values]

    async def _context_value(self, value: Value) -> ContextValue:
        where = ContextSubject.parse(value.subject)
        output = decode(_output, await body_of(value.data, value.headers, self.artefacts), MSGPACK)
        plain = output.value if output.ref is None else unpack(await self.artefacts.get(output.ref))
        return ContextValue(
            where.key if where is not None else value.subject,
            plain,
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
                (await self._wire.request(subjects.stream_info(subjects.LOG), body, timeout=5)).data
            )
            found = answer.get("state", {}).get("subjects") or {}
            ids |= {where.run for subject in found if (where := EntrySubject.parse(subject)) is not None}
            offset += len(found)
            if not found or offset >= answer.get("total", 0):
                return ids

    async def _summary(self, run: str) -> RunSummary:
        """Read from both ends of the log: what was handed in, and where it stands."""
        first, last = await self._first(run), await self._last(run)
        if first is None or last is None:
            return RunSummary(run, "unreadable", "", "", 0.0, 0.0, 0)
        state, why = "running", ""
        for fact in last.facts:
            if isinstance(fact, Finished):
                state, why = fact.state, fact.why
            elif isinstance(fact, Waiting):
                state, why = "waiting", f"no agent offers {fact.skill}"
        plan, client = "", ""
        for fact in first.facts:
            if isinstance(fact, Submitted):
                plan, client = fact.plan.name, fact.client
        return RunSummary(run, state, plan, client, first.at, last.at, last.n, why)

    async def _first(self, run: str) -> Entry | None:
        chain = Chain(run, self.artefacts)
        async for stored in read(self._wire, subjects.LOG, subjects.run_entries(run), batch=4):
            if (logged := await chain.take(stored)) is not None:
                return logged.entry
        return None

    async def _last(self, run: str) -> Entry | None:
        found = await last_of(self._wire, subjects.LOG, [subjects.run_entries(run)])
        return await entry_of(found[-1], self.artefacts) if found else None

    async def _fetched(self, value: Json) -> Json:
        if isinstance(value, Mapping):
            if set(value) == {STORED}:
                return unpack(await self.artefacts.get(ArtefactRef.model_validate(value[STORED])))
            return {key: await self._fetched(part) for key, part in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [await self._fetched(part) for part in value]
        return value


def _begun(run: str) -> tuple[float, str]:
    """For putting runs in order. An id that was not made from the time, and so lies ahead of it, comes first."""
    begun = run_started(run).timestamp() if int(run[:12], 16) < 4e12 else 0.0
    return (begun if begun <= time.time() + 3600 else 0.0), run


async def _either(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


@asynccontextmanager
async def connect(
    server: str | None = None,
    credentials: Credentials | Path | str | None = None,
    *,
    folder: Path | str = DEFAULT_FOLDER,
) -> AsyncIterator[Client]:
    """A client of the bus at `server` with its credentials, or of the embedded bus of a folder.

    Without arguments: `CONSORT_SERVER` (or `NATS_URL`) and `CONSORT_CREDS` if they are set, otherwise the bus
    under `.consort`, which is started for as long as the block lasts if it does not run. Raises BusError.
    """
    server = server or os.environ.get("CONSORT_SERVER") or os.environ.get("NATS_URL")
    credentials = credentials or os.environ.get("CONSORT_CREDS")
    async with AsyncExitStack() as stack:
        if server is None:
            embedded = await stack.enter_async_context(running(folder))
            server = embedded.url
            known = credentials if credentials is not None else credentials_for(folder, "client", "me")
        elif credentials is None:
            raise KeysUnusable(
                "CONSORT_CREDS", "a bus elsewhere needs a credentials file; name it with --creds"
            )
        else:
            known = credentials
        loaded = known if isinstance(known, Credentials) else Credentials.load(known)
        bus = await stack.enter_async_context(open_bus(server, loaded))
        wire = await stack.enter_async_context(Wire(bus.nc, bus))
        yield Client(bus, wire)
