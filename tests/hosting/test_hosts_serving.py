"""Calls of shared tools: done, shared within a run, refused, late, large, hanging; the host away or killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hosting_kit import Site, replies, tools_file, until

from consort_bus import embedded, subjects
from consort_bus.buckets import Bucket
from consort_bus.publish import Publisher
from consort_bus.toolbox import ALIVE_TTL
from consort_shared.ids import new_run_id

pytestmark = pytest.mark.slow


async def test_a_call_goes_over_the_bus_and_its_key_stays_with_the_host(site: Site, tmp_path: Path) -> None:
    """F11, S101: the tool runs in the host's process, which alone has the key."""
    host = await site.opened(tools_file(tmp_path), env={"WORKSHOP_KEY": "ten-digits"})
    async with site.agent() as ann:
        answer = await ann.call("shop.look", {"query": "tea"})
        assert (answer.content, answer.is_error, answer.saved) == ("found tea", False, False)
        assert (await ann.call("shop.secret_length", {})).value == 10
        wrong = await ann.call("shop.look", {"quarry": "tea"})
        assert wrong.is_error
        assert "query" in wrong.content
        assert (await ann.tool("shop.look")).definition.name == "shop__look"
    assert host.stop() == 0


async def test_equal_calls_of_three_agents_are_done_once(site: Site, tmp_path: Path) -> None:
    """S86, F7: identical requests within a run are one; the saved ones are counted."""
    await site.opened(tools_file(tmp_path))
    run = new_run_id()
    async with site.agent("ann") as ann, site.agent("bob") as bob, site.agent("cyd") as cyd:
        asking = [
            asyncio.create_task(one.call("shop.look", {"query": "tea", "gate": "all"}, run=run))
            for one in (ann, bob, cyd)
        ]
        await until(lambda: site.marked("waits-all"))
        site.go("all")
        answers = await asyncio.gather(*asking)
        later = await bob.call("shop.look", {"gate": "all", "query": "tea"}, run=run, task="2-0")
        other = await bob.call("shop.look", {"query": "tea", "gate": "all"})
    assert {answer.content for answer in [*answers, later, other]} == {"found tea"}
    assert sum(answer.saved for answer in answers) == 2
    assert later.saved
    assert not other.saved, "another run is another matter"
    assert site.marked("looked") == ["tea", "tea"]
    assert sum(reply.saved for reply in await replies(site, run)) == 3


async def test_what_changes_something_is_done_each_time(site: Site, tmp_path: Path) -> None:
    """S86: only what changes nothing is shared."""
    await site.opened(tools_file(tmp_path))
    run = new_run_id()
    async with site.agent() as ann:
        one = await ann.call("shop.pay", {"amount": 3}, run=run, call_id="c1")
        two = await ann.call("shop.pay", {"amount": 3}, run=run, call_id="c2")
        again = await ann.call("shop.pay", {"amount": 3}, run=run, call_id="c2")
    assert [answer.saved for answer in (one, two, again)] == [False, False, False]
    assert again == two
    assert site.marked("paid") == ["3", "3"], "a call that is made again is the same call"


async def test_a_host_that_is_away_answers_when_it_comes(site: Site, tmp_path: Path) -> None:
    """S101: the outage of a host is contained; the call waits."""
    file = tools_file(tmp_path)
    await site.approve(file)
    async with site.agent() as ann:
        asking = asyncio.create_task(ann.call("shop.look", {"query": "tea"}))
        late = await ann.call("shop.look", {"query": "gone"}, wait=0.3)
        assert late.is_error
        assert "not answered in time" in late.content
        assert not asking.done()
        host = site.host(file)
        assert (await asking).content == "found tea"
        await host.ready()
        assert (await ann.call("shop.look", {"query": "next"})).content == "found next"
    assert site.marked("looked") == ["tea", "next"], "what nobody waits for is not done"


