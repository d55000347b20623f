"""`consort doctor` against real systems: whatever is stopped, deleted or refused is told of, with its cure."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgpack
import pytest
from cli_kit import CREW, Ended, Running, consort, started, until

from consort_bus import embedded, jetstream
from consort_bus.connection import Bus, open_bus
from consort_bus.envelope import CONTENT_TYPE
from consort_bus.publish import Publisher
from consort_bus.subjects import AgentSubject, DeadSubject, EntrySubject, PauseSubject, WaitingSubject
from consort_bus.wire import Wire
from consort_shared.card import AgentCard, Presence, SkillCard
from consort_shared.codec import MSGPACK, encode
from consort_shared.control import PauseMark
from consort_shared.entries import body_digest
from standing_still import freeze

pytestmark = pytest.mark.slow

HISTORIES = Path(__file__).parent.parent / "data" / "histories" / "0.1.0"
SLOW = """
name: slow
steps:
  a: {skill: crew.words, with: {text: one two, seconds: 600}}
"""
WAITS = """
name: waits
steps:
  a: {skill: nobody.offers}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a bus that runs and is set up."""
    assert consort(tmp_path, "bus", "start").code == 0
    try:
        yield tmp_path
    finally:
        embedded.stop(tmp_path / ".consort")


def examined(folder: Path, *arguments: str, code: int | None = None, **environment: str) -> dict[str, Any]:
    done: Ended = consort(folder, "doctor", "--json", *arguments, **environment)
    found: dict[str, Any] = done.json
    assert code is None or done.code == code, json.dumps(found, indent=1)
    assert done.err == ""
    return found


def components(found: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["status"] for one in found["components"]}


def told(found: dict[str, Any], check: str) -> list[dict[str, Any]]:
    return [one for one in found["findings"] if one["check"] == check and one["level"] != "ok"]


def as_provisioner(folder: Path, work: Callable[[Bus, Publisher], Coroutine[Any, Any, None]]) -> None:
    """Do to the bus what nobody else may."""

    async def done() -> None:
        server = embedded.status(folder / ".consort")
        assert server is not None
        creds = embedded.credentials_for(folder / ".consort", "provisioner", "setup")
        async with open_bus(server.url, creds) as bus, Wire(bus.nc, bus) as wire:
            await work(bus, Publisher(wire))

    asyncio.run(done())


def history(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HISTORIES / f"{name}.jsonl").read_text().splitlines()]


async def store(publisher: Publisher, entries: list[dict[str, Any]]) -> None:
    for line in entries:
        headers = {"Content-Type": MSGPACK, "Consort-Schema": str(line["schema"])}
        await publisher.publish(line["subject"], base64.b64decode(line["body"]), headers)


def plan(folder: Path, text: str) -> str:
    path = folder / "plan.yaml"
    path.write_text(text)
    return str(path)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that stands still for as long as the block lasts."""
    freeze(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_bus_that_is_not_there(tmp_path: Path) -> None:
    never = examined(tmp_path, code=3)
    assert (never["reached"], set(components(never).values())) == (False, {"down"})
    assert never["findings"][0]["mend"] == "consort up"
    assert list(tmp_path.iterdir()) == []  # looking makes nothing

    assert consort(tmp_path, "access", "issue", "operator", "me", "--out", "op.creds").code == 0
    there = ["--server", "nats://127.0.0.1:1", "--creds", "op.creds"]
    assert "nothing listens there" in examined(tmp_path, *there, code=3)["findings"][0]["what"]
    nobody = examined(tmp_path, *there[:2], code=3)
    assert told(nobody, "credentials")[0]["mend"].startswith("consort access issue operator")
    unreadable = examined(tmp_path, *there[:3], "none.creds", code=3)
    assert components(unreadable)["governance"] == "down"
    shown = consort(tmp_path, "doctor", *there)
    assert (shown.code, shown.out.splitlines()[3].split()[:2]) == (3, ["channels", "down"])


def test_credentials_that_are_wrong_or_have_ended(folder: Path) -> None:
    server = embedded.status(folder / ".consort")
    assert server is not None
    strangers = embedded.credentials_for(folder / "other", "operator", "me")
    strangers.save(folder / "strangers.creds")
    refused = examined(folder, "--server", server.url, "--creds", "strangers.creds", code=3)
    assert components(refused)["governance"] == "down"
    assert "consort access issue operator" in told(refused, "credentials")[0]["mend"]

    embedded.credentials_for(folder / ".consort", "operator", "soon", timedelta(hours=1)).save(
        folder / "soon.creds"
    )
    soon = examined(folder, "--server", server.url, "--creds", "soon.creds", code=1)
    assert "operator.soon end in " in told(soon, "credentials")[0]["what"]

    embedded.credentials_for(folder / ".consort", "client", "ci").save(folder / "ci.creds")
    client = examined(folder, "--creds", "ci.creds", code=1)
    assert "needs those of an operator" in told(client, "credentials")[0]["what"]
    assert "stream INBOX" in told(client, "rights")[0]["what"]
    assert components(client)["governance"] == "degraded"


def test_a_bus_that_hangs_or_lost_a_part(folder: Path) -> None:
    """S34: channels and context, one after the other."""
    assert components(examined(folder, code=1))["channels"] == "healthy"
    server = embedded.status(folder / ".consort")
    assert server is not None
    with stopped(server.pid):
        hangs = examined(folder, code=3)
        assert "does not answer" in told(hangs, "connection")[0]["what"]
        assert told(hangs, "connection")[0]["mend"] == "consort bus stop; consort bus start"

    def without(stream: str) -> dict[str, Any]:
        async def delete(bus: Bus, _: Publisher) -> None:
            await bus.request(f"$JS.API.STREAM.DELETE.{stream}")

        as_provisioner(folder, delete)
        found = examined(folder, code=1)
        assert f"stream {stream} is missing" in [one["what"] for one in found["findings"]]
        assert consort(folder, "bus", "setup").code == 0
        return found

    assert components(without("KV_CONTEXT")) | {"orchestrators": "", "agents": ""} == {
        "orchestrators": "", "agents": "", "context": "down", "channels": "healthy", "governance": "healthy",
    }  # fmt: skip
    assert components(without("DEAD"))["channels"] == "degraded"
    gone = without("LOG")
    assert components(gone)["channels"] == "down"
    assert told(gone, "topology")[0]["mend"] == "consort bus setup"
    assert components(examined(folder, code=1))["channels"] == "healthy"

    async def spoil(bus: Bus, _: Publisher) -> None:
        await bus.request(jetstream.consumer_delete("INBOX", "shard_3"))
        body = json.dumps(
            {"stream_name": "DEAD", "config": {"durable_name": "tap", "ack_policy": "explicit"}}
        )
        await bus.request(jetstream.consumer_create("DEAD", "tap"), body.encode())

    as_provisioner(folder, spoil)
    found = examined(folder, code=1)
    assert "1 consumer of the inbox missing" in told(found, "topology")[0]["what"]
    assert told(found, "consumers")[0]["about"] == {"stream": "DEAD", "consumer": "tap"}


def test_what_lies_on_the_bus(folder: Path) -> None:
    """Stuck runs, runs that cannot be read, dead letters, pauses, two cards under one name, a waiting list."""
    known = history("open")
    run = known[0]["run"]
    later = "f" * 31 + "1"

    async def put(_: Bus, publisher: Publisher) -> None:
        await store(publisher, known[1:])
        first = base64.b64decode(known[1]["body"])
        renamed = msgpack.packb({**msgpack.unpackb(first), "run": later})
        end = {"v": 99, "run": later, "n": 2, "prev": body_digest(renamed), "facts": []}
        where = str(EntrySubject(later, None, "noted"))
        for body in (renamed, msgpack.packb(end)):
            await store(publisher, [{"subject": where, "schema": 1, "body": base64.b64encode(body).decode()}])
        await publisher.publish(str(WaitingSubject("nobody.offers", run)), b"x", {})
        for kind in ("poison", "refused", "refused"):
            headers = {"Consort-Kind": kind, "Consort-Reason": "it broke"}
            await publisher.publish(str(DeadSubject("INBOX", run)), b"letter", headers)
        mark = PauseMark(by="operator.ann", at=1.0, why="maintenance")
        await publisher.publish(str(PauseSubject("crew")), encode(mark), {CONTENT_TYPE: MSGPACK})
        for instance, skill in (("one", "crew.words"), ("two", "crew.shout")):
            card = AgentCard(name="crew", skills=(SkillCard(name=skill),))
            sign = Presence(instance=instance, card=card, host="h", pid=1)
            await publisher.publish(
                str(AgentSubject("crew", instance)), encode(sign), {CONTENT_TYPE: MSGPACK}
            )

    as_provisioner(folder, put)
    found = examined(folder, code=1)
    stuck = {one["about"]["why"]: one for one in told(found, "runs")}
    assert set(stuck) == {"broken", "absent", "skill"}
    assert stuck["broken"]["about"]["runs"][0]["run"] == later
    assert "written by a later version" in stuck["broken"]["what"]
    assert stuck["absent"]["about"]["runs"] == [
        {"run": run, "step": "g", "last": stuck["skill"]["about"]["runs"][0]["last"]}
    ]
    assert told(found, "skills")[0]["about"]["runs"] == [run]
    assert {one["about"]["kind"]: one["about"]["count"] for one in told(found, "letters")} == {
        "poison": 1, "refused": 2,
    }  # fmt: skip
    assert told(found, "cards")[0]["about"]["agent"] == "crew"
    assert "paused by operator.ann" in told(found, "pauses")[0]["what"]
    assert {"governance": "degraded", "agents": "degraded"}.items() <= components(found).items()

    async def settle(_: Bus, publisher: Publisher) -> None:
        await publisher.publish("dead.settled.1", b"x", {})

    as_provisioner(folder, settle)
    assert [one["about"]["kind"] for one in told(examined(folder), "letters")] == ["refused"]
    shown = consort(folder, "doctor", "--all")
    assert shown.code == 1
    assert "→ consort dead list --kind refused" in shown.out

    upgrade = consort(folder, "doctor", "upgrade", "--agents", CREW, "--json")
    assert upgrade.code == 1
    [broken] = [one for one in upgrade.json["findings"] if one["level"] == "error"]
    assert broken["about"]["runs"] == [{"run": later, "entry": 2}]


def test_a_deploy_that_takes_a_skill_away(folder: Path) -> None:
    """J7: what an upgrade would break is told before it is done."""
    known = history("open")

    async def put(_: Bus, publisher: Publisher) -> None:
        await store(publisher, known[1:])
        for name, skill in (("worker", "text.gate"), ("crew", "nobody.offers")):
            card = AgentCard(name=name, skills=(SkillCard(name=skill),))
            sign = Presence(instance="one", card=card)
            await publisher.publish(str(AgentSubject(name, "one")), encode(sign), {CONTENT_TYPE: MSGPACK})

    as_provisioner(folder, put)
    well = consort(folder, "doctor", "upgrade")
    assert (well.code, "can go on with all of 1 run" in well.out) == (0, True)
    lost = consort(folder, "doctor", "upgrade", "--agents", CREW, "--json")
    assert lost.code == 1
    [finding] = [one for one in lost.json["findings"] if one["level"] == "error"]
    assert finding["what"] == "1 run under way still needs nobody.offers, which crew would offer no longer"
    assert finding["about"]["runs"] == [known[0]["run"]]
    assert consort(folder, "doctor", "upgrade", "--agents", "no_such_agent").code == 2


def _until_well(folder: Path, *processes: Running) -> None:
    until(
        lambda: consort(folder, "doctor").code == 0,
        60,
        lambda: consort(folder, "doctor", "-v").out + "".join(one.text for one in processes),
    )


def test_whatever_stops_shows(folder: Path) -> None:
    """S34: orchestrators and agents as real processes, stopped, killed and frozen."""
    assert components(examined(folder, code=1)) == {
        "orchestrators": "down", "agents": "down", "context": "healthy", "channels": "healthy",
        "governance": "healthy",
    }  # fmt: skip
    with started(folder, "orchestrator", "start", name="orchestrator") as orchestrator:
        orchestrator.until_says("is ready")
        with started(folder, "agent", "start", CREW, name="agent") as agent:
            agent.until_says("is ready")
            _until_well(folder, orchestrator, agent)
            assert set(components(examined(folder, code=0)).values()) == {"healthy"}

            waits = consort(folder, "submit", plan(folder, WAITS)).out.strip()
            until(lambda: bool(told(examined(folder), "skills")))
            missing = examined(folder, code=1)
            assert "1 run waits for an agent that offers nobody.offers" in told(missing, "skills")[0]["what"]
            assert components(missing)["agents"] == "degraded"
            assert consort(folder, "cancel", waits).code == 0
            _until_well(folder, orchestrator, agent)

            run = consort(folder, "submit", plan(folder, SLOW)).out.strip()
            until(lambda: '"granted"' in consort(folder, "show", run, "--json").out)
            assert told(examined(folder, code=0), "runs") == []
            agent.process.kill()
            until(lambda: bool(told(examined(folder), "runs")), 40)
            dead = examined(folder, code=1)
            [stuck] = told(dead, "runs")
            assert (stuck["about"]["why"], stuck["about"]["key"]) == ("absent", "crew")
            assert components(dead)["agents"] == "down"
            assert "agent start" in stuck["mend"]
        with stopped(orchestrator.process.pid):
            until(lambda: components(examined(folder))["orchestrators"] != "healthy", 40)
        orchestrator.process.send_signal(signal.SIGTERM)
        assert orchestrator.process.wait(30) == 0
    gone = examined(folder, code=1)
    assert components(gone)["orchestrators"] == "down"
    assert told(gone, "orchestrators")[0]["mend"] == "consort orchestrator start"
