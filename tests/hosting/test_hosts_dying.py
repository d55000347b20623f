"""A host's process is killed at each place of a call: one effect at most, and the agent has its answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hosting_kit import Desk, Site, replies, tools_file, until

from consort_agents.tools.definition import ToolAnswer
from consort_shared.ids import new_run_id

pytestmark = pytest.mark.slow

PLACES = ("tool-began", "tool-called", "tool-done", "tool-answered")


CALLS: dict[str, dict[str, Any]] = {"look": {"query": "tea"}, "pay": {"amount": 3}, "book": {"room": "blue"}}


@pytest.mark.parametrize("place", PLACES)
async def test_killed_in_the_middle(site: Site, tmp_path: Path, place: str) -> None:
    """F7, F11: three kinds of tools at each place. What is idempotent or takes the key is answered as if nothing
    had happened; of what is neither it is said that nobody knows, and it is never done twice."""
    run = new_run_id()
    async with site.agent() as ann:
        answers = await asyncio.gather(*(_killed(site, ann, tmp_path, name, place, run) for name in CALLS))
    look, pay, book = answers
    assert not look.is_error
    assert not book.is_error
    if place in ("tool-began", "tool-called"):
        assert "whether it happened is not known" in pay.content
        assert pay.value["kind"] == "in-doubt"
    else:
        assert pay.content == "paid 3"
    assert len(site.marked("paid")) == (0 if place == "tool-began" else 1)
    keys = {line.split()[1] for line in site.marked("booked")}
    assert len(keys) == 1, "done again under the same key"
    hows = {reply.tool: reply.how for reply in await replies(site, run)}
    assert hows["look"] == hows["book"] == "done"


async def _killed(site: Site, ann: Desk, folder: Path, name: str, place: str, run: str) -> ToolAnswer:
    """The answer to a call whose host dies at a place; it is the same when it is asked for again."""
    file = tools_file(folder, f"shop-{name}", functions=[name])
    await site.approve(file)
    doomed = site.host(file, env={"CONSORT_FAILPOINT": place})
    asking = asyncio.create_task(ann.call(f"shop-{name}.{name}", CALLS[name], run=run, call_id=name))
    await until(lambda: not doomed.running)
    site.host(file)
    answer = await asking
    assert await ann.call(f"shop-{name}.{name}", CALLS[name], run=run, call_id=name) == answer
    return answer


async def test_two_processes_share_the_calls_and_one_takes_over(site: Site, tmp_path: Path) -> None:
    """S86, S101: equal calls are one piece of work across the processes of a host, also when one is killed."""
    file = tools_file(tmp_path)
    first = await site.opened(file, options=("--slots", "1"))
    second = site.host(file, options=("--slots", "1"))
    await second.ready()
    run = new_run_id()
    async with site.agent("ann") as ann, site.agent("bob") as bob:
        asking = [
            asyncio.create_task(one.call("shop.look", {"query": "q", "gate": "g"}, run=run))
            for one in (ann, bob, ann, bob, ann, bob)
        ]
        await until(lambda: site.marked("waits-g"))
        assert len(site.marked("waits-g")) == 1
        first.kill()
        site.go("g")
        answers = await asyncio.gather(*asking)
        assert {answer.content for answer in answers} == {"found q"}
        assert sum(not answer.saved for answer in answers) <= 1
    assert len(site.marked("waits-g")) <= 2
    assert second.stop() == 0


@pytest.mark.long
async def test_a_frozen_process_does_not_answer_over_its_successor(site: Site, tmp_path: Path) -> None:
    """Its work is taken over; when it wakes, the ledger refuses its end."""
    from standing_still import freeze

    file = tools_file(tmp_path)
    first = await site.opened(file)
    run = new_run_id()
    async with site.agent() as ann:
        asking = asyncio.create_task(
            ann.call("shop.pay", {"amount": 5, "gate": "p"}, run=run, call_id="once")
        )
        await until(lambda: site.marked("waits-p"))
        freeze(first.process.pid)
        second = site.host(file)
        answer = await asking
        assert answer.value["kind"] == "in-doubt"
        import signal

        first.process.send_signal(signal.SIGCONT)
        site.go("p")
        await until(lambda: b"had taken it over" in first.log.read_bytes())
        assert await ann.call("shop.pay", {"amount": 5, "gate": "p"}, run=run, call_id="once") == answer
        assert second.running
    assert len(site.marked("paid")) == 1