async def test_tools_that_hang_raise_or_give_too_much(site: Site, tmp_path: Path) -> None:
    """F11: all of these are answers, and the host goes on."""
    await site.opened(tools_file(tmp_path))
    async with site.agent() as ann:
        hung = await ann.call("shop.hang", {})
        assert hung.is_error
        assert "did not end" in hung.content
        broken = await ann.call("shop.broken", {})
        assert broken.is_error
        assert "Traceback" not in broken.content
        small, large = await asyncio.gather(
            ann.call("shop.big", {"size": 10}), ann.call("shop.big", {"size": 50_000_000})
        )
        assert small.value == {"text": "x" * 10}
        assert len(large.content) < 2_000_000
        assert large.truncated
        middle = await ann.call("shop.big", {"size": 45_000})
        assert middle.value == {"text": "x" * 45_000}
        assert not (await ann.call("shop.look", {"query": "on"})).is_error


async def test_large_arguments_and_answers_travel_as_artefacts(site: Site, tmp_path: Path) -> None:
    await site.opened(tools_file(tmp_path))
    text = "y" * 100_000
    async with site.agent() as ann:
        answer = await ann.call("shop.look", {"query": text})
        assert answer.truncated
        assert answer.content.startswith("found yyy")
    assert site.marked("looked") == [text]


async def test_a_call_that_is_cancelled_goes_on_to_its_end(site: Site, tmp_path: Path) -> None:
    """Nobody can take back what a tool has begun; whoever asks again with the same id has its answer."""
    await site.opened(tools_file(tmp_path))
    run = new_run_id()
    async with site.agent() as ann:
        asking = asyncio.create_task(ann.call("shop.pay", {"amount": 1, "gate": "c"}, run=run, call_id="c"))
        await until(lambda: site.marked("waits-c"))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        site.go("c")
        again = await ann.call("shop.pay", {"amount": 1, "gate": "c"}, run=run, call_id="c")
    assert again.content == "paid 1"
    assert site.marked("paid") == ["1"]


async def test_the_bus_goes_away_in_the_middle_of_a_call(site: Site, tmp_path: Path) -> None:
    """Agent and host come back to it: one effect, and the answer."""
    host = await site.opened(tools_file(tmp_path))
    async with site.agent() as ann:
        asking = asyncio.create_task(ann.call("shop.pay", {"amount": 1, "gate": "b"}, call_id="b"))
        await until(lambda: site.marked("waits-b"))
        await asyncio.to_thread(embedded.stop, site.folder)
        site.go("b")
        await until(lambda: site.marked("paid"))
        await asyncio.to_thread(embedded.start, site.folder)
        answer = await asking
        assert answer.content == "paid 1"
        assert (await ann.call("shop.look", {"query": "on"})).content == "found on"
    assert host.running
    assert site.marked("paid") == ["1"]


async def test_told_to_stop_it_finishes_what_has_begun(site: Site, tmp_path: Path) -> None:
    """A drain finishes what is under way and gives back what is not; another process does that."""
    file = tools_file(tmp_path)
    first = await site.opened(file, options=("--slots", "1"))
    run = new_run_id()
    async with site.agent() as ann:
        begun = asyncio.create_task(ann.call("shop.look", {"query": "a", "gate": "a"}, run=run))
        await until(lambda: site.marked("waits-a"))
        waiting = asyncio.create_task(ann.call("shop.look", {"query": "b"}, run=run))
        await asyncio.sleep(0)
        stopping = asyncio.create_task(asyncio.to_thread(first.stop))
        second = site.host(file)
        assert (await waiting).content == "found b"
        assert second.running
        site.go("a")
        assert (await begun).content == "found a"
        assert await stopping == 0
        bucket = Bucket(ann.wire, Publisher(ann.wire), subjects.TOOLBOX)
        left = [mark for mark in await bucket.marks(subjects.TOOLBOX_FILTER) if mark.deleted]
        assert len(left) == 1
        assert int(left[0].headers["Nats-TTL"].rstrip("s")) > ALIVE_TTL, (
            "or an older sign of life counts again"
        )
    assert sorted(site.marked("looked")) == ["a", "b"]
