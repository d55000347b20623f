"""Who may call what, definitions that changed, forged messages, quotas and fairness."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hosting_kit import Site, caller_of, replies, tools_file, until

from consort_agents import tool
from consort_agents.hosting.errors import ClashingTools, UnknownTools
from consort_agents.hosting.shared import distinct
from consort_bus import jetstream, subjects
from consort_bus.access import TABLE, may
from consort_bus.envelope import CONTENT_TYPE
from consort_bus.errors import AccessDenied, NoAnswer
from consort_bus.publish import Publisher
from consort_bus.reading import last
from consort_bus.subjects import ToolSubject
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, encode
from consort_shared.ids import new_run_id
from consort_shared.tooling import Kept, ToolAnswer, ToolCall, ToolReply

pytestmark = pytest.mark.slow

TOOL_SUBJECTS = ("tool.call.shop.ann.{run}.x", "tool.answer.shop.ann.{run}.x", "tool.done.shop.{run}.x")


async def test_who_may_call_what(site: Site, tmp_path: Path) -> None:
    """G2: deny by default; allowed by agent, tool, argument pattern and class of data."""
    allow = [
        {"tool": "look", "agents": ["ann"]},
        {"tool": "look", "agents": ["bob"], "arguments": {"query": "public-*"}},
        {"tool": "pay", "data_classes": ["public"]},
        {"tool": "big", "data_classes": ["public"]},
    ]
    functions = ["look", {"function": "pay", "data_class": "confidential"}, "big"]
    await site.opened(tools_file(tmp_path, functions=functions, allow=allow))
    cells = [
        ("ann", "look", {"query": "private"}, True),
        ("bob", "look", {"query": "public-1"}, True),
        ("bob", "look", {"query": "private"}, False),
        ("cyd", "look", {"query": "public-1"}, False),
        ("ann", "pay", {"amount": 1}, False),
        ("cyd", "big", {"size": 1}, True),
    ]
    for agent, name, arguments, allowed in cells:
        async with site.agent(agent) as desk:
            answer = await desk.call(f"shop.{name}", arguments)
            assert answer.is_error is not allowed, (agent, name, arguments, answer.content)
            if not allowed:
                assert answer.value["kind"] == "not-permitted"
    assert site.marked("paid") == []


async def test_a_changed_definition_is_refused_until_approved(site: Site, tmp_path: Path) -> None:
    """F7: what changed is named; callers that know the old definition are told to look again."""
    file = tools_file(tmp_path)
    first = await site.opened(file)
    async with site.agent() as ann:
        old = await ann.tool("shop.look")
        assert not (await old.call({"query": "a"}, caller_of("ann"))).is_error
        first.stop()
        tools_file(tmp_path, functions=[{"function": "look", "owner": "somebody else"}])
        second = site.host(file)
        await second.ready()
        refused = await old.call({"query": "b"}, caller_of("ann"))
        assert refused.value["kind"] == "not-approved"
        assert "owner: '' -> 'somebody else'" in refused.content
        await site.approve(file)
        await until(lambda: b"serves look" in second.log.read_bytes())
        stale = await old.call({"query": "c"}, caller_of("ann"))
        assert stale.value["kind"] == "changed"
        fresh = await _after(ann, "shop.look", old)
        assert (await fresh.call({"query": "d"}, caller_of("ann"))).content == "found d"
    assert site.marked("looked") == ["a", "d"]


async def _after(desk: object, name: str, old: object) -> object:
    """The tool once its new definition is seen."""
    async with asyncio.timeout(10):
        while True:
            found = await desk.tool(name)  # type: ignore[attr-defined]
            if found.remote.hosted.digest != old.remote.hosted.digest:  # type: ignore[attr-defined]
                return found
            await asyncio.sleep(0.1)


async def test_unknown_names_are_told_with_what_there_is(site: Site, tmp_path: Path) -> None:
    await site.opened(tools_file(tmp_path))
    async with site.agent() as ann:
        assert len(await ann.shared.resolve(["shop.*"])) == 7
        for name, words in (
            ("shop.lok", "shop.look"),
            ("shup.look", "there are hosts shop"),
            ("look", "write host.tool"),
            ("shop.z*", "no shared tool 'shop.z\\*'"),
        ):
            with pytest.raises(UnknownTools, match=words):
                await ann.shared.resolve([name])
        [shared] = await ann.shared.resolve(["shop.look", "shop.l*"])
        own = tool(name="shop__look")(lambda query: query)
        with pytest.raises(ClashingTools, match=r"is the name of <tool shop__look> and of <tool shop\.look>"):
            distinct([own, shared])


async def test_a_paused_host_is_called_by_nobody(site: Site, tmp_path: Path) -> None:
    """S101: the kill switch does not need the host to obey: the bus gives it no call."""
    from consort_bus.toolhosts import HostAdmission

    file = tools_file(tmp_path)
    await site.opened(file)
    async with site.agent() as ann, site.connected("provisioner", "setup") as (bus, wire):
        tool = await ann.tool("shop.look")
        hand = HostAdmission(bus, wire)
        await hand.pause("shop", "provisioner.setup", "the key has leaked")
        async with asyncio.timeout(10):
            while (told := await tool.call({"query": "a"}, caller_of("ann", wait=1.0))).value != {
                "kind": "paused"
            }:
                await asyncio.sleep(0.1)
        assert "the key has leaked" in told.content
        before = len(site.marked("looked"))
        past = await tool.remote.call({"query": "past"}, caller_of("ann", wait=1.0))  # type: ignore[attr-defined]
        assert past.is_error, "who asks all the same is not served"
        assert len(site.marked("looked")) == before
        await hand.resume("shop")
        async with asyncio.timeout(10):
            while (await tool.call({"query": "b"}, caller_of("ann"))).is_error:
                await asyncio.sleep(0.1)


@pytest.mark.long
async def test_calls_that_wait_when_a_host_is_paused_are_taken_back(site: Site, tmp_path: Path) -> None:
    """S101: they are answered long before their deadline, and not made when the host goes on."""
    from consort_bus.toolhosts import HostAdmission

    file = tools_file(tmp_path, limits=[{"tool": "look", "concurrent": 1}])
    await site.approve(file)
    async with site.agent() as ann, site.connected("provisioner", "setup") as (bus, wire):
        look, pay = await ann.tool("shop.look"), await ann.tool("shop.pay")
        hand = HostAdmission(bus, wire)
        waiting = asyncio.create_task(look.call({"query": "away"}, caller_of("ann", wait=100)))
        await until(lambda: ann.calls._waiting)
        await hand.pause("shop", "provisioner.setup", "leak")  # before any process of the host is there
        async with asyncio.timeout(15):
            told = await waiting
        assert told.value == {"kind": "paused"}
        assert "leak" in told.content
        await hand.resume("shop")

        host = site.host(file)
        await host.ready()
        first = asyncio.create_task(look.call({"query": "first", "gate": "a"}, caller_of("ann", wait=100)))
        await until(lambda: site.marked("waits-a"))
        queued = asyncio.create_task(look.call({"query": "queued"}, caller_of("ann", wait=100)))
        paying = asyncio.create_task(pay.call({"amount": 1, "gate": "b"}, caller_of("ann", wait=100)))
        await until(lambda: site.marked("waits-b"))
        await hand.pause("shop", "provisioner.setup", "leak")
        async with asyncio.timeout(15):
            assert (await queued).value["kind"] in ("paused", "not-approved")
        site.go("a")
        site.go("b")
        assert not (await paying).is_error, "what was under way is finished, and its answer waited for"
        await first
        await hand.resume("shop")
        async with asyncio.timeout(15):
            while (await look.call({"query": "after"}, caller_of("ann"))).is_error:
                await asyncio.sleep(0.1)
    assert sorted(site.marked("looked")) == ["after", "first"]


async def test_quotas_and_turns(site: Site, tmp_path: Path) -> None:
    """S101, G2: calls per run are exact over processes; runs take turns, so one call is not behind a hundred."""
    file = tools_file(tmp_path, limits=[{"tool": "pay", "calls_per_run": 2}])
    await site.opened(file)
    await site.host(file).ready()
    greedy, modest = new_run_id(), new_run_id()
    async with site.agent() as ann:
        paid = await asyncio.gather(
            *(ann.call("shop.pay", {"amount": n}, run=greedy, call_id=f"p{n}") for n in range(6))
        )
        assert sum(not answer.is_error for answer in paid) == 2
        assert {answer.value["kind"] for answer in paid if answer.is_error} == {"quota"}
        assert len(site.marked("paid")) == 2
        assert not (await ann.call("shop.pay", {"amount": 9}, run=modest)).is_error


async def test_one_call_of_a_run_is_not_behind_a_hundred_of_another(site: Site, tmp_path: Path) -> None:
    """Fair between runs: the single call has its turn after the one that is under way."""
    file = tools_file(tmp_path, limits=[{"concurrent": 1}])
    await site.opened(file)
    greedy, modest = new_run_id(), new_run_id()
    async with site.agent() as ann:
        first = asyncio.create_task(ann.call("shop.look", {"query": "g0", "gate": "g"}, run=greedy))
        await until(lambda: site.marked("waits-g"))
        many = [
            asyncio.create_task(ann.call("shop.look", {"query": f"g{n}"}, run=greedy, call_id=f"c{n}"))
            for n in range(1, 60)
        ]
        one = asyncio.create_task(ann.call("shop.look", {"query": "m"}, run=modest))
        async with asyncio.timeout(20):
            while await _stored(site, greedy) < 60 or await _stored(site, modest) < 1:
                await asyncio.sleep(0.05)
        site.go("g")
        assert not (await one).is_error
        await asyncio.gather(first, *many)
    looked = site.marked("looked")
    assert looked.index("m") <= 10, looked.index("m")
    waited = {reply.how for reply in await replies(site, greedy)}
    assert waited == {"done"}


async def _stored(site: Site, run: str) -> int:
    from consort_bus.toolbox import calls_of

    async with site.connected("operator", "me") as (_, wire):
        return len([call async for call in calls_of(wire, run)])


def test_orchestrators_have_no_rights_on_tools() -> None:
    """S36: by the table."""
    run = "0" * 32
    for subject in (one.format(run=run) for one in TOOL_SUBJECTS):
        assert not may("orchestrator", "main", "publish", subject)
        assert not may("orchestrator", "main", "subscribe", subject)
    rights = TABLE["orchestrator"]
    assert not [
        one for one in (*rights.publish, *rights.subscribe) if "TOOL" in one or one.startswith("tool")
    ]


async def test_the_server_refuses_orchestrators_tools(site: Site, tmp_path: Path) -> None:
    """S36: at run time, by the server: no call, no answer, no reading."""
    await site.approve(tools_file(tmp_path))
    run = new_run_id()
    async with site.connected("orchestrator", "main") as (_, wire):
        publisher = Publisher(wire)
        for subject in (one.format(run=run) for one in TOOL_SUBJECTS):
            with pytest.raises((AccessDenied, NoAnswer)):
                await publisher.publish(subject, b"x", timeout=1.0)
            with pytest.raises((AccessDenied, NoAnswer)):
                await last(wire, subjects.TOOLS, subject, patience=1.0)


async def test_another_agents_calls_and_answers_are_out_of_reach(site: Site, tmp_path: Path) -> None:
    """G2: an agent reads no other's answers, and calls nothing in another's name."""
    await site.opened(tools_file(tmp_path))
    run = new_run_id()
    async with site.agent("ann") as ann, site.agent("eve") as eve:
        await ann.call("shop.look", {"query": "mine"}, run=run)
        [reply] = await replies(site, run)
        for subject in (
            str(ToolSubject("answer", "shop", "ann", run, reply.id)),
            str(ToolSubject("call", "shop", "ann", run, "x")),
        ):
            with pytest.raises((AccessDenied, NoAnswer)):
                await last(eve.wire, subjects.TOOLS, subject, patience=1.0)
        with pytest.raises((AccessDenied, NoAnswer)):
            await Publisher(eve.wire).publish(
                str(ToolSubject("call", "shop", "ann", run, "x")), b"{}", timeout=1.0
            )


async def test_a_forged_answer_is_not_believed(site: Site, tmp_path: Path) -> None:
    """Whoever may read something can have the server write it to any subject; the agent asks again and has its
    own host's answer."""
    file = tools_file(tmp_path)
    await site.opened(file)
    run = new_run_id()
    async with site.agent("ann") as ann, site.agent("eve") as eve:
        tool = await ann.tool("shop.look")
        caller = caller_of("ann", run=run, call_id="k")
        asking = asyncio.create_task(tool.call({"query": "tea", "gate": "f"}, caller))
        await until(lambda: site.marked("waits-f"))
        call = await _the_call(site, run)
        forged = ToolReply(
            host="shop", agent="ann", run=run, id=call.id, tool="look", how="done",
            kept=Kept(answer=ToolAnswer(content="forged")), instance="i", at=0.0,
        )  # fmt: skip
        await _lead_to(
            eve.wire, "eve", encode(forged), str(ToolSubject("answer", "shop", "ann", run, call.id))
        )
        await asyncio.sleep(0)
        site.go("f")
        assert (await asking).content == "found tea"
        # ... and behind the answer, where the newest is what is read:
        await _lead_to(
            eve.wire, "eve", encode(forged), str(ToolSubject("answer", "shop", "ann", run, call.id))
        )
        assert (await tool.call({"query": "tea", "gate": "f"}, caller)).content == "found tea"
    assert site.marked("looked") == ["tea"]


