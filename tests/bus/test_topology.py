"""Streams and consumers: created once, compared, mended, and behaving as the rest of the system relies on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consort_bus import checking, embedded, jetstream, subjects, topology
from consort_bus.connection import Bus, open_bus
from consort_bus.embedded import Embedded
from consort_bus.errors import AccessDenied, BusUnsuitable
from consort_bus.retention import Keep, NotToBeKept
from consort_bus.subjects import InboxSubject, IncomingSubject, TimerSubject
from consort_shared.ids import new_run_id

OpenAs = Callable[[str, str], AbstractAsyncContextManager[Bus]]


@pytest.fixture(scope="module")
def empty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    server = embedded.start(tmp_path_factory.mktemp("topology"))
    yield server
    embedded.stop(server.folder)


@pytest.fixture
async def open_as(empty_server: Embedded) -> OpenAs:
    """To a server of this module's own: what is left in the inbox here is nobody else's work."""
    async with _provisioner(empty_server) as bus:
        await topology.ensure(bus)
    return lambda role, name: open_bus(
        empty_server.url, embedded.credentials_for(empty_server.folder, role, name)
    )


def _provisioner(server: Embedded) -> AbstractAsyncContextManager[Bus]:
    return open_bus(server.url, embedded.credentials_for(server.folder, "provisioner", "setup"))


async def _api(bus: Bus, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await bus.request(subject, json.dumps(body or {}).encode())).data)
    return answer


async def test_from_nothing_to_everything_and_then_nothing(empty_server: Embedded) -> None:
    async with _provisioner(empty_server) as bus:
        with pytest.raises(
            BusUnsuitable,
            match=rf"stream LOG is missing; .*; and {len(subjects.STREAMS) + 29} more; .* `consort bus setup`",
        ):
            await topology.require(bus)
        began = time.monotonic()
        changes = await topology.ensure(bus)
        assert time.monotonic() - began < 1
        assert len(changes) == len(subjects.STREAMS) + 32
        assert {change.done for change in changes} == {"created"}
        began = time.monotonic()
        assert await topology.ensure(bus) == []
        assert time.monotonic() - began < 0.15
        await topology.require(bus, replicas=1)
        assert next(str(finding) for finding in await topology.check(bus, replicas=3)) == (
            "stream LOG: num_replicas is 1, not 3"
        )


async def test_drift_is_found_and_mended(empty_server: Embedded) -> None:
    async with _provisioner(empty_server) as bus:
        await topology.ensure(bus)
        dead = (await _api(bus, jetstream.stream_info(subjects.DEAD)))["config"]
        await _api(bus, jetstream.stream_update(subjects.DEAD), {**dead, "max_age": 0, "max_msgs": 5})
        await _api(bus, "$JS.API.CONSUMER.DELETE.INBOX.shard_7")
        plan = next(plan for plan in topology.wanted().consumers if plan.name == "shard_8")
        other = topology.ConsumerPlan(plan.stream, plan.name, {**plan.config, "ack_wait": 30_000_000_000})
        await topology.create_consumer(bus, other)
        assert {(finding.what, finding.key) for finding in await topology.check(bus)} == {
            ("stream DEAD", "max_age"),
            ("consumer shard_7", ""),
            ("consumer shard_8", "ack_wait"),
        }
        assert {(change.what, change.done) for change in await topology.ensure(bus)} == {
            ("stream DEAD", "updated"),
            ("consumer shard_7", "created"),
            ("consumer shard_8", "updated"),
        }
        assert await topology.check(bus) == []
        # what an administrator set besides stays
        assert (await _api(bus, jetstream.stream_info(subjects.DEAD)))["config"]["max_msgs"] == 5


async def test_limits_are_set_and_then_left_alone(empty_server: Embedded) -> None:
    async with _provisioner(empty_server) as bus:
        await topology.ensure(bus)
        inbox = (await _api(bus, jetstream.stream_info(subjects.INBOX)))["config"]
        assert inbox["max_msgs"] == topology.INBOX_MSGS
        limits = topology.Limits(log_bytes=500_000_000, inbox_msgs=77)
        assert {change.what for change in await topology.ensure(bus, limits=limits)} == {
            "stream LOG",
            "stream INBOX",
        }
        assert await topology.ensure(bus) == []
        assert (await _api(bus, jetstream.stream_info(subjects.LOG)))["config"]["max_bytes"] == 500_000_000
        assert (await _api(bus, jetstream.stream_info(subjects.INBOX)))["config"]["max_msgs"] == 77


async def test_ages_are_set_and_then_left_alone(empty_server: Embedded) -> None:
    async def age(bus: Bus, stream: str) -> timedelta:
        config = (await _api(bus, jetstream.stream_info(stream)))["config"]
        return timedelta(microseconds=config["max_age"] / 1000)

    day = timedelta(days=1)
    async with _provisioner(empty_server) as bus:
        await topology.ensure(bus)
        assert set((await topology.keeps(bus)).values()) == {30 * day}
        limits = topology.Limits(keep=Keep(log=90 * day, artefacts=90 * day, dead=14 * day))
        assert {change.what for change in await topology.ensure(bus, limits=limits)} == {
            "stream LOG", "stream DEAD", "stream KV_CONTEXT", f"stream {subjects.ARTEFACTS}",
            "stream JOURNAL", "stream TOOLS",
        }  # fmt: skip
        assert await topology.ensure(bus) == []
        assert await topology.check(bus) == []
        assert (await age(bus, subjects.LOG), await age(bus, subjects.DEAD)) == (90 * day, 14 * day)
        log = (await _api(bus, jetstream.stream_info(subjects.LOG)))["config"]
        longer = {**log, "max_age": int(100 * day / timedelta(microseconds=1)) * 1000}
        await _api(bus, jetstream.stream_update(subjects.LOG), longer)  # by hand
        assert {(one.what, one.key) for one in await topology.check(bus)} == {
            ("stream KV_CONTEXT", "max_age"), (f"stream {subjects.ARTEFACTS}", "max_age"),
            ("stream JOURNAL", "max_age"), ("stream TOOLS", "max_age"),
        }  # fmt: skip
        await topology.ensure(bus)
        assert set((await topology.keeps(bus)).values()) == {100 * day, 14 * day}
        with pytest.raises(NotToBeKept):
            await topology.ensure(bus, limits=topology.Limits(keep=Keep(artefacts=day)))
        usual = Keep(log=30 * day, artefacts=30 * day, dead=30 * day)
        await topology.ensure(bus, limits=topology.Limits(keep=usual))


async def test_the_state_is_checked_too(empty_server: Embedded) -> None:
    async with _provisioner(empty_server) as bus:
        await topology.ensure(bus, limits=topology.Limits(log_bytes=2_000_000, inbox_msgs=4))
        assert await checking.check(bus) == []
        for number in range(4):
            await bus.request(str(IncomingSubject("client", "c1", new_run_id())), b"%d" % number)
        await bus.request(str(subjects.EntrySubject(new_run_id(), None, "x")), b"x" * 900_000)
        await bus.request(str(subjects.EntrySubject(new_run_id(), None, "x")), b"x" * 900_000)
        full = {finding.what: finding for finding in await checking.check(bus)}
        assert full["stream INBOX"].level == "wrong"
        assert "holds 4 of at most 4 messages" in str(full["stream INBOX"])
        assert full["stream LOG"].level == "warning"
        assert "bus setup" in full["stream LOG"].mend
        await topology.ensure(bus, limits=topology.Limits(log_bytes=-1, inbox_msgs=100_000))
        await _api(bus, jetstream.stream_purge(subjects.INBOX))
        assert [str(finding) for finding in await checking.check(bus, 3)][:1] == [
            "stream LOG: num_replicas is 1, not 3"
        ]
        await _api(bus, jetstream.stream_delete(subjects.DEAD))
        assert [str(finding) for finding in await checking.check(bus)] == ["stream DEAD is missing"]
        await topology.ensure(bus)
    [disk] = [finding for finding in checking.check_folder(empty_server.folder) if "power" in str(finding)]
    assert (disk.level, "--sync-always" in disk.mend) == ("warning", True)
    assert "--monitor" in checking.check_monitor(None)[0].mend
    assert checking.check_monitor(empty_server.url.replace("nats", "http"))[0].level == "warning"


async def test_a_stream_of_another_kind_is_not_overwritten(empty_server: Embedded) -> None:
    async with _provisioner(empty_server) as bus:
        await topology.ensure(bus)
        waiting = (await _api(bus, jetstream.stream_info(subjects.WAITING)))["config"]
        await _api(bus, "$JS.API.STREAM.DELETE.KV_WAITING")
        await _api(bus, jetstream.stream_create(subjects.WAITING), {**waiting, "storage": "memory"})
        with pytest.raises(BusUnsuitable, match=r"refuses STREAM\.UPDATE\.KV_WAITING.*must be removed first"):
            await topology.ensure(bus)
        await _api(bus, "$JS.API.STREAM.DELETE.KV_WAITING")
        assert [change.what for change in await topology.ensure(bus)] == ["stream KV_WAITING"]


async def test_who_may_set_up_and_look(open_as: OpenAs) -> None:
    async with open_as("orchestrator", "o1") as bus:
        assert await topology.check(bus) == []
        assert await topology.ensure(bus) == []  # nothing to do needs no right
        with pytest.raises(AccessDenied, match="allowed to: provisioner"):
            await topology.ensure(bus, replicas=3)
    async with open_as("agent", "a1") as bus:
        with pytest.raises(AccessDenied):
            await topology.check(bus)


async def _set_timer(
    bus: Bus, run: str, after: timedelta, body: bytes = b"timer", ttl: str | None = None
) -> None:
    due = (datetime.now(UTC) + after).isoformat().replace("+00:00", "Z")
    headers = {
        "Nats-Schedule": f"@at {due}",
        "Nats-Schedule-Target": str(TimerSubject("fire", run)),
        "Nats-Schedule-TTL": ttl or topology.FIRED_TIMER_TTL,
    }
    answer = json.loads((await bus.request(str(TimerSubject("set", run)), body, headers=headers)).data)
    assert "error" not in answer


async def _inbox_of(bus: Bus, runs: list[str], count: int) -> dict[str, list[InboxSubject]]:
    """Where the inbox keeps the messages of some runs, once there are so many."""
    async with asyncio.timeout(8):
        while True:
            state = (await _api(bus, jetstream.stream_info(subjects.INBOX), {"subjects_filter": ">"}))[
                "state"
            ]
            parsed = [InboxSubject.parse(subject) for subject in state.get("subjects") or {}]
            found = [subject for subject in parsed if subject and subject.run in runs]
            if len(found) >= count:
                return {run: [subject for subject in found if subject.run == run] for run in runs}
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_all_messages_of_a_run_share_a_shard(open_as: OpenAs) -> None:
    runs = [new_run_id() for _ in range(40)]
    async with (
        open_as("orchestrator", "o1") as orchestrator,
        open_as("agent", "a1") as agent,
        open_as("client", "c1") as client,
        open_as("reviewer", "p1") as person,
        open_as("provisioner", "look") as provisioner,
    ):
        for run in runs:
            await agent.request(str(IncomingSubject("agent", "a1", run)))
            await client.request(str(IncomingSubject("client", "c1", run)))
            await person.request(str(IncomingSubject("person", "p1", run)))
            await _set_timer(orchestrator, run, timedelta(milliseconds=300))
        stored = await _inbox_of(provisioner, runs, 4 * len(runs))
        for run in runs:
            assert sorted(subject.kind for subject in stored[run]) == ["agent", "client", "person", "timer"]
            assert len({subject.shard for subject in stored[run]}) == 1
        assert len({subjects[0].shard for subjects in stored.values()}) > 10


@pytest.mark.slow
async def test_timers_fire_once_in_time_and_stay_in_the_inbox(open_as: OpenAs) -> None:
    moved, cancelled, brief = (new_run_id() for _ in range(3))
    async with open_as("orchestrator", "o1") as bus, open_as("provisioner", "look") as provisioner:
        await _set_timer(bus, moved, timedelta(hours=1), b"first")
        await _set_timer(bus, cancelled, timedelta(milliseconds=400))
        await _set_timer(bus, brief, timedelta(milliseconds=300), ttl="1s")
        await bus.request(str(TimerSubject("set", cancelled)), b"", headers={"Nats-TTL": "1s"})
        due = time.time() + 0.6
        await _set_timer(bus, moved, timedelta(seconds=0.6), b"second")
        subject = (await _inbox_of(provisioner, [moved], 1))[moved][0]
        assert -0.01 < time.time() - due < 0.5
        message = await _api(
            provisioner, jetstream.message_get(subjects.INBOX), {"last_by_subj": str(subject)}
        )
        assert message["message"]["data"] == "c2Vjb25k"
        # the fired message leaves TIMERS by its time to live, but stays in the inbox until judged
        async with asyncio.timeout(5):
            while True:
                state = (
                    await _api(provisioner, jetstream.stream_info(subjects.TIMERS), {"subjects_filter": ">"})
                )["state"]
                left = {t.run for t in map(TimerSubject.parse, state.get("subjects") or {}) if t}
                if not left & {brief, cancelled}:
                    break
                await asyncio.sleep(0.05)
        stored = await _inbox_of(provisioner, [moved, cancelled, brief], 2)
        assert [len(stored[run]) for run in (moved, cancelled, brief)] == [1, 0, 1]


async def test_log_refuses_deletion(open_as: OpenAs) -> None:
    run = new_run_id()
    async with open_as("provisioner", "setup") as bus:
        answer = await _api(bus, str(subjects.EntrySubject(run, None, "opened")))
        refused = await _api(bus, "$JS.API.STREAM.MSG.DELETE.LOG", {"seq": answer["seq"]})
        assert "error" in refused
        assert "error" in await _api(bus, "$JS.API.STREAM.PURGE.LOG", {"filter": subjects.run_entries(run)})


async def test_an_agents_consumer_takes_entries_and_copies(open_as: OpenAs) -> None:
    run = new_run_id()
    plan = topology.agent_consumer("takes")
    assert plan.create_subject == "$JS.API.CONSUMER.CREATE.LOG.agent_takes"
    async with open_as("orchestrator", "o1") as orchestrator, open_as("agent", "takes") as agent:
        await topology.create_consumer(orchestrator, plan)
        await topology.create_consumer(orchestrator, plan)  # confirming it changes nothing
        for subject in (
            subjects.EntrySubject(run, "takes", "granted"),
            subjects.EntrySubject(run, None, "closed"),
            subjects.EntrySubject(run, "other", "granted"),
            subjects.CopySubject(run, "takes", "t2"),
            subjects.CopySubject(run, "other", "t3"),
        ):
            await orchestrator.request(str(subject), b"x")
        pulled = await agent.nc.subscribe(agent.new_inbox())
        await agent.publish(
            jetstream.next_message(subjects.LOG, plan.name),
            b'{"batch":5,"no_wait":true}',
            reply=pulled.subject,
        )
        got = [(await pulled.next_msg(timeout=2)).subject for _ in range(2)]
        assert got == [f"log.{run}.entry.takes.granted", f"log.{run}.copy.takes.t2"]
        end = await pulled.next_msg(timeout=2)
        assert (end.headers or {})["Status"] in ("404", "408")


async def test_a_key_is_removed_with_the_right_to_write_it(open_as: OpenAs) -> None:
    run = new_run_id()
    key = str(subjects.WaitingSubject("research.market", run))
    async with open_as("orchestrator", "o1") as bus:
        await bus.request(key, b"waits")
        assert (await bus.request(jetstream.direct_get(subjects.WAITING, key))).data == b"waits"
        await bus.request(key, b"", headers={"KV-Operation": "DEL", "Nats-TTL": "1s"})
        async with asyncio.timeout(4):
            while (await bus.request(jetstream.direct_get(subjects.WAITING, key))).headers.get(
                "Status"
            ) != "404":
                await asyncio.sleep(0.05)
