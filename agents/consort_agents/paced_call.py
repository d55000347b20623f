"""One call under shared limits, while it waits and while it is made: a `Permit` that takes down what it is told.

Nothing follows from it here; its `Line` reads it when the call has ended.
"""

from __future__ import annotations

import asyncio

from consort_agents.models.port import SeenLimits


class Call:
    """`tokens` is what it may use, `deadline` in seconds since 1970; `refused` and `failed` hold the wait asked for."""

    def __init__(self, run: str, tokens: int, deadline: float) -> None:
        self.run = run
        self.tokens = tokens
        self.deadline = deadline
        self.waited = 0.0
        self.came = self.began = 0.0
        self.gone: asyncio.Future[None] | None = None
        self.used: int | None = None
        self.seen: SeenLimits | None = None
        self.refused: tuple[float | None] | None = None
        self.failed: tuple[float | None] | None = None

    def answered(self, tokens: int, seen: SeenLimits | None = None) -> None:
        self.used, self.seen = tokens, seen

    def limited(self, retry_after: float | None, seen: SeenLimits | None = None) -> None:
        self.refused, self.seen = (retry_after,), seen

    def troubled(self, retry_after: float | None = None) -> None:
        self.failed = (retry_after,)
