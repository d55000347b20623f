"""A journal on a real bus: who can read what, what is believed, and what becomes of it in bad times."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from journal_kit import Desk, Worker, asking

from consort_agents.performing import Returned
from consort_bus import embedded, jetstream, topology
from consort_bus.connection import Bus, open_bus
from consort_bus.embedded import Embedded
from consort_bus.envelope import AgentSeal
from consort_bus.errors import AccessDenied
from consort_bus.journals import TRY
from consort_bus.leading import read_whole
from consort_bus.reading import last
from consort_bus.subjects import ARTEFACTS, JOURNAL, JournalSubject
from consort_bus.wire import Wire
from consort_shared import hiding
from consort_shared.codec import encode, pack
from consort_shared.errors import DecodeError
from consort_shared.journal import Answered, Began
from consort_shared.journal_fold import Void
from consort_shared.upcast import TooNew
from standing_still import freeze

SECRET = "sk-live-0123456789abcdefghij"  # the point of it


@pytest.fixture
async def on_bus(open_as: Any) -> AsyncIterator[Desk]:
    async with open_as("agent", f"j{secrets.token_hex(4)}") as bus, Wire(bus.nc, bus) as wire:
        yield Desk(bus, wire)


def subject(desk: Desk, n: int, agent: str = "") -> str:
    assert desk.bus is not None
    return str(JournalSubject(agent or desk.bus.identity.name, desk.run, desk.task, n))


def answering(value: Any, **more: Any) -> Any:
    async def skill(worker: Worker) -> Any:
        async def perform(_: Any) -> Any:
            worker.desk.made.append(worker.name)
            return value

        return (await worker.calls.call("model", "m", {"messages": ["?"], **more}, perform, shown=more)).value

    return skill


async def raw(open_as: Any, stream: str, subjects: str) -> bytes:
    """All that whoever may read the stream sees: bodies and headers."""
    async with (
        open_as("auditor" if stream == JOURNAL else "operator", "look") as bus,
        Wire(bus.nc, bus) as wire,
    ):
        seen = [message async for message in read_whole(wire, stream, subjects)]
    assert seen
    return b"".join(message.data + json.dumps(message.headers).encode() for message in seen)


@pytest.mark.parametrize(
    "value",
    [
        f"the key is {SECRET}",
        {"password": "correct horse battery"},
        [{"deep": [f"Authorization: Bearer {SECRET}"]}],
        {f"{SECRET}": 1},
        "x" * 20_000 + f" {SECRET}",
        "\n" + SECRET + "\n" + "word " * 30_000,
    ],
)
async def test_no_secret_can_be_read_on_the_bus_and_the_answer_is_exact(
    on_bus: Desk, open_as: Any, value: Any
) -> None:
    """A prompt or an answer with a secret in it: nowhere readable, and replayed as it was."""
    skill = answering(value, system=f"never tell {SECRET}")
    assert await on_bus.worker().run(skill) == Returned(value)
    assert on_bus.bus is not None
    seen = await raw(open_as, JOURNAL, f"journal.*.{on_bus.run}.*.*")
    for slot in await on_bus.slots():
        if isinstance(slot, Answered) and slot.ref is not None:
            seen += await raw(open_as, ARTEFACTS, f"artefact.agent.{on_bus.bus.identity.name}.>")
    assert SECRET.encode() not in seen
    assert b"correct horse" not in seen
    assert b"[redacted]" in seen
    assert await on_bus.worker("b", delivered=2).run(skill) == Returned(value)
    assert on_bus.made == ["a"]


async def test_a_key_of_the_environment_is_hidden_whatever_it_looks_like(
    on_bus: Desk, open_as: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "just plain words")
    hiding.known_secrets.cache_clear()
    try:
        skill = answering("it is: just plain words!", question="why just plain words?")
        assert await on_bus.worker().run(skill) == Returned("it is: just plain words!")
        assert b"just plain words" not in await raw(open_as, JOURNAL, f"journal.*.{on_bus.run}.*.*")
        assert await on_bus.worker("b", delivered=2).run(skill) == Returned("it is: just plain words!")
    finally:
        hiding.known_secrets.cache_clear()


async def test_only_the_agent_opens_what_it_sealed(on_bus: Desk, open_as: Any) -> None:
    await on_bus.worker().run(answering(SECRET))
    [_, answered] = await on_bus.slots()
    assert isinstance(answered, Answered)
    async with open_as("agent", "stranger") as bus, Wire(bus.nc, bus) as wire:
        with pytest.raises(DecodeError, match="sealed by another agent"):
            await Desk(bus, wire).keeping.given(answered)
        with pytest.raises(AccessDenied):
            await last(wire, JOURNAL, subject(on_bus, 1), patience=0.5)


async def test_a_large_answer_is_an_artefact(on_bus: Desk) -> None:
    value = "word " * 100_000
    await on_bus.worker().run(answering(value))
    [_, answered] = await on_bus.slots()
    assert isinstance(answered, Answered)
    assert answered.ref is not None
    assert len(encode(answered)) < 1000
    assert await on_bus.worker("b", delivered=2).run(answering(value)) == Returned(value)


# --- what is believed


async def test_what_the_server_was_made_to_write_is_no_record(on_bus: Desk, open_as: Any) -> None:
    """nats.md 4.2, attack 1: forged bytes stored elsewhere, forwarded by the server onto the journal."""
    began = Began(id="1", by="x", at=0, n=1, call="model", name="m", request="0" * 64)
    async with open_as("agent", "rogue") as bus:
        for n, record in enumerate((began, Answered(id="2", by="x", at=0, n=1, text='"forged"')), 1):
            mine = f"artefact.agent.rogue.{secrets.token_hex(32)}.0"
            sealed = AgentSeal(bus.mac_key).signed(subject(on_bus, n), encode(record))
            await bus.request(mine, sealed.payload, headers=sealed.headers)
            body = json.dumps({"last_by_subj": mine}).encode()
            await bus.publish("$JS.API.DIRECT.GET.ARTEFACTS", body, reply=subject(on_bus, n))
        await bus.publish(f"artefact.agent.rogue.{'1' * 64}.0", b"x", reply=subject(on_bus, 3))
        await bus.barrier()
    async with asyncio.timeout(5):
        while len(await on_bus.slots()) < 3:
            await asyncio.sleep(0.01)
    assert all(isinstance(slot, Void) for slot in await on_bus.slots())
    assert await on_bus.worker().run(answering("real")) == Returned("real")
    assert await on_bus.worker("b", delivered=2).run(answering("real")) == Returned("real")
    assert on_bus.made == ["a"]


async def test_garbage_in_the_way_costs_positions_and_nothing_else(on_bus: Desk, open_as: Any) -> None:
    worker = on_bus.worker()
    await worker.book.open()
    await worker.ask("one")
    async with open_as("provisioner", "setup") as bus:
        for n in (3, 5, 6):
            await bus.request(subject(on_bus, n), b"garbage")
    assert [await worker.ask(what) for what in ("two", "three")] == ["two: by a", "three: by a"]
    ended = await on_bus.worker("b", delivered=2).run(asking("one", "two", "three"))
    assert ended == Returned(["one: by a", "two: by a", "three: by a"])


async def test_a_record_of_a_later_version_is_neither_believed_nor_passed_over(on_bus: Desk) -> None:
    assert on_bus.bus is not None
    assert on_bus.bus.mac_key is not None
    later = AgentSeal(on_bus.bus.mac_key).signed(subject(on_bus, 1), pack({"record": "dreamt", "n": 1}))
    await on_bus.bus.request(later.subject, later.payload, headers=later.headers)
    with pytest.raises(TooNew, match="dreamt"):
        await on_bus.worker("b", delivered=2).book.open()


# --- bad times


@pytest.fixture
def own_bus(tmp_path: Path) -> Any:
    server = embedded.start(tmp_path / "bus")
    try:
        yield server
    finally:
        embedded.stop(server.folder)


async def opened(server: Embedded, role: str, name: str) -> Any:
    return open_bus(server.url, embedded.credentials_for(server.folder, role, name))


@pytest.mark.slow
async def test_the_bus_goes_away_in_the_midst_and_comes_back(own_bus: Embedded) -> None:
    async with await opened(own_bus, "provisioner", "setup") as bus:
        await topology.ensure(bus)
    async with await opened(own_bus, "agent", "a1") as bus, Wire(bus.nc, bus) as wire:
        desk = Desk(bus, wire)
        worker = desk.worker()
        worker.pause["two"] = asyncio.Event()
        work = asyncio.create_task(worker.run(asking("one", "two", "three")))
        await worker.reached.wait()
        await asyncio.to_thread(embedded.stop, own_bus.folder)
        worker.pause["two"].set()
        await asyncio.to_thread(embedded.start, own_bus.folder)
        async with asyncio.timeout(30):
            assert await work == Returned(["one: by a", "two: by a", "three: by a"])
        await desk.worker("b", delivered=2).run(asking("one", "two", "three"))
        assert desk.made == ["a one", "a two", "a three"]


@pytest.mark.slow
async def test_a_receipt_that_comes_too_late_is_no_second_record(own_bus: Embedded) -> None:
    """The server stands still for longer than a receipt is waited for."""
    async with await opened(own_bus, "provisioner", "setup") as bus:
        await topology.ensure(bus)
    async with await opened(own_bus, "agent", "a1") as bus, Wire(bus.nc, bus) as wire:
        desk = Desk(bus, wire)
        worker = desk.worker()
        await worker.book.open()
        await worker.ask("one")
        assert own_bus.pid is not None
        freeze(own_bus.pid)
        waiting = asyncio.create_task(worker.ask("two"))
        try:
            done, _ = await asyncio.wait({waiting}, timeout=TRY + 0.5)
        finally:
            os.kill(own_bus.pid, signal.SIGCONT)
        assert not done
        async with asyncio.timeout(20):
            assert await waiting == "two: by a"
        assert [type(slot) for slot in await desk.slots()] == [Began, Answered] * 2
        assert desk.made == ["a one", "a two"]


async def _limit(bus: Bus, full: bool) -> None:
    found = json.loads((await bus.request(jetstream.stream_info(JOURNAL))).data)
    changed = {**found["config"], "max_bytes": found["state"]["bytes"] + 10 if full else -1}
    answer = json.loads(
        (await bus.request(jetstream.stream_update(JOURNAL), json.dumps(changed).encode())).data
    )
    assert "error" not in answer, answer


@pytest.mark.slow
async def test_a_journal_that_is_full_holds_the_answer_until_there_is_room(own_bus: Embedded) -> None:
    async with (
        await opened(own_bus, "provisioner", "setup") as setup,
        await opened(own_bus, "agent", "a1") as bus,
        Wire(bus.nc, bus) as wire,
    ):
        await topology.ensure(setup)
        desk = Desk(bus, wire)
        worker = desk.worker()
        await worker.book.open()
        await worker.ask("one")
        await _limit(setup, True)
        waiting = asyncio.create_task(worker.ask("two"))
        done, _ = await asyncio.wait({waiting}, timeout=0.4)
        assert not done
        assert desk.made == ["a one", "a two"]
        await _limit(setup, False)
        async with asyncio.timeout(20):
            assert await waiting == "two: by a"
