"""An attempt with a journal: opened before the skill, looked through after it.

What a skill did not ask for again has not been forgotten by it but by its code, which is another
than that of the process before. Policy says what then: fail, or make the journal void and run the
skill from its start, which pays again for what was paid.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from consort_agents.context import Context
from consort_agents.errors import JournalDiverged
from consort_agents.journal.journaling import Journaling, nobody
from consort_agents.journal.port import Divergence
from consort_agents.performing import Ended, Returned
from consort_shared.messages import Failed

KIND = "journal-diverged"
_ADVICE = (
    "the agent's code or the name of its model has changed while the task was under way, or the code does not do "
    "the same each time"
)
_LONGEST = 4000

log = logging.getLogger("consort.agent")


async def journalled(
    book: Journaling, policy: Divergence, context: Context, attempt: Callable[[], Awaitable[Ended]]
) -> Ended:
    """What came of an attempt. Raises CancelledError, AttemptOver, BusError, TooNew."""

    def over(why: BaseException | None) -> None:
        context.effects.over = why  # type: ignore[assignment]

    book.over = over
    try:
        await book.open()
        return await _attempted(book, policy, context, attempt)
    finally:
        book.over = nobody  # the context has the book: that would be a cycle


async def _attempted(
    book: Journaling, policy: Divergence, context: Context, attempt: Callable[[], Awaitable[Ended]]
) -> Ended:
    while True:
        try:
            ended = await attempt()
            diverged = book.left_over() if isinstance(ended, Returned) else None
        except JournalDiverged as exc:
            diverged = exc
        if diverged is None:
            return ended
        if policy == "fail":
            told = f'{diverged}; {_ADVICE}; with divergence="restart" it would start over'
            return Failed(kind=KIND, message=told[:_LONGEST], retry=False)
        log.warning(
            "task %s starts over: call %d of its journal is not asked for again", context.task, diverged.n
        )
        await book.restart(str(diverged))
        context.effects.over = None
        context.writes.clear()
