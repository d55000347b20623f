"""The table of rights against a real server: every cell, and the attacks known to work inside lax rights."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from consort_bus import embedded, jetstream, subjects, topology
from consort_bus.access import NAME, PROVISIONER, ROLES, TABLE, covers, filled, may, who_may
from consort_bus.connection import Bus, open_bus
from consort_bus.credentials import Credentials
from consort_bus.embedded import Embedded
from consort_bus.errors import AccessDenied, CredentialsRefused, NoAnswer
from consort_bus.keys import Authority
from consort_bus.nkey import KeyPair, encode_jwt
from consort_shared.errors import InvalidInput
from consort_shared.ids import new_run_id

OpenAs = Callable[[str, str], AbstractAsyncContextManager[Bus]]

FORBIDDEN_TO_SERVICES = (
    "$JS.API.STREAM.CREATE.X",
    "$JS.API.STREAM.UPDATE.LOG",
    "$JS.API.STREAM.DELETE.LOG",
    "$JS.API.STREAM.PURGE.LOG",
    "$JS.API.STREAM.MSG.DELETE.LOG",
    "$JS.API.STREAM.MSG.GET.INBOX",
    "$JS.API.STREAM.RESTORE.LOG",
    "$JS.API.STREAM.SNAPSHOT.LOG",
    "$JS.API.STREAM.LIST",
    "$JS.API.DIRECT.GET.INBOX",
    "$JS.API.DIRECT.GET.TIMERS",
    "$JS.API.CONSUMER.CREATE.INBOX.x",
    "$JS.API.CONSUMER.CREATE.KV_CONTEXT.x",
    "$JS.API.CONSUMER.CREATE.LOG.x.log.r.entry.a.k",
    "$JS.API.CONSUMER.CREATE.LOG",
    "$JS.API.CONSUMER.DURABLE.CREATE.LOG.x",
    "$JS.API.SERVER.REMOVE",
    "$SYS.REQ.ACCOUNT.PING",
    "inbox.0.person.n1.r",
    "inbox.0.timer.-.r",
    "_INBOX.client.n2.x",
    "_INBOX.orchestrator.n1.x",
    "anything",
)
"""Refused to every role but the provisioner, whatever the table says."""

FORBIDDEN_TO_AGENTS = (
    "$JS.API.CONSUMER.PAUSE.LOG.agent_n1",
    "$JS.API.CONSUMER.DELETE.LOG.agent_n1",
    "$JS.API.STREAM.PURGE.KV_CONTEXT",
    "log.r.entry.-.opened",
    "log.r.copy.n1.t",
    "timer.set.r",
    "timer.fire.r",
    "dead.LOG.r",
    "$KV.CONTEXT.r.k",
    "$KV.WAITING.s.r",
    "$KV.AGENTS.n2.i",
    "in.agent.n2.r",
    "in.client.n1.r",
    "in.person.n1.r",
    "artefact.agent.n2.d.0",
    "artefact.orchestrator.n1.d.0",
    "live.r.n2.t",
    "journal.n2.r.t.1",
    "tool.call.h.n2.r.i",
    "tool.done.h.r.i",
    "tool.answer.h.n1.r.i",
    "$KV.PROFILES.n1",
    "$KV.TOOLBOX.approved.h.-",
    "$JS.API.DIRECT.GET.JOURNAL",
    "$JS.API.DIRECT.GET.JOURNAL.journal.n2.r.t.1",
    "$JS.API.DIRECT.GET.TOOLS",
    "$JS.API.DIRECT.GET.TOOLS.tool.answer.h.n2.r.i",
    "$JS.API.STREAM.MSG.GET.JOURNAL",
    "$JS.API.CONSUMER.CREATE.TOOLS.tools_h",
    "$JS.API.CONSUMER.MSG.NEXT.TOOLS.tools_h",
    "ctl.n1",
    "ctl.n2",
    "api.submit.n2",
    "$JS.API.CONSUMER.CREATE.LOG.agent_n1",
    "$JS.API.CONSUMER.MSG.NEXT.LOG.agent_n2",
    "$JS.API.CONSUMER.MSG.NEXT.INBOX.shard_0",
    "$JS.ACK.LOG.agent_n2.1.1.1.1.0",
    "$JS.ACK.INBOX.shard_0.1.1.1.1.0",
    "$JS.API.STREAM.MSG.GET.LOG",
    "$JS.API.DIRECT.GET.LOG",
    "$JS.API.DIRECT.GET.KV_CONTEXT",
    "$JS.API.DIRECT.GET.KV_AGENTS",
)

FORBIDDEN_SUBSCRIPTIONS = (
    ">",
    "*",
    "*.>",
    "in.>",
    "_INBOX.>",
    "_INBOX.agent.>",
    "$JS.>",
    "$JS.ACK.>",
    "$JS.API.>",
    "$JS.EVENT.>",
    "$SYS.>",
    "$KV.>",
    "artefact.>",
    "timer.>",
    "dead.>",
    "ctl.*",
    "ctl.n2",
    "journal.>",
    "tool.>",
    "tool.call.>",
    "tool.answer.*.n2.*.*",
)


def _samples(action: str) -> list[str]:
    """Subjects under every right of every role, for the name that connects and for another."""
    wanted: set[str] = set(FORBIDDEN_TO_SERVICES + FORBIDDEN_TO_AGENTS)
    for rights in TABLE.values():
        for pattern in rights.publish if action == "publish" else rights.subscribe:
            for name in ("n1", "n2"):
                subject = filled(pattern, name)
                if action == "subscribe":
                    wanted.add(subject)
                wanted.add(subject.replace("*", "x").replace(">", "x.y"))
                wanted.add(subject.replace("*", "n1").replace(">", "n1"))
    if action == "subscribe":
        wanted.update(FORBIDDEN_SUBSCRIPTIONS)
    return sorted(wanted)


@pytest.fixture(scope="module")
def bare_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Without streams, so that what is allowed has no effect."""
    server = embedded.start(tmp_path_factory.mktemp("rights"))
    yield server
    embedded.stop(server.folder)


