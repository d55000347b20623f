"""Clients that ask for a run instead of publishing one, and what becomes of what is no message (F1, F2, F9, S93)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import nats
import pytest
from nats.errors import Error, MaxPayloadError
from plain_kit import plain_agent
from system_kit import System, until
from test_plain_json import GATE

from consort_bus import embedded, subjects
from consort_bus.connection import Bus, open_bus
from consort_bus.errors import AccessDenied, NoAnswer
from consort_bus.listen import Heard, listening
from consort_bus.reading import read
from consort_bus.wire import Wire
from consort_shared.entries import Refused
from consort_shared.ids import new_run_id, traceparent

pytestmark = pytest.mark.slow
MAKE: dict[str, Any] = {"name": "make", "steps": {"make": {"skill": "text.make", "with": {"name": "tea"}}}}
FAULTY: dict[str, Any] = {
    "name": "faulty",
    "steps": {
        "a": {"skill": "text.make", "with": {"name": "${{ steps.b.output }}"}},
        "b": {"skil": "text.make"},
    },
}


@asynccontextmanager
async def as_(system: System, role: str, name: str) -> AsyncIterator[Bus]:
    async with open_bus(system.url, embedded.credentials_for(system.folder, role, name)) as bus:
        yield bus


async def ask(
    bus: Bus, verb: str, body: Any, headers: dict[str, str] | None = None, client: str = "shell"
) -> dict[str, Any]:
    """Asked again while no orchestrator is there."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with asyncio.timeout(20):
        while True:
            try:
                answer = await bus.request(f"api.{verb}.{client}", data, headers=headers, timeout=10)
            except NoAnswer as exc:
                if exc.reason != "no responders":
                    raise
                await asyncio.sleep(0.05)
            else:
                told: dict[str, Any] = json.loads(answer.data)
                return told


