"""How calls keep to limits that all processes share: the port, and one that limits nothing.

Knows nothing of the bus or of providers. What is shared is named by a key that stands for
an account of a provider, never the secret itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from consort_agents.models.port import SeenLimits


class Permit(Protocol):
    """One call that may be made now. What became of it is said once, before the block ends."""

    waited: float
    """seconds that the call was held back"""

    def answered(self, tokens: int, seen: SeenLimits | None = None) -> None:
        """It was answered and used so many tokens, in and out."""

    def limited(self, retry_after: float | None, seen: SeenLimits | None = None) -> None:
        """It was refused for its rate: everybody who shares the key waits, once."""

    def troubled(self, retry_after: float | None = None) -> None:
        """The provider is overloaded or cannot be reached; enough of that opens the breaker."""


class Pacing(Protocol):
    """The door to what is shared."""

    def permit(
        self, key: str, *, run: str, tokens: int, deadline: float
    ) -> AbstractAsyncContextManager[Permit]:
        """Wait until a call may be made; `tokens` is what it may use, `deadline` in seconds since 1970.

        With an empty key nothing is waited for. Raises PacingLate when its turn does not come in time.
        """


class PacingLate(Exception):
    """The turn of a call does not come before its deadline; says what it waited for."""


class Unpaced:
    """No limits: for tests, and for providers that need none."""

    class _Free:
        waited = 0.0

        def answered(self, tokens: int, seen: SeenLimits | None = None) -> None:
            return

        def limited(self, retry_after: float | None, seen: SeenLimits | None = None) -> None:
            return

        def troubled(self, retry_after: float | None = None) -> None:
            return

    @asynccontextmanager
    async def permit(self, key: str, *, run: str, tokens: int, deadline: float) -> AsyncIterator[Permit]:
        yield self._Free()