@pytest.fixture(scope="module")
def set_up_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Of this module's own: what attackers leave in the inbox is nobody else's work."""
    server = embedded.start(tmp_path_factory.mktemp("attacked"))
    yield server
    embedded.stop(server.folder)


@pytest.fixture
async def open_as(set_up_server: Embedded) -> OpenAs:
    def connect(role: str, name: str) -> AbstractAsyncContextManager[Bus]:
        credentials = embedded.credentials_for(set_up_server.folder, role, name)
        return open_bus(set_up_server.url, credentials)

    async with connect(PROVISIONER, "setup") as bus:
        await topology.ensure(bus)
    return connect


@asynccontextmanager
async def _listening(server: Embedded, role: str) -> AsyncIterator[tuple[Bus, list[AccessDenied]]]:
    refused: list[AccessDenied] = []
    async with open_bus(server.url, embedded.credentials_for(server.folder, role, "n1")) as bus:
        bus.on_refusal(refused.append)
        yield bus, refused


@pytest.mark.parametrize("role", ROLES)
async def test_every_cell_of_publishing(bare_server: Embedded, role: str) -> None:
    samples = _samples("publish")
    expected = {subject.lower() for subject in samples if not may(role, "n1", "publish", subject)}
    async with _listening(bare_server, role) as (bus, refused):
        for subject in samples:
            await bus.publish(subject, b"{}")
        await bus.barrier(5)
        assert {denied.subject for denied in refused} == expected
        assert len(refused) == len(expected)
    assert len(samples) > 120
    assert len(samples) - len(expected) >= len(TABLE[role].publish)


@pytest.mark.parametrize("role", ROLES)
async def test_every_cell_of_subscribing(bare_server: Embedded, role: str) -> None:
    samples = _samples("subscribe")
    expected = {subject.lower() for subject in samples if not may(role, "n1", "subscribe", subject)}
    async with _listening(bare_server, role) as (bus, refused):
        for subject in samples:
            await bus.nc.subscribe(subject)
        await bus.barrier(5)
        assert {denied.subject for denied in refused} == expected


@pytest.mark.parametrize("role", [role for role in ROLES if role != PROVISIONER])
def test_what_no_service_may_is_not_in_the_table(role: str) -> None:
    assert [subject for subject in FORBIDDEN_TO_SERVICES if may(role, "n1", "publish", subject)] == []
    assert [subject for subject in FORBIDDEN_SUBSCRIPTIONS if may(role, "n1", "subscribe", subject)] == []


def test_what_no_agent_may_is_not_in_the_table() -> None:
    assert [subject for subject in FORBIDDEN_TO_AGENTS if may("agent", "n1", "publish", subject)] == []


def test_an_orchestrator_has_no_tools() -> None:
    """S36: it neither calls tools nor serves them, nor reads what others asked tools and models."""
    for action in ("publish", "subscribe"):
        subjects = [*_samples(action), "tool.call.h.n1.r.i", "tool.done.h.r.i", "tool.answer.h.n1.r.i"]
        theirs = [
            one for one in subjects if any(word in one.upper() for word in ("TOOL", "JOURNAL", "RATES"))
        ]
        assert theirs
        assert [one for one in theirs if may("orchestrator", "n1", action, one)] == []  # type: ignore[arg-type]


def test_an_auditor_writes_nothing() -> None:
    assert all(right.startswith("$JS.API.") for right in TABLE["auditor"].publish)


def test_patterns() -> None:
    assert covers("a.*.c", "a.b.c")
    assert covers("a.>", "a.b.c")
    assert covers("a.*", "a.*")
    assert not covers("a.>", "a")
    assert not covers("a.*", "a.b.c")
    assert not covers("a.*", "a.>")
    assert not covers("a.b", "a.*")
    assert who_may("publish", "in.agent.a7.0123") == ("agent", PROVISIONER)
    assert who_may("publish", "$js.api.stream.info.dead") == (
        "orchestrator",
        "operator",
        "auditor",
        PROVISIONER,
    )


@pytest.mark.parametrize(
    "name", ["*", ">", "a.b", "a.>", "", "A1", "a b", "{{name()}}", "a\n", "../x", "a" * 33]
)
@pytest.mark.parametrize("role", ROLES)
def test_wild_names_are_not_issued(tmp_path: Path, role: str, name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be a name"):
        _authority(tmp_path).issue(role, name)


def _authority(folder: Path) -> Authority:
    return Authority.load_or_create(folder)


def test_unknown_roles_are_not_issued(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is no role; there are: orchestrator"):
        _authority(tmp_path).issue("admin", "a1")


async def test_a_role_key_cannot_sign_wider_rights(bare_server: Embedded) -> None:
    """Whoever steals the agents' signing key still gets no more than an agent's rights."""
    authority = Authority.load(bare_server.folder / "keys")
    user = KeyPair.new("user")
    everything = {"pub": {"allow": [">"]}, "sub": {"allow": [">"]}, "subs": -1, "data": -1, "payload": -1}
    claims = {
        "type": "user",
        "version": 2,
        "issuer_account": authority.account.public,
        "tags": ["role:agent"],
    }
    wide = encode_jwt(authority.roles["agent"], user.public, "n1", {**claims, **everything})
    with pytest.raises(CredentialsRefused):
        async with open_bus(bare_server.url, Credentials.of(wide, user.seed)):
            pass


async def test_an_order_may_be_answered_once(open_as: OpenAs) -> None:
    async with open_as("agent", "answers") as agent, open_as("orchestrator", "o1") as orchestrator:
        refused: list[AccessDenied] = []
        agent.on_refusal(refused.append)
        orders = await agent.nc.subscribe("ctl.answers")
        await agent.barrier()
        asking = asyncio.create_task(orchestrator.request("ctl.answers", b"pause"))
        order = await orders.next_msg(timeout=2)
        await order.respond(b"paused")
        assert (await asking).data == b"paused"
        await order.respond(b"again")
        await agent.barrier()
        assert len(refused) == 1


async def _stored(
    bus: Bus, subject: str, body: bytes = b"x", headers: dict[str, str] | None = None
) -> dict[str, object]:
    answer: dict[str, object] = json.loads((await bus.request(subject, body, headers=headers)).data)
    return answer


async def test_attack_forged_reply_is_marked_by_the_server(open_as: OpenAs) -> None:
    """The server writes a permitted reader's reply to any subject, but not without its own header."""
    run = new_run_id()
    chunk = str(subjects.ChunkSubject("agent", "forger", "ab" * 32, 0))
    async with open_as("agent", "forger") as agent, open_as(PROVISIONER, "setup") as provisioner:
        await _stored(agent, chunk, b"approved", {"X-Own": "1"})
        target = str(subjects.IncomingSubject("person", "boss", run))
        await agent.publish(jetstream.direct_get(subjects.ARTEFACTS, chunk), reply=target)
        await agent.barrier()
        stored = await _read_last(provisioner, subjects.INBOX, f"inbox.*.person.boss.{run}")
        assert b"Nats-Stream: ARTEFACTS" in base64.b64decode(str(stored["hdrs"]))