async def test_a_forged_call_is_not_made(site: Site, tmp_path: Path) -> None:
    """A call that was led to another agent's subject is set aside, and the host goes on."""
    file = tools_file(tmp_path)
    host = await site.opened(file)
    run = new_run_id()
    async with site.agent("ann") as ann, site.agent("eve") as eve:
        tool = await ann.tool("shop.pay")
        call = ToolCall(
            host="shop", agent="ann", run=run, id="x", tool="pay", arguments={"amount": 9},
            definition=tool.remote.hosted.digest,  # type: ignore[attr-defined]
        )  # fmt: skip
        await _lead_to(eve.wire, "eve", encode(call), str(ToolSubject("call", "shop", "ann", run, "x")))
        own = str(ToolSubject("call", "shop", "eve", run, "x"))
        await Publisher(eve.wire).publish(own, encode(call), {CONTENT_TYPE: MSGPACK})
        await until(lambda: host.log.read_bytes().count(b"set aside") == 2)
        assert not (await ann.call("shop.look", {"query": "on"})).is_error
    assert site.marked("paid") == []


async def _the_call(site: Site, run: str) -> ToolCall:
    from consort_bus.toolbox import calls_of

    async with site.connected("operator", "me") as (_, wire):
        [call] = [call async for call in calls_of(wire, run)]
    return call


async def _lead_to(wire: Wire, agent: str, body: bytes, subject: str) -> None:
    """Store bytes where this agent may, and have the server write them to a subject where it may not."""
    from consort_shared.values import bytes_digest

    chunk = f"artefact.agent.{agent}.{bytes_digest(body)}.0"
    seq = await Publisher(wire).publish(chunk, body, {CONTENT_TYPE: MSGPACK})
    request = json.dumps({"seq": seq}).encode()
    wire.send(jetstream.direct_get(subjects.ARTEFACTS), request, reply=subject)
    await last(wire, subjects.ARTEFACTS, chunk)
