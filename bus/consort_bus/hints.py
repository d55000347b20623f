"""What hints announce, and whether a reader has it yet.

A hint is an append as it comes by. It comes when the append is published, which may be a
moment before it is stored, so a reader who looks at once may look too early. An append names
what it expects to follow; as long as nothing behind that has been read, something is still to
come (this one, or the one that was stored in its place), and it is worth looking again soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consort_bus import subjects
from consort_bus.append import EXPECTED
from consort_bus.connection import Bus
from consort_bus.listen import Heard, listening

SOON = 0.002
"""Seconds until the first look again for what was announced; twice as long each time."""


class Hints:
    """Of one run, for one reader, who says `looking` before each look and waits after it."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._behind = -1
        self._pause = SOON

    async def heard(self, message: Heard) -> None:
        expected = message.headers.get(EXPECTED, "")
        if expected.isascii() and expected.isdecimal():
            self._behind = max(self._behind, int(expected))
        self._pause = SOON
        self._news.set()

    def looking(self) -> None:
        self._news.clear()

    async def wait(self, seen: int, longest: float) -> None:
        """Until there may be more than what lies up to the sequence `seen`, at most `longest` seconds."""
        pause = longest
        if seen <= self._behind:
            pause = min(self._pause, longest)
            self._pause *= 2
        try:
            async with asyncio.timeout(pause):
                await self._news.wait()
        except TimeoutError:
            return


@asynccontextmanager
async def hinted(bus: Bus, run: str) -> AsyncIterator[Hints]:
    """The hints about a run, while the block lasts."""
    hints = Hints()
    async with listening(bus, subjects.run_hints(run), hints.heard):
        yield hints