async def _read_last(bus: Bus, stream: str, subject: str) -> dict[str, object]:
    async with asyncio.timeout(3):
        while True:
            answer = await _stored(
                bus, jetstream.message_get(stream), json.dumps({"last_by_subj": subject}).encode()
            )
            if "message" in answer:
                message = answer["message"]
                assert isinstance(message, dict)
                return message


async def test_attack_push_consumer_by_others_than_orchestrators(open_as: OpenAs) -> None:
    body = json.dumps({"stream_name": "LOG", "config": {"name": "x", "deliver_subject": "ctl.a1"}}).encode()
    for role in ("agent", "client", "reviewer", "auditor"):
        async with open_as(role, "n1") as bus:
            for stream in (subjects.LOG, subjects.CONTEXT, subjects.ARTEFACTS):
                with pytest.raises(AccessDenied):
                    await bus.request(jetstream.consumer_create(stream, "x"), body)


@pytest.mark.parametrize("rollup", ["all", "sub"])
async def test_attack_rollup_wipes_nothing(open_as: OpenAs, rollup: str) -> None:
    async with open_as("agent", f"keeps-{rollup}") as victim, open_as("agent", "wipes") as attacker:
        await _stored(victim, f"$KV.AGENTS.keeps-{rollup}.i1", b"card")
        header = {"Nats-Rollup": rollup}
        for subject in ("$KV.AGENTS.wipes.i1", str(subjects.ChunkSubject("agent", "wipes", "ab" * 32, 0))):
            assert "error" in await _stored(attacker, subject, b"x", header)
    async with open_as("client", "c1") as client:
        kept = await client.request(jetstream.direct_get(subjects.AGENTS, f"$KV.AGENTS.keeps-{rollup}.i1"))
        assert kept.data == b"card"


