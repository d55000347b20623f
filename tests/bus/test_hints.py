"""Hints: a reader who looks before what was announced is stored looks again at once, not two seconds later."""

from __future__ import annotations

import asyncio

from consort_bus.append import EXPECTED
from consort_bus.hints import Hints
from consort_bus.listen import Heard


def append_after(expected: int) -> Heard:
    return Heard("log.r.entry.-.fact", b"", {EXPECTED: str(expected)}, "")


async def test_what_was_announced_and_is_not_there_yet_is_looked_for_again_soon() -> None:
    hints = Hints()
    await hints.heard(append_after(7))
    async with asyncio.timeout(1.0):
        for _ in range(5):
            hints.looking()
            await hints.wait(7, 60.0)


async def test_the_last_of_a_burst_is_looked_for_although_an_earlier_one_was_found() -> None:
    hints = Hints()
    await hints.heard(append_after(7))
    await hints.heard(append_after(8))
    hints.looking()
    async with asyncio.timeout(1.0):
        await hints.wait(8, 60.0)


async def test_once_it_has_been_read_only_news_end_the_wait() -> None:
    hints = Hints()
    await hints.heard(append_after(7))
    hints.looking()
    waiting = asyncio.create_task(hints.wait(8, 60.0))
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert not done
    await hints.heard(append_after(8))
    async with asyncio.timeout(1.0):
        await waiting


async def test_what_is_no_append_of_ours_is_a_hint_and_nothing_more() -> None:
    hints = Hints()
    await hints.heard(Heard("log.r.entry.-.fact", b"", {EXPECTED: "-1e9"}, ""))
    hints.looking()
    waiting = asyncio.create_task(hints.wait(0, 60.0))
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert not done
    waiting.cancel()
