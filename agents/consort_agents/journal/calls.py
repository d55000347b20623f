"""The journal as a skill has it: `ctx.journal`.

Whatever a skill does that costs something or comes out differently each time, it does through
this, so that a task that comes again goes on where it was. Async functions use the plain names,
plain functions those that end in `_sync`.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from consort_agents.artefacts import wait_for
from consort_agents.journal.journaling import Journaling, Whose
from consort_agents.journal.keeping import offline
from consort_agents.journal.nesting import within_call
from consort_agents.journal.port import Call, CallKind, Journal, Recorded
from consort_agents.journal.store import JournalStore, MemoryJournal
from consort_shared.failpoints import failpoint
from consort_shared.values import Json


class CallBook(Journal, Protocol):
    """A journal whose calls can also be made elsewhere than on its event loop."""

    async def begin(
        self,
        kind: CallKind,
        name: str,
        request: Json,
        *,
        wait: bool = False,
        shown: Mapping[str, Any] | None = None,
    ) -> Call | Recorded: ...

    async def answer(self, call: Call, value: Json, seconds: float) -> Recorded: ...

    async def gave_up(self, call: Call, error: str) -> None: ...


def offline_book(
    store: JournalStore | None = None, *, run: str = "0" * 32, task: str = "0-0", delivered: int = 1
) -> Journaling:
    """A journal without a bus; one that is given the store of another goes on where that one was."""
    return Journaling(store or MemoryJournal(), offline(), Whose(run, task, delivered=delivered))


@dataclass(slots=True)
class Calls:
    """The calls of one task. Fulfils `port.Journal`."""

    book: CallBook = field(default_factory=offline_book)
    loop: asyncio.AbstractEventLoop | None = None

    @property
    def replaying(self) -> bool:
        """Whether answers of an earlier process are left."""
        return self.book.replaying

    async def call(
        self,
        kind: CallKind,
        name: str,
        request: Json,
        perform: Callable[[Call], Awaitable[Json]],
        *,
        wait: bool = False,
        shown: Mapping[str, Any] | None = None,
    ) -> Recorded:
        """Make a call once, see `port.Journal.call`."""
        return await self.book.call(kind, name, request, perform, wait=wait, shown=shown)

    def call_sync(
        self,
        kind: CallKind,
        name: str,
        request: Json,
        perform: Callable[[Call], Json],
        *,
        wait: bool = False,
        shown: Mapping[str, Any] | None = None,
    ) -> Recorded:
        """As `call`, in a plain function, in whose thread the call is made."""
        begun = wait_for(self.book.begin(kind, name, request, wait=wait, shown=shown), self.loop)
        if isinstance(begun, Recorded):
            return begun
        failpoint("call-begun")
        since = time.monotonic()
        try:
            with within_call(begun.n):
                value = perform(begun)
        except Exception as exc:
            wait_for(self.book.gave_up(begun, type(exc).__name__), self.loop)
            raise
        failpoint("call-made")
        return wait_for(self.book.answer(begun, value, time.monotonic() - since), self.loop)

    async def value(self, name: str, function: Callable[[], Any]) -> Json:
        """What a function gives, JSON: the same to every process that works on the task.

        For what comes out differently each time: `await ctx.journal.value("now", time.time)`.
        """

        async def determine(_: Call) -> Json:
            found = function()
            return await found if inspect.isawaitable(found) else found

        return (await self.call("value", name, None, determine)).value

    def value_sync(self, name: str, function: Callable[[], Any]) -> Json:
        """As `value`, in a plain function, with a plain function."""
        return self.call_sync("value", name, None, lambda _: function()).value

    async def random(self) -> float:
        """A random number from 0 up to 1, the same to every process that works on the task."""
        number: float = await self.value("random", random.random)
        return number

    def random_sync(self) -> float:
        """As `random`, in a plain function."""
        number: float = self.value_sync("random", random.random)
        return number
