"""What runs on a connection, under the rights of the roles that run it."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from consort_bus import subjects
from consort_bus.append import Fence
from consort_bus.artefacts import Artefacts
from consort_bus.buckets import Bucket
from consort_bus.errors import AccessDenied, FenceRefused
from consort_bus.leading import leader_last
from consort_bus.publish import Publisher
from consort_bus.pull import Delivery, Pull
from consort_bus.reading import read
from consort_bus.subjects import AgentSubject, ContextSubject, EntrySubject, IncomingSubject
from consort_bus.topology import PRIORITY_GROUP, agent_consumer, create_consumer
from consort_bus.wire import Wire
from consort_shared.ids import new_run_id

if TYPE_CHECKING:
    from conftest import OpenAs


async def _of(inbox: asyncio.Queue[Delivery], run: str) -> Delivery:
    """The next message of a run; the bus is shared, and other tests leave theirs in its inbox."""
    while not (delivery := await inbox.get()).subject.endswith(run):
        pass
    return delivery


async def test_a_run_goes_from_its_client_to_an_agent_and_back(open_as: OpenAs) -> None:
    run = new_run_id()
    agents: asyncio.Queue[Delivery] = asyncio.Queue()
    inbox: asyncio.Queue[Delivery] = asyncio.Queue()
    async with (
        open_as("orchestrator", "o1") as orchestrator,
        open_as("agent", "planes") as agent,
        open_as("client", "c1") as client,
        Wire(orchestrator.nc, orchestrator) as o,
        Wire(agent.nc, agent) as a,
        Wire(client.nc, client) as c,
    ):
        plan = agent_consumer("planes")
        await create_consumer(orchestrator, plan)
        tasks = [
            asyncio.create_task(
                Pull(
                    o,
                    subjects.INBOX,
                    subjects.shard_consumer_name(shard),
                    inbox.put_nowait,
                    batch=8,
                    group=PRIORITY_GROUP,
                ).run()
            )
            for shard in range(subjects.SHARDS)
        ]
        tasks.append(asyncio.create_task(Pull(a, subjects.LOG, plan.name, agents.put_nowait, slots=2).run()))
        await Publisher(c).publish(str(IncomingSubject("client", "c1", run)), b"submit")
        submitted = await asyncio.wait_for(_of(inbox, run), 10)
        entry, entries = str(EntrySubject(run, "planes", "task")), subjects.run_entries(run)
        fence = Fence(o)
        seq = await fence.append(entry, b"task", filter_subject=entries, expected=0, entry_id="e1")
        await submitted.ack_sync()
        task = await asyncio.wait_for(agents.get(), 10)
        assert (task.subject, task.data, task.seq) == (entry, b"task", seq)
        task.in_progress()
        await Publisher(a).publish(str(IncomingSubject("agent", "planes", run)), b"report")
        await task.ack_sync()
        report = await asyncio.wait_for(_of(inbox, run), 10)
        assert report.data == b"report"
        report.ack()
        with pytest.raises(FenceRefused):
            await fence.append(entry, b"again", filter_subject=entries, expected=0, entry_id="e2")
        assert [stored.seq async for stored in read(c, subjects.LOG, entries)] == [seq]
        for running in tasks:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def test_artefacts_and_buckets_of_an_agent(open_as: OpenAs) -> None:
    run, data = new_run_id(), os.urandom(300_000)
    async with (
        open_as("orchestrator", "o1") as orchestrator,
        open_as("agent", "planes") as agent,
        open_as("client", "c1") as client,
        Wire(orchestrator.nc, orchestrator) as o,
        Wire(agent.nc, agent) as a,
        Wire(client.nc, client) as c,
    ):
        ref = await Artefacts(a, agent.identity).put(data)
        assert await Artefacts(c, client.identity).get(ref) == data
        assert await Artefacts(o, orchestrator.identity).get(ref) == data
        presences = Bucket(a, Publisher(a), subjects.AGENTS)
        await presences.put(str(AgentSubject("planes", "i")), b"here", ttl=timedelta(seconds=60))
        seen = await Bucket(o, Publisher(o), subjects.AGENTS).entries(subjects.agent_instances("planes"))
        assert [value.data for value in seen] == [b"here"]
        await presences.delete(str(AgentSubject("planes", "i")), ttl=timedelta(seconds=1))
        key = str(ContextSubject(run, "key"))
        await Bucket(o, Publisher(o), subjects.CONTEXT).put(key, b"value")
        value = await Bucket(a, Publisher(a), subjects.CONTEXT).get(key)
        assert value is not None
        assert value.data == b"value"


async def test_what_is_not_allowed_is_said_at_once(open_as: OpenAs) -> None:
    run = new_run_id()
    entry, entries = str(EntrySubject(run, None, "forged")), subjects.run_entries(run)
    async with open_as("agent", "planes") as agent, Wire(agent.nc, agent) as a, asyncio.timeout(5):
        with pytest.raises(AccessDenied):
            await Fence(a).append(entry, b"", filter_subject=entries, expected=0, entry_id="e")
        with pytest.raises(AccessDenied):
            await (await Publisher(a).publish_nowait(entry, b"", timeout=60))
        with pytest.raises(AccessDenied):
            await leader_last(a, subjects.LOG, entries)
        with pytest.raises(AccessDenied):
            await anext(read(a, subjects.LOG, entries))
        with pytest.raises(AccessDenied):
            await Bucket(a, Publisher(a), subjects.AGENTS).put(str(AgentSubject("other", "i")), b"")
        with pytest.raises(AccessDenied):
            await Pull(a, subjects.LOG, "agent_other", lambda _: None, slots=1).run()
