"""One task's journal as several processes have it, one after the other or at the same time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from consort_agents.context import Context, MemoryStore
from consort_agents.journal.attempting import journalled
from consort_agents.journal.calls import Calls
from consort_agents.journal.journaling import Journaling, Whose
from consort_agents.journal.keeping import Keeping, Unsealed
from consort_agents.journal.port import Call, Divergence
from consort_agents.journal.store import JournalStore, MemoryJournal
from consort_agents.performing import Ended, Returned
from consort_bus.artefacts import Artefacts
from consort_bus.connection import Bus
from consort_bus.envelope import AgentSeal
from consort_bus.journals import TaskJournal
from consort_bus.sealing import Box
from consort_bus.wire import Wire
from consort_shared.ids import new_run_id
from consort_shared.journal import Record
from consort_shared.journal_fold import Memory, Slot, fold

Skill = Callable[["Worker"], Awaitable[Any]]


@dataclass
class Desk:
    """Where the journal of one task lies."""

    bus: Bus | None = None
    wire: Wire | None = None
    run: str = field(default_factory=new_run_id)
    task: str = "1-0"
    made: list[str] = field(default_factory=list)
    """what was really asked for, by whom"""
    memory: MemoryJournal = field(default_factory=MemoryJournal)
    artefacts: MemoryStore = field(default_factory=MemoryStore)

    @property
    def store(self) -> JournalStore:
        if self.bus is None or self.wire is None:
            return self.memory
        assert self.bus.mac_key is not None
        return TaskJournal(
            self.wire, AgentSeal(self.bus.mac_key), self.bus.identity.name, self.run, self.task
        )

    @property
    def keeping(self) -> Keeping:
        if self.bus is None or self.wire is None:
            return Keeping(self.artefacts, Unsealed())
        assert self.bus.mac_key is not None
        return Keeping(Artefacts(self.wire, self.bus.identity), Box(self.bus.mac_key))

    def worker(self, name: str = "a", delivered: int = 1, fresh: float = 60.0) -> Worker:
        """A process that has the task."""
        whose = Whose(self.run, self.task, name, delivered)
        return Worker(self, name, Journaling(self.store, self.keeping, whose, fresh=fresh))

    async def slots(self) -> list[Slot]:
        return await self.store.read()

    async def remembered(self) -> Memory:
        return fold(await self.slots())


@dataclass
class Worker:
    desk: Desk
    name: str
    book: Journaling
    calls: Calls = field(init=False)
    pause: dict[str, asyncio.Event] = field(default_factory=dict)
    """calls that are answered only when the test says so"""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    broken: set[str] = field(default_factory=set)
    restarted: int = 0

    def __post_init__(self) -> None:
        self.calls = Calls(self.book)

    async def ask(self, what: str, *, kind: Any = "model", wait: bool = False, **more: Any) -> str:
        async def perform(call: Call) -> Any:
            self.desk.made.append(f"{self.name} {what}")
            if what in self.pause:
                self.reached.set()
                await self.pause[what].wait()
            if what in self.broken:
                raise RuntimeError(f"{what} is broken")
            return f"{what}: by {self.name}"

        request = {"model": "m", "messages": [what], **more}
        recorded = await self.calls.call(kind, "m", request, perform, wait=wait, shown=request)
        answer: str = recorded.value
        return answer

    async def run(self, skill: Skill, policy: Divergence = "fail") -> Ended:
        """A skill as the worker of an agent runs it."""
        context = Context.offline()

        async def attempt() -> Ended:
            value = await skill(self)
            if context.effects.over is not None:
                raise context.effects.over
            return Returned(value)

        return await journalled(self.book, policy, context, attempt)


def asking(*whats: str) -> Skill:
    """A skill that asks one after the other."""

    async def skill(worker: Worker) -> list[str]:
        return [await worker.ask(what) for what in whats]

    return skill


def stray(record: Record) -> Record:
    """The same as another process would have sent it."""
    return record.model_copy(update={"id": secrets.token_hex(8), "by": "somebody else"})
