"""A bus alone, with the test in the place of the orchestrators: letters, entries and answers made by hand."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any

from consort_bus import letters as kept
from consort_bus import subjects
from consort_bus.client import Client
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE, as_text
from consort_bus.leading import leader_last
from consort_bus.operator import Operator
from consort_bus.publish import Publisher
from consort_bus.reading import Stored
from consort_bus.subjects import DeadSubject, EntrySubject, InboxSubject
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, encode
from consort_shared.entries import Entry, Fact, body_digest

OpenAs = Callable[[str, str], AbstractAsyncContextManager[Bus]]


class Stage:
    """Connections under several roles, closed together."""

    def __init__(self, open_as: OpenAs) -> None:
        self._open_as = open_as
        self._stack = AsyncExitStack()
        self._wires: dict[tuple[str, str], Wire] = {}
        self._chains: dict[str, tuple[int, str]] = {}

    async def __aenter__(self) -> Stage:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def bus(self, role: str, name: str) -> Bus:
        return await self._stack.enter_async_context(self._open_as(role, name))

    async def wire(self, role: str, name: str) -> Wire:
        if (role, name) not in self._wires:
            bus = await self.bus(role, name)
            self._wires[role, name] = await self._stack.enter_async_context(Wire(bus.nc, bus))
        return self._wires[role, name]

    async def operator(self, name: str = "olga") -> Operator:
        bus = await self.bus("operator", name)
        return Operator(bus, await self._stack.enter_async_context(Wire(bus.nc, bus)))

    async def client(self, name: str = "carl", role: str = "client") -> Client:
        bus = await self.bus(role, name)
        return Client(bus, await self._stack.enter_async_context(Wire(bus.nc, bus)))

    # --- as an orchestrator

    async def letter(
        self,
        run: str | None,
        body: bytes,
        *,
        kind: str = kept.REFUSED,
        why: str = "no good",
        sender: str = "client",
        seq: int = 10**9,
        headers: dict[str, str] | None = None,
        **more: str,
    ) -> int:
        """Set a message aside; its id. `seq` is where it stood: further on than any message of a test comes."""
        stream = subjects.LOG if kind in (kept.FOREIGN, kept.POISON) else subjects.INBOX
        subject = str(InboxSubject(3, sender, "carl", run)) if run else "inbox.3.client.carl.nonsense"  # type: ignore[arg-type]
        told = {
            kept.KIND: kind,
            kept.REASON: why,
            kept.FROM: subject,
            kept.SEQ: str(seq),
            kept.ORIGINAL: as_text(headers or {}),
            **more,
        }
        publisher = Publisher(await self.wire("orchestrator", "otto"))
        return await publisher.publish(str(DeadSubject(stream, run)), body, told)

    async def entry(self, run: str, *facts: Fact) -> None:
        """Append an entry to a run, as the next of its chain."""
        n, prev = self._chains.get(run, (0, ""))
        body = encode(Entry(run=run, n=n + 1, at=1000.0 + n, writer="o", prev=prev, facts=facts))
        self._chains[run] = (n + 1, body_digest(body))
        publisher = Publisher(await self.wire("orchestrator", "otto"))
        await publisher.publish(str(EntrySubject(run, None, "noted")), body, {CONTENT_TYPE: MSGPACK})

    async def publish(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        await Publisher(await self.wire("orchestrator", "otto")).publish(subject, body, headers)

    async def publish_as(
        self, role: str, name: str, subject: str, body: bytes, headers: dict[str, str]
    ) -> None:
        await Publisher(await self.wire(role, name)).publish(subject, body, headers)

    async def in_inbox(self, sender: str, who: str, run: str) -> Stored | None:
        """The last message of somebody to a run."""
        wire = await self.wire("provisioner", "p")
        return await leader_last(wire, subjects.INBOX, f"inbox.*.{sender}.{who}.{run}")


def answering(told: Sequence[dict[str, Any]]) -> Callable[[Bus, str], Awaitable[None]]:
    async def answer(bus: Bus, reply: str) -> None:
        for one in told:
            await bus.publish(reply, json.dumps(one).encode())

    return answer
