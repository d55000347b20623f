"""What a stranger or a rogue agent can put on the bus, and that it changes nothing.

The known ways past subject permissions: a server writes the reply to a permitted request to any subject. Rights
themselves are tested in `tests/bus`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from system_kit import System, until

from consort_bus import embedded
from consort_bus.connection import open_bus
from consort_bus.reading import read
from consort_bus.subjects import DEAD, LOG, IncomingSubject, run_entries
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, encode
from consort_shared.entries import Refused
from consort_shared.errors import RunFailed
from consort_shared.ids import new_run_id
from consort_shared.messages import Done, Output, Report
from consort_shared.values import digest

pytestmark = pytest.mark.slow
GATE: dict[str, Any] = {
    "steps": {
        "gate": {"skill": "text.gate", "with": {"name": "g"}},
        "after": {"skill": "text.make", "needs": ["gate"], "with": {"name": "after"}},
    }
}


@pytest.fixture
async def at_gate(system: System) -> tuple[System, str, str]:
    """A run whose first task is in the hands of its agent, and that task's id."""
    system.orchestrator()
    system.agent("worker")
    run = await system.run(GATE)
    await until(lambda: system.marked("at-g"))
    return system, run, system.marked("at-g")[0].split()[2]


async def finish(system: System, run: str) -> None:
    system.let_go("g")
    result = await system.client.result(run, timeout=30)
    assert result == {"after": {"text": "made after"}}
    assert await system.accepted_once(run) == ["gate", "after"]


def forged(task: str) -> bytes:
    value = {"text": "forged"}
    return encode(
        Report(task=task, instance="x", outcome=Done(output=Output(value=value, digest=digest(value))))
    )


async def dead(system: System, count: int) -> list[str]:
    """Reasons of the messages set aside, once there are so many."""
    creds = embedded.credentials_for(system.folder, "auditor", "a")
    async with open_bus(system.url, creds) as bus, Wire(bus.nc, bus) as wire:
        async with asyncio.timeout(20):
            while True:
                found = [stored async for stored in read(wire, DEAD, "dead.>")]
                if len(found) >= count:
                    return [stored.headers["Consort-Reason"] for stored in found]
                await asyncio.sleep(0.05)


async def as_(system: System, role: str, name: str) -> Any:
    return open_bus(system.url, embedded.credentials_for(system.folder, role, name))


async def test_a_report_without_the_attempts_token_is_set_aside(at_gate: tuple[System, str, str]) -> None:
    """The agent's own credential is not enough: it must have received the attempt."""
    system, run, task = at_gate
    async with await as_(system, "agent", "worker") as bus:
        await bus.request(
            str(IncomingSubject("agent", "worker", run)), forged(task), headers={"Content-Type": MSGPACK}
        )
    assert "does not prove" in (await dead(system, 1))[0]
    await finish(system, run)


async def test_another_agent_cannot_report_in_its_own_name(at_gate: tuple[System, str, str]) -> None:
    system, run, task = at_gate
    async with await as_(system, "agent", "rogue") as bus:
        await bus.request(
            str(IncomingSubject("agent", "rogue", run)), forged(task), headers={"Content-Type": MSGPACK}
        )
    assert "agent.rogue" in (await dead(system, 1))[0]
    await finish(system, run)


async def test_a_forged_reply_into_the_inbox_is_set_aside(at_gate: tuple[System, str, str]) -> None:
    """Attack 1: store forged bytes as an artefact, have the server forward them as another agent's report."""
    system, run, task = at_gate
    async with await as_(system, "agent", "rogue") as bus:
        subject = f"artefact.agent.rogue.{'0' * 64}.0"
        await bus.request(subject, forged(task), headers={"Content-Type": MSGPACK})
        for target in (f"in.agent.worker.{run}", f"in.client.me.{run}"):
            body = json.dumps({"last_by_subj": subject}).encode()
            await bus.publish("$JS.API.DIRECT.GET.ARTEFACTS", body, reply=target)
        await bus.barrier()
    reasons = await dead(system, 2)
    assert all("forwarded by the server" in reason for reason in reasons)
    await finish(system, run)


async def test_a_forged_reply_onto_the_log_is_set_aside_and_reported(
    at_gate: tuple[System, str, str],
) -> None:
    system, run, _ = at_gate
    async with await as_(system, "agent", "rogue") as bus:
        await bus.publish(f"artefact.agent.rogue.{'1' * 64}.0", b"x", reply=f"log.{run}.entry.-.granted")
        await bus.barrier()
    await finish(system, run)
    assert "no orchestrator wrote it" in (await dead(system, 1))[0]
    assert any(isinstance(fact, Refused) and fact.what == "log" for fact in await system.facts(run))