async def ended(bus: Bus, run: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (status := await ask(bus, "status", {"run": run}))["state"] not in ("completed", "failed"):
            await asyncio.sleep(0.02)
    return status


async def dead(system: System, count: int) -> list[str]:
    """Reasons of the messages set aside, once there are so many."""
    async with as_(system, "auditor", "a") as bus, Wire(bus.nc, bus) as wire, asyncio.timeout(20):
        while True:
            found = [stored async for stored in read(wire, subjects.DEAD, "dead.>")]
            if len(found) >= count:
                return [stored.headers["Consort-Reason"] for stored in found]
            await asyncio.sleep(0.05)


async def test_a_submission_is_answered_once_it_is_stored_or_refused_with_every_fault(system: System) -> None:
    """F1: whichever of two orchestrators answers, a key stands for one run, and without one each request is a run."""
    system.orchestrator("one")
    system.orchestrator("two")
    system.agent("worker")
    async with as_(system, "client", "shell") as bus:
        refused = await ask(bus, "submit", {"plan": FAULTY})
        assert refused["refused"] == "the plan or its inputs are faulty"
        assert {fault["where"] for fault in refused["faults"]} >= {"steps.b.skil"}
        refused = await ask(bus, "submit", {"plan": MAKE, "inputs": {"no": 1}})
        assert refused["faults"] == [
            {"where": "inputs.no", "what": "the plan has no input `no`; it has none"}
        ]
        for body, headers, told in (
            (b"{not json", None, "the request cannot be read"),
            ({"plan": MAKE, "keys": 1}, None, "keys: Extra inputs"),
            ({"plan": "make"}, None, "plan: Input should be a valid dictionary"),
            ({"plan": MAKE}, {"Content-Type": "text/yaml"}, "content type 'text/yaml'"),
            ({"plan": MAKE}, {"Consort-Body": "{}"}, "header Consort-Body is no reference"),
        ):
            assert told in (await ask(bus, "submit", body, headers))["refused"]

        keyed = {"plan": MAKE, "key": "order 17 / ü"}
        answers = await asyncio.gather(*(ask(bus, "submit", keyed) for _ in range(8)))
        [run] = {answer["run"] for answer in answers}
        assert (await ended(bus, run))["output"] == {"make": {"text": "made tea"}}
        assert (await ask(bus, "submit", keyed))["run"] == run
        other = await ask(bus, "submit", {"plan": GATE, "key": "order 17 / ü"})
        assert run in other["refused"]
        assert other.get("faults") is None
        again = {(await ask(bus, "submit", {"plan": MAKE}))["run"] for _ in range(2)}
        assert len(again) == 2
        for made in again:
            await ended(bus, made)
        assert len(system.marked("make")) == 3
        unknown = await ask(bus, "status", {"run": "0" * 32})
        assert unknown["state"] == "unknown"
        short = await ask(bus, "status", {"run": run, "steps": False})
        assert (short["state"], short["client"], short["steps"]) == ("completed", "client.shell", [])


async def test_nobody_is_answered_or_submits_in_anothers_name(system: System) -> None:
    """F9: an agent that bears a client's name, a reply that leads elsewhere, a mark that no orchestrator made."""
    system.orchestrator()
    async with (
        as_(system, "client", "shell") as bus,
        as_(system, "agent", "shell") as agent,
        as_(system, "provisioner", "setup") as provisioner,
    ):
        key = str(subjects.KeySubject.of("shell", "mine"))
        await provisioner.request(key, json.dumps({"run": "f" * 32, "digest": "0" * 64}).encode())
        taken = await ask(bus, "submit", {"plan": MAKE, "key": "mine"})
        assert taken["run"] != "f" * 32
        assert (await ask(bus, "submit", {"plan": MAKE, "key": "mine"}))["run"] == taken["run"]
        with pytest.raises(AccessDenied):
            await agent.request("api.submit.shell", json.dumps({"plan": MAKE}).encode())
        with pytest.raises(AccessDenied):
            await bus.request("api.submit.other", json.dumps({"plan": MAKE}).encode())
        heard: list[str] = []

        async def overhear(message: Heard) -> None:
            heard.append(message.subject)

        async with listening(provisioner, "in.client.*.*", overhear):
            elsewhere = provisioner.new_inbox()
            await bus.publish("api.submit.shell", json.dumps({"plan": MAKE}).encode(), reply=elsewhere)
            last = await ask(bus, "submit", {"plan": MAKE})
            await until(lambda: heard)
            assert heard == [f"in.client.shell.{last['run']}"]


async def test_trace_context_is_handed_on_as_it_is_and_garbage_disturbs_nothing(system: System) -> None:
    system.orchestrator()
    system.agent("worker")
    headers: list[dict[str, str]] = []
    async with as_(system, "client", "shell") as bus, as_(system, "provisioner", "setup") as provisioner:

        async def overhear(message: Heard) -> None:
            headers.append(dict(message.headers))

        async with listening(provisioner, "in.client.*.*", overhear):
            for count, parent in enumerate(("garbage", "00-zz-zz-01", traceparent(new_run_id())), 1):
                given = {"traceparent": parent, "tracestate": "vendor=1"}
                run = (await ask(bus, "submit", {"plan": MAKE}, given))["run"]
                assert (await ended(bus, run))["state"] == "completed"
                await until(lambda count=count: len(headers) == count)
                assert (headers[-1]["traceparent"], headers[-1]["tracestate"]) == (parent, "vendor=1")
            run = new_run_id()
            body = json.dumps({"say": "submit", "plan": MAKE}).encode()
            await bus.request(f"in.client.shell.{run}", body, headers={"traceparent": "\x7f--"})
            assert (await ended(bus, run))["state"] == "completed"


async def test_what_is_no_message_ends_or_leaves_the_run_it_names_and_nothing_else(system: System) -> None:
    """S93: not JSON, no plan, another content type, another's run, a wrong token: refused, and on record."""
    system.orchestrator(shim="import consort_orchestrator.shell.judge as judge; judge.PATIENCE = 0.5")
    system.agent("worker")
    plain_agent(system)
    async with as_(system, "client", "shell") as bus, as_(system, "client", "other") as other:
        gate = (await ask(bus, "submit", {"plan": GATE}))["run"]
        await until(lambda: system.marked("at-g"))
        task = system.marked("at-g")[0].split()[2]

        bad = {
            "not application/json": (b"{not json", {}),
            "is neither": (b"say: submit", {"Content-Type": "text/yaml"}),
            "plan": (b'{"say": "submit", "plan": {"name": "p"}}', {}),
            "valid dictionary": (b"[]", {}),
        }
        runs = {told: new_run_id() for told in bad}
        for told, (body, headers) in bad.items():
            await bus.request(f"in.client.shell.{runs[told]}", body, headers=headers)
        for told, run in runs.items():
            status = await ended(bus, run)
            assert status["state"] == "failed"
            assert told in status["why"], status["why"]

        submit = json.dumps({"say": "submit", "plan": MAKE}).encode()
        await other.request(f"in.client.other.{gate}", submit)
        with pytest.raises(AccessDenied):
            await other.request(f"in.client.shell.{gate}", submit)
        async with as_(system, "agent", "plain") as agent:
            report = {
                "say": "report",
                "task": task,
                "instance": "i",
                "outcome": {"outcome": "declined", "why": "x"},
            }
            for body, code in (
                (json.dumps(report).encode(), "0" * 32),
                (b'{"say": "report"', "0" * 32),
                (json.dumps({**report, "task": "99-0"}).encode(), ""),
            ):
                await agent.request(
                    f"in.agent.plain.{gate}", body, headers={"Consort-Mac": code} if code else None
                )
        reasons = await dead(system, len(bad) + 4)
        assert sum("of another client" in reason for reason in reasons) == 1
        assert sum("does not prove" in reason or "cannot be read" in reason for reason in reasons) >= 1
        system.let_go("g")
        assert (await ended(bus, gate))["output"] == {"after": {"text": "made after"}}
    refused = [fact for fact in await system.facts(gate) if isinstance(fact, Refused)]
    assert [fact.what for fact in refused] == ["forged"] * 3


async def test_without_credentials_or_with_expired_ones_nobody_gets_in_and_nothing_too_large(
    system: System,
) -> None:
    async def refusal(**options: Any) -> str:
        """Why nobody gets in; the server counts in whole seconds, so perhaps not at once."""
        async with asyncio.timeout(10):
            while True:
                try:
                    let_in = await nats.connect(system.url, allow_reconnect=False, error_cb=_quiet, **options)
                except Error as exc:
                    return str(exc).lower()
                await let_in.close()
                await asyncio.sleep(0.1)

    assert "authorization violation" in await refusal()
    brief = system.folder / "brief.creds"
    embedded.credentials_for(system.folder, "client", "brief", timedelta(seconds=1)).save(brief)
    expired = await refusal(user_credentials=str(brief))
    assert "user authentication expired" in expired or "authorization violation" in expired

    nc = await nats.connect(system.url, user_credentials=system.creds("client", "shell"), error_cb=_quiet)
    with pytest.raises(MaxPayloadError):
        await nc.publish(f"in.client.shell.{new_run_id()}", b" " * (nc.max_payload + 1))
    await nc.close()


async def _quiet(_: Exception) -> None:
    return