async def test_attack_acknowledging_anothers_task(open_as: OpenAs) -> None:
    async with open_as("orchestrator", "o1") as orchestrator, open_as("agent", "acks") as attacker:
        run = new_run_id()
        await topology.create_consumer(orchestrator, topology.agent_consumer("works", timedelta(seconds=5)))
        await _stored(orchestrator, str(subjects.EntrySubject(run, "works", "granted")), b"task")
        async with open_as("agent", "works") as worker:
            pulled = await worker.nc.subscribe(worker.new_inbox())
            pull = jetstream.next_message(subjects.LOG, "agent_works")
            await worker.publish(pull, b'{"batch":1,"expires":1000000000}', reply=pulled.subject)
            task = await pulled.next_msg(timeout=2)
            assert task.data == b"task"
            refused: list[AccessDenied] = []
            attacker.on_refusal(refused.append)
            await attacker.publish(task.reply, b"+ACK")
            await attacker.barrier()
            assert len(refused) == 1
            await worker.request(task.reply, b"+ACK")


async def test_attack_schedules_by_others_than_orchestrators(open_as: OpenAs) -> None:
    """Neither directly nor by storing a schedule elsewhere and having the server forward it."""
    run = new_run_id()
    schedule = {"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": f"timer.fire.{run}"}
    async with open_as("agent", "schedules") as agent:
        with pytest.raises(AccessDenied):
            await agent.request(str(subjects.TimerSubject("set", run)), b"", headers=schedule)
        chunk = str(subjects.ChunkSubject("agent", "schedules", "ab" * 32, 0))
        for subject in (
            chunk,
            "$KV.AGENTS.schedules.i1",
            str(subjects.IncomingSubject("agent", "schedules", run)),
        ):
            assert "error" in await _stored(agent, subject, b"", schedule)


