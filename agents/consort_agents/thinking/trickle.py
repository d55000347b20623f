"""Text as it is written, told to whoever watches: in pieces, at most twenty a second.

A model may write a hundred tokens a second; a message for each would cost the bus more
than it shows. Nothing here is stored, and what is lost is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

EVERY = 0.05
"""Seconds between messages."""
LONGEST = 4000
"""Characters of one message."""


class Trickle:
    """Gathers pieces and passes them on; the rest when the block ends. For one event loop."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._gathered: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flush()

    def put(self, text: str) -> None:
        """A piece of text."""
        if not text:
            return
        self._gathered.append(text)
        if self._timer is None:
            self._flush()
            self._timer = asyncio.get_running_loop().call_later(EVERY, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._gathered:
            self._flush()
            self._timer = asyncio.get_running_loop().call_later(EVERY, self._due)

    def _flush(self) -> None:
        text, self._gathered = "".join(self._gathered), []
        for at in range(0, len(text), LONGEST):
            self._say(text[at : at + LONGEST])