async def test_garbage_on_every_subject_of_the_log_harms_nothing(at_gate: tuple[System, str, str]) -> None:
    """Even from somebody who may write there: set aside, reported, the run unharmed."""
    system, run, _ = at_gate
    async with await as_(system, "provisioner", "setup") as bus:
        for subject in (
            f"log.{run}.entry.-.granted",
            f"log.{run}.entry.worker.granted",
            f"log.{run}.entry.-.ended",
            f"log.{run}.copy.worker.9-9",
        ):
            await bus.request(subject, b"\xffgarbage")
            await bus.request(subject, b'{"v":1}', headers={"Content-Type": "application/json"})
    await finish(system, run)
    assert len([fact for fact in await system.facts(run) if isinstance(fact, Refused)]) == 6


async def test_a_replayed_genuine_entry_is_set_aside(at_gate: tuple[System, str, str]) -> None:
    system, run, _ = at_gate
    async with await as_(system, "provisioner", "setup") as bus, Wire(bus.nc, bus) as wire:
        stored = [message async for message in read(wire, LOG, run_entries(run))]
        own = {name: value for name, value in stored[0].headers.items() if not name.startswith("Nats-")}
        await bus.request(stored[0].subject, stored[0].data, headers=own)
    await finish(system, run)
    assert "out of place" in (await dead(system, 1))[0]


async def test_a_report_said_twice_counts_once(at_gate: tuple[System, str, str]) -> None:
    """A captured, genuine report, sent again by the agent's own credential after it was judged."""
    system, run, _ = at_gate
    caught: list[Any] = []
    async with await as_(system, "provisioner", "setup") as bus:

        async def catch(msg: Any) -> None:
            caught.append(msg)

        await bus.nc.subscribe(f"in.agent.worker.{run}", cb=catch)
        await bus.barrier()
        await finish(system, run)
        await until(lambda: len(caught) >= 2)
        for msg in list(caught):
            await bus.request(msg.subject, msg.data, headers=msg.headers)
    assert await system.accepted_once(run) == ["gate", "after"]


async def test_agents_cannot_see_the_token_of_others(at_gate: tuple[System, str, str]) -> None:
    """What a reader of the log sees of an attempt's token is masked under the addressee's key."""
    from consort_bus.envelope import TOKEN

    system, run, _ = at_gate
    async with await as_(system, "provisioner", "setup") as bus, Wire(bus.nc, bus) as wire:
        kept = [message async for message in read(wire, LOG, f"log.{run}.>")]
        found = [message.headers[TOKEN] for message in kept if TOKEN in message.headers]
    assert len(found) == 1
    assert len(found[0]) == 32
    await finish(system, run)


async def test_garbage_from_clients_ends_in_a_clear_answer(system: System) -> None:
    system.orchestrator()
    garbage = {
        b"": "not application/json",
        b"\xff\x00": "not application/json",
        b"[]": "message",
        b'{"say":"submit"}': "plan",
        b'{"say":"submit","plan":{"name":"x","steps":{"a":{"skill":"s","needs":["b"]}}}}': "`b`",
        b'{"say":"submit","plan":{"name":"x","steps":{"a":{"skill":"s"}}},"inputs":{"q":1}}': "q",
        b'{"say":"hack"}': "say",
    }

    async def said(body: bytes, hint: str) -> None:
        run = new_run_id()
        await system.client.bus.request(str(IncomingSubject("client", "me", run)), body)
        with pytest.raises(RunFailed, match=hint):
            await system.client.result(run, timeout=20)

    await asyncio.gather(*(said(body, hint) for body, hint in garbage.items()))


async def test_a_client_cannot_take_over_anothers_run(at_gate: tuple[System, str, str]) -> None:
    system, run, _ = at_gate
    async with await as_(system, "client", "mallory") as bus:
        await bus.request(
            str(IncomingSubject("client", "mallory", run)),
            b'{"say":"submit","plan":{"name":"mine","steps":{"a":{"skill":"text.make"}}}}',
        )
    assert "exists already" in (await dead(system, 1))[0]
    await finish(system, run)


PLAIN_CLIENT = """
import asyncio, json, os, sys
import nats

async def main(url, creds, run):
    nc = await nats.connect(url, user_credentials=creds, inbox_prefix="_INBOX.client.plain")
    plan = {"name": "plain", "steps": {"a": {"skill": "text.make", "with": {"name": "json"}}}}
    sub = await nc.subscribe(f"log.{run}.entry.*.*")
    ack = await nc.request(f"in.client.plain.{run}", json.dumps({"say": "submit", "plan": plan}).encode())
    assert "seq" in json.loads(ack.data), ack.data
    while True:
        msg = await sub.next_msg(timeout=20)
        if msg.subject.endswith(".ended"):
            break
    await nc.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_plain_nats_client_submits_json(system: System) -> None:
    """S41: nothing of ours, only a NATS client and JSON."""
    system.orchestrator()
    system.agent("worker")
    run = new_run_id()
    creds = system.creds("client", "plain")
    ended = subprocess.run(
        [sys.executable, "-c", PLAIN_CLIENT, system.url, creds, run],
        capture_output=True,
        timeout=60,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert await system.client.result(run, timeout=20) == {"a": {"text": "made json"}}