async def test_attack_hoarding_pull(open_as: OpenAs) -> None:
    async with open_as("orchestrator", "o1") as orchestrator, open_as("agent", "hoards") as agent:
        await topology.create_consumer(orchestrator, topology.agent_consumer("hoards", max_ack_pending=4))
        pull = jetstream.next_message(subjects.LOG, "agent_hoards")
        answer = await agent.request(pull, b'{"batch":5,"expires":1000000000}')
        assert (answer.headers or {})["Status"] == "409"
        answer = await agent.request(pull, b'{"batch":1,"expires":3600000000000}')
        assert (answer.headers or {})["Status"] == "409"


async def test_attack_guessed_message_id_silences_nobody(open_as: OpenAs) -> None:
    run = new_run_id()
    async with open_as("agent", "first") as first, open_as("agent", "second") as second:
        header = {"Nats-Msg-Id": f"{run}.guess"}
        await _stored(first, str(subjects.IncomingSubject("agent", "first", run)), b"junk", header)
        async with asyncio.timeout(2):
            while (
                await _stored(second, str(subjects.IncomingSubject("agent", "second", run)), b"real", header)
            ).get("duplicate"):
                await asyncio.sleep(0.02)


async def test_names_are_literal_in_the_templates(open_as: OpenAs) -> None:
    assert NAME in TABLE["agent"].publish[0]
    async with open_as("agent", "n1") as bus:
        with pytest.raises(AccessDenied):
            await bus.request(f"in.agent.{NAME}.{new_run_id()}")
        with pytest.raises(NoAnswer):
            await bus.request("api.announce.n1")


async def test_attack_forged_reply_can_disturb_but_not_pass_for_others(open_as: OpenAs) -> None:
    """Known limit: an agent's reply subject may lie in LOG or TIMERS, so what arrives there must be proved.

    The fence of the run moves (its owner loads it again), and its timer is lost (its owner sets
    it again when it next does anything with the run). Neither carries words of the attacker's.
    """
    run = new_run_id()
    entry, timer = str(subjects.EntrySubject(run, None, "forged")), str(subjects.TimerSubject("set", run))
    async with open_as("agent", "disturbs") as agent, open_as(PROVISIONER, "setup") as provisioner:
        for target in (entry, timer):
            await agent.publish(str(subjects.IncomingSubject("agent", "disturbs", run)), b"x", reply=target)
        for stream, target in ((subjects.LOG, entry), (subjects.TIMERS, timer)):
            stored = await _read_last(provisioner, stream, target)
            assert json.loads(base64.b64decode(str(stored["data"])))["stream"] == subjects.INBOX
