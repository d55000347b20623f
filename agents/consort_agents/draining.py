"""Coming to an end: letting what is in hand finish, then ending it.

What was called off does not count any more, so nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta

from consort_agents.heeding import InHand

LAST_TRIES = 2.0
"""Seconds for what was cancelled to end, and for the last words, when the process ends."""

log = logging.getLogger("consort.agent")


async def finished(
    works: set[asyncio.Task[None]],
    in_hand: Mapping[tuple[str, str], InHand],
    grace: timedelta,
    hurry: asyncio.Event,
) -> None:
    """Wait until all that counts is done, the time is up, or there is a hurry. `works` shrinks as they end."""
    loop = asyncio.get_running_loop()
    until = loop.time() + grace.total_seconds()
    hurrying = loop.create_task(hurry.wait())
    if works:
        log.info("finishing %d tasks", len(works))
    while not hurry.is_set() and loop.time() < until:
        left = works - {held.work for held in in_hand.values() if held.off}
        if not left:
            break
        await asyncio.wait(
            {hurrying, *left}, timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED
        )
    hurrying.cancel()


async def cancelled(works: Iterable[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Cancel tasks; those that do not end."""
    works = set(works)
    for work in works:
        work.cancel()
    return (await asyncio.wait(works, timeout=LAST_TRIES))[1] if works else works
