"""A host's process is killed at each place of a call: one effect at most, and the agent has its answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hosting_kit import Site, replies, tools_file, until

from consort_shared.ids import new_run_id

pytestmark = pytest.mark.slow

PLACES = ("tool-began", "tool-called", "tool-done", "tool-answered")


@pytest.mark.parametrize("place", PLACES)
async def test_killed_in_the_middle(site: Site, tmp_path: Path, place: str) -> None:
    """F7, F11: three kinds of tools at each place. What is idempotent or takes the key is answered as if nothing
    had happened; of what is neither it is said that nobody knows, and it is never done twice."""
    file = tools_file(tmp_path)
    await site.approve(file)
    run = new_run_id()
    calls = {"look": {"query": "tea"}, "pay": {"amount": 3}, "book": {"room": "blue"}}
    async with site.agent() as ann:
        for name, arguments in calls.items():
            doomed = site.host(file, env={"CONSORT_FAILPOINT": place})
            asking = asyncio.create_task(ann.call(f"shop.{name}", arguments, run=run, call_id=name))
            await until(lambda doomed=doomed: not doomed.running)  # type: ignore[misc]
            second = site.host(file)
            answer = await asking
            if name == "pay" and place in ("tool-began", "tool-called"):
                assert answer.is_error
                assert "whether it happened is not known" in answer.content
                assert answer.value["kind"] == "in-doubt"
            else:
                assert not answer.is_error, answer.content
            again = await ann.call(f"shop.{name}", arguments, run=run, call_id=name)
            assert again == answer
            await second.ready()
            assert second.stop() == 0
    assert len(site.marked("paid")) == (0 if place == "tool-began" else 1)
    keys = {line.split()[1] for line in site.marked("booked")}
    assert len(keys) == 1, "done again under the same key"
    hows = {reply.tool: reply.how for reply in await replies(site, run)}
    assert hows["look"] == hows["book"] == "done"


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
