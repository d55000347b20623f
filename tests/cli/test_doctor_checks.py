"""What an examination makes of the facts, without a bus: each kind of trouble, and that well is told as well."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consort_bus import subjects, topology
from consort_bus.attendance import EVERYTHING, Letters, Waiter
from consort_bus.errors import BusUnreachable, CredentialsRefused
from consort_bus.health import BusHealth, Clock, ConsumerHealth, Replica, StreamHealth, Unseen, Usage
from consort_bus.letters import Letter
from consort_bus.recorded import Indexed
from consort_orchestrator.doctor.commands import Commands
from consort_orchestrator.doctor.components import unreachable
from consort_orchestrator.doctor.examining import judged
from consort_orchestrator.doctor.facts import Backlog, Disk, Doubt, Facts, Identity, OpenRun, OpenTask, Runs
from consort_orchestrator.doctor.findings import Finding, Level, Report
from consort_orchestrator.doctor.gathering import Bounds, choose
from consort_shared.card import AgentCard, Presence, SkillCard
from consort_shared.control import OrchestratorPresence, PauseMark
from consort_shared.rates import Breaker, Rate
from consort_shared.rates import Waiter as HeldBack

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
RUN = "0123456789abcdef" * 2


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def stream(name: str, **more: Any) -> StreamHealth:
    given = {"messages": 0, "bytes": 0, "max_messages": -1, "max_bytes": -1, "oldest": None, "copies": 1}
    return StreamHealth(name=name, leader="n1", replicas=(), **{**given, **more})


def consumer(name: str, of: str = subjects.LOG, **more: Any) -> ConsumerHealth:
    given = {"filters": (">",), "pending": 0, "in_hand": 0, "max_in_hand": 64, "redelivered": 0, "pulls": 1}
    when = {"created": ago(3600), "active": None, "delivered": 0}
    return ConsumerHealth(stream=of, name=name, **{**given, **when, **more})


def shards(served: int = subjects.SHARDS) -> tuple[ConsumerHealth, ...]:
    return tuple(
        consumer(f"shard_{at}", subjects.INBOX, pulls=int(at < served)) for at in range(subjects.SHARDS)
    )


def limited(**more: Any) -> Facts:
    return replace(WELL, rates={"k": Rate(**more)})


def presence(agent: str = "writer", skill: str = "text.write", version: str = "1", **more: Any) -> Presence:
    card = AgentCard(name=agent, version=version, skills=(SkillCard(name=skill),))
    return Presence(instance="i1", card=card, host="h", pid=7, **more)


BUS = BusHealth(
    server="s",
    version="2.15.1",
    cluster="",
    round_trip=0.001,
    clock=Clock(0.002, 0.001, NOW.timestamp()),
    usage=Usage(1000, -1, 9, -1, 33, -1),
    streams={name: stream(name) for name in subjects.STREAMS},
    consumers=(*shards(), consumer("agent_writer")),
    differences=(),
    unseen=(),
)
WELL = Facts(
    at=Commands(installed=frozenset({"writer"})),
    now=NOW.timestamp(),
    identity=Identity("operator", "me"),
    bus=BUS,
    agents=(presence(),),
    orchestrators=(OrchestratorPresence(name="main", instance="m1", shards=32, version="1"),),
    letters=Letters(0, 0, 0, ()),
    runs=Runs(),
    backlogs=(Backlog("writer", consumer("agent_writer"), None),),
    context_read=True,
    disk=Disk("/data", 100 << 30, 50 << 30),
)


def on_bus(**changes: Any) -> Facts:
    return replace(WELL, bus=replace(BUS, **changes))


def with_stream(name: str, **changes: Any) -> Facts:
    return on_bus(streams={**BUS.streams, name: stream(name, **changes)})


def with_run(**changes: Any) -> Facts:
    run = OpenRun(RUN, NOW.timestamp() - 100, **changes)
    return replace(WELL, runs=Runs(total=1, open=1, looked_at=1, found=(run,)))


def task(phase: str, **more: Any) -> tuple[OpenTask, ...]:
    return (OpenTask("draft", phase, **{"agent": "writer", "skill": "text.write", **more}),)


def letter(number: int, kind: str) -> Letter:
    return Letter(number, ago(60), "INBOX", RUN, kind, "because", "in.client.me.x", 3, b"", {})


def report(facts: Facts) -> Report:
    return judged("here", facts)


def trouble(facts: Facts) -> list[Finding]:
    return [finding for finding in report(facts).findings if finding.level > Level.OK]


def statuses(found: Report) -> dict[str, str]:
    return {component.name: component.status.value for component in found.components}


def test_well_is_told_as_well() -> None:
    found = report(WELL)
    assert trouble(WELL) == []
    assert set(statuses(found).values()) == {"healthy"}
    assert {finding.check for finding in found.findings} >= {
        "connection", "server", "topology", "context", "clock", "storage", "disk", "credentials", "rights",
        "letters", "orchestrators", "inbox", "agents", "runs",
    }  # fmt: skip


ONE_FINDING: list[tuple[str, Facts, str, Level, str, str]] = [
    ("slow", on_bus(round_trip=0.9), "connection", Level.WARNING, "900.0 ms", "nearer"),
    ("unseen", on_bus(unseen=(Unseen("the account", "timeout"),)), "server", Level.ERROR, "timeout", "bus status"),
    ("denied", on_bus(unseen=(Unseen("the account", "no", denied=True),)), "rights", Level.WARNING,
     "operator.me look at the account", "access server-config"),
    ("node", replace(WELL, silent=("n2",)), "copies", Level.WARNING, "n2 is away", "consort bus start"),
    ("no log", on_bus(differences=(topology.Finding("stream LOG", "", None, None),)), "topology", Level.ERROR,
     "stream LOG is missing", "consort bus setup"),
    ("no letters", on_bus(differences=(topology.Finding("stream DEAD", "", None, None),)), "topology",
     Level.WARNING, "stream DEAD is missing", "consort bus setup"),
    ("no shard", on_bus(differences=(topology.Finding("consumer shard_3", "", None, None),)), "topology",
     Level.WARNING, "1 consumer of the inbox missing", "consort bus setup"),
    ("limit", on_bus(differences=(topology.Finding("stream LOG", "max_age", 5, 6),)), "topology",
     Level.WARNING, "stream LOG is not as it should be: max_age is 6, not 5", "consort bus setup"),
    ("context", replace(WELL, context_read=False), "context", Level.ERROR, "cannot be read", "bus check"),
    ("clock a little", on_bus(clock=Clock(2.0, 0.1, 0.0)), "clock", Level.NOTE, "2.0 s ahead of", "timedatectl"),
    ("clock", on_bus(clock=Clock(-30.0, 0.1, 0.0)), "clock", Level.WARNING, "30 s behind the bus's", "NTP"),
    ("an hour off", on_bus(clock=Clock(3600.0, 0.1, 0.0)), "clock", Level.ERROR, "1h 00m ahead", "NTP"),
    ("account", on_bus(usage=Usage(85, 100, 9, -1, 3, -1)), "storage", Level.WARNING, "85% full", "max_file_store"),
    ("account full", on_bus(usage=Usage(95, 100, 9, -1, 3, -1)), "storage", Level.ERROR, "95% full", "raise"),
    ("log", with_stream("LOG", bytes=81, max_bytes=100), "storage", Level.WARNING, "stream LOG is 81% full",
     "--log-limit"),
    ("long run", replace(WELL, runs=Runs(fullest=95_000)), "storage", Level.WARNING, "longest run", "cancel"),
    ("disk", replace(WELL, disk=Disk("/data", 9 << 30, 1 << 30)), "disk", Level.WARNING, "1.0 GiB", "du"),
    ("no disk", replace(WELL, disk=Disk("/data", 9 << 30, 1 << 20)), "disk", Level.ERROR, "stores nothing", "du"),
    ("role", replace(WELL, identity=Identity("client", "ci")), "credentials", Level.WARNING,
     "credentials of client.ci", "consort access issue operator ci"),
    ("ends", replace(WELL, identity=Identity("operator", "me", NOW + timedelta(hours=2))), "credentials",
     Level.WARNING, "end in 2h 00m", "access issue"),
    ("letter", replace(WELL, letters=Letters(1, 0, 1, (letter(9, "poison"),))), "letters", Level.WARNING,
     "1 message set aside as poison, the newest 1m 00s ago: because", "consort dead show 9"),
    ("letters", replace(WELL, letters=Letters(2, 0, 2, (letter(8, "refused"), letter(9, "refused")))), "letters",
     Level.WARNING, "2 messages set aside as refused", "consort dead list --kind refused"),
    ("unserved", on_bus(consumers=(*shards(30), consumer("agent_writer"))), "orchestrators", Level.WARNING,
     "nobody serves 2 of 32 parts", "consort orchestrator start"),
    ("hangs", replace(WELL, orchestrators=()), "orchestrators", Level.WARNING, "shows no sign of life", "start"),
    ("skew", replace(WELL, orchestrators=(OrchestratorPresence(name="o", instance="i", host="h9", skew=-70),)),
     "orchestrators", Level.WARNING, "orchestrator o on h9 is 1m 10s behind", "h9"),
    ("backlog", with_stream("INBOX", messages=7, oldest=ago(90)), "inbox", Level.WARNING,
     "7 messages in the inbox wait to be judged, the oldest for 1m 30s", "orchestrator start"),
    ("again", on_bus(consumers=(*shards(31), consumer("shard_31", subjects.INBOX, redelivered=2))), "inbox",
     Level.NOTE, "2 messages of the inbox had to be delivered again", ""),
    ("no consumer", replace(WELL, agents=(presence(), presence("other"))), "agents", Level.WARNING,
     "agent other is there and cannot be given tasks", "orchestrator start"),
    ("cards", replace(WELL, agents=(presence(started=1.0), presence(skill="text.read"))), "cards", Level.WARNING,
     "2 processes call themselves writer and offer different skills", "kill -TERM 7"),
    ("versions", replace(WELL, agents=(presence(), presence(version="2"))), "cards", Level.WARNING,
     "show different cards, version 1 and 2", "kill -TERM"),
    ("stranger", on_bus(consumers=(*BUS.consumers, consumer("tap"))), "consumers", Level.NOTE, "tap", "nats consumer"),
    ("skill", replace(WELL, waiting=(Waiter("text.sing", RUN, ago(60)),)), "skills", Level.WARNING,
     "1 run waits for an agent that offers text.sing, since 1m 00s", "NAME: an agent that offers text.sing"),
    ("paused", replace(WELL, pauses={EVERYTHING: PauseMark(by="o", at=NOW.timestamp() - 9, why="fire")}), "pauses",
     Level.NOTE, "everything is paused by o since 9.0 s: fire", "consort resume --all"),
    ("paused agent", replace(WELL, pauses={"writer": PauseMark(by="o", at=NOW.timestamp() - 9)}), "pauses",
     Level.NOTE, "agent writer is paused", "consort resume --agent writer"),
    ("breaker", limited(breaker=Breaker(openings=2, open_until=NOW.timestamp() + 9)), "limits", Level.WARNING,
     "the provider behind k is in trouble: breaker open for 9 s more", "consort limits show k"),
    ("half open", limited(breaker=Breaker(openings=1, open_until=NOW.timestamp() - 9)), "limits", Level.WARNING,
     "breaker half open", "consort limits show k"),
    ("blocked", limited(blocked_until=NOW.timestamp() + 9), "limits", Level.NOTE, "waits 9.0 s more", "limits show"),
    ("long", limited(blocked_until=NOW.timestamp() + 900), "limits", Level.WARNING, "waits 15m 00s more", "limits"),
    ("held back", limited(waiting=(HeldBack(claimant="c", run=RUN, since=NOW.timestamp() - 90, tokens=1, count=3,
     expires=NOW.timestamp() + 9),)), "limits", Level.WARNING, "3 calls held back by the limits of k", "limits show"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "check", "level", "what", "mend"),
    [case[1:] for case in ONE_FINDING],
    ids=[case[0] for case in ONE_FINDING],
)
def test_each_trouble_is_told_with_its_cure(
    facts: Facts, check: str, level: Level, what: str, mend: str
) -> None:
    [finding] = [one for one in trouble(facts) if one.check == check]
    assert finding.level is level
    assert what in finding.what
    assert mend in finding.mend


STUCK: list[tuple[str, dict[str, Any], Level, str, str]] = [
    ("skill", {"tasks": task("waiting", skill="text.sing")}, Level.WARNING,
     "waiting for an agent that offers text.sing, step draft; its last entry is 1m 40s old", "agent start"),
    ("not given out", {"tasks": task("waiting")}, Level.WARNING, "no orchestrator has given it out", "orchestrator"),
    ("absent", {"tasks": task("granted", agent="gone")}, Level.WARNING,
     "given to agent gone, of which no process is there", "agent gone"),
    ("late", {"tasks": task("granted", until=NOW.timestamp() - 99)}, Level.WARNING, "whose time is up", "orchestrator"),
    ("late", {"tasks": task("backoff", until=NOW.timestamp() - 99)}, Level.WARNING, "next attempt that is overdue",
     "orchestrator"),
    ("late", {"tasks": task("stopping", until=NOW.timestamp() - 99)}, Level.WARNING, "has not acknowledged",
     "orchestrator"),
    ("asking", {"doubts": (Doubt("draft", "charge"),)}, Level.WARNING,
     "asking whether effect `charge` of step `draft` happened",
     "consort effects resolve 0123456789ab draft charge --done"),
    ("paused", {"paused_by": "person.ann"}, Level.NOTE, "paused by person.ann", "consort resume 0123456789ab"),
    ("broken", {"broken": "too-new", "broken_at": 3, "why": "schema 9"}, Level.ERROR,
     "unreadable from entry 3 on: it was written by a later version of Consort (schema 9)", "upgrade"),
    ("broken", {"broken": "unreadable", "broken_at": 3, "why": "what"}, Level.ERROR, "no entry that this version",
     "consort log export 0123456789ab"),
    ("nothing", {}, Level.WARNING, "nothing is left to wait for", "consort show 0123456789ab"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "run", "level", "what", "mend"), STUCK)
def test_why_a_run_is_stuck(why: str, run: dict[str, Any], level: Level, what: str, mend: str) -> None:
    [finding] = trouble(with_run(**run))
    assert (finding.check, finding.about["why"], finding.level) == ("runs", why, level)
    assert what in finding.what
    assert mend in finding.mend


def test_a_run_that_is_about_to_lose_its_beginning() -> None:
    day = 86400.0
    kept = with_stream("LOG", max_age=30 * day).bus
    old, older = (
        OpenRun(
            name * 32, NOW.timestamp() - 60, NOW.timestamp() - age * day, tasks=task("granted", until=9e9)
        )
        for name, age in (("a", 24.0), ("b", 29.0))
    )
    young = replace(old, run=RUN, first=NOW.timestamp() - 23.9 * day)

    def with_runs(*found: OpenRun) -> Facts:
        return replace(WELL, bus=kept, runs=Runs(total=9, open=9, looked_at=9, found=found))

    assert trouble(with_runs(young)) == []
    [one] = trouble(with_runs(young, old))
    assert (one.check, one.level, one.about["why"]) == ("runs", Level.WARNING, "ageing")
    assert one.what == (
        "run aaaaaaaaaaaa has been under way for 24d 00h, and the log keeps 30 days: "
        "in 6d 00h its beginning is lost, and it cannot go on"
    )
    assert one.mend == "consort bus setup --keep 60d   # or end it: consort cancel aaaaaaaaaaaa"
    [both] = trouble(with_runs(old, young, older))
    assert both.what.startswith("2 runs, first of all bbbbbbbbbbbb, have been under way for 29d 00h")
    assert [run["run"] for run in both.about["runs"]] == ["b" * 32, "a" * 32]
    assert trouble(replace(with_runs(older), bus=with_stream("LOG").bus)) == []  # kept for ever


def test_a_run_at_work_is_not_stuck_however_old() -> None:
    facts = with_run(tasks=task("granted", until=NOW.timestamp() + 86400))
    assert trouble(replace(facts, now=facts.now + 3600)) == []


def test_runs_that_wait_for_the_same_are_told_of_together() -> None:
    runs = tuple(OpenRun(f"{at:032x}", 0.0, tasks=task("granted", agent="gone")) for at in range(30))
    [finding] = trouble(replace(WELL, runs=Runs(total=30, open=30, looked_at=30, found=runs)))
    assert finding.about["count"] == 30
    assert len(finding.about["runs"]) == 20
    assert finding.what.startswith("30 runs are held up by a task given to agent gone")


def test_what_was_left_out_is_told() -> None:
    [finding] = trouble(replace(WELL, runs=Runs(total=900, open=800, looked_at=200)))
    assert (finding.level, finding.mend) == (Level.NOTE, "consort doctor --all")
    assert "200 of 800 runs under way were looked at" in finding.what


def test_the_runs_that_are_read_are_bounded() -> None:
    """S68: ten thousand runs under way cost no more than a few hundred."""
    left = [Indexed(f"{at:032x}", 3, False, 3) for at in range(10_000)]
    chosen, too_long = choose(left, {left[0].run}, Bounds())
    assert len(chosen) == 200
    assert too_long == []
    assert {left[1], left[9_999], left[2]} <= set(chosen)
    assert left[0] not in chosen  # it is known what that one waits for
    long = [Indexed("a" * 32, 50_000, False, 50_000), *left[:3]]
    chosen, too_long = choose(long, (), Bounds())
    assert [one.run for one in too_long] == ["a" * 32]
    assert set(chosen) == set(left[:3])
    assert len(choose(left, (), Bounds.none())[0]) == 10_000


def test_copies_of_a_cluster() -> None:
    well = stream("LOG", copies=3)
    assert trouble(on_bus(cluster="c", streams={"LOG": well})) == []
    lagging = replace(well, replicas=(Replica("n2", False, False, 9), Replica("n3", False, True, 0)))
    found = trouble(on_bus(cluster="c", streams={"LOG": lagging}))
    assert [one.what for one in found] == [
        "node n2 lags: LOG has a copy less than wanted",
        "node n3 is offline: LOG has a copy less than wanted",
    ]
    [single] = trouble(on_bus(cluster="c", streams={"LOG": stream("LOG")}))
    assert single.mend == "consort bus setup --replicas 3"
    [headless] = trouble(on_bus(cluster="c", streams={"LOG": replace(well, leader="")}))
    assert headless.level is Level.ERROR


GONE = Backlog("writer", consumer("agent_writer", pulls=0), None)
BUSY = Backlog("writer", consumer("agent_writer", pulls=0, pending=3), ago(7200))
OLD = Backlog("writer", consumer("agent_writer", pulls=0, created=ago(30 * 86400)), None)


def test_an_agent_that_is_not_there() -> None:
    others = replace(WELL, agents=(presence("other"),))
    with_other = Backlog("other", consumer("agent_other"), None)
    [note] = trouble(replace(others, backlogs=(GONE, with_other)))
    assert (note.level, note.mend) == (Level.NOTE, "consort agent start writer")
    assert statuses(report(replace(others, backlogs=(GONE, with_other))))["agents"] == "degraded"
    [waits] = trouble(replace(others, backlogs=(BUSY, with_other)))
    assert waits.level is Level.WARNING
    assert "3 tasks given to it may wait for it, the oldest for 2h 00m" in waits.what
    [left_over] = trouble(replace(others, backlogs=(OLD, with_other)))
    assert (left_over.check, left_over.level) == ("consumers", Level.NOTE)


def test_the_health_view_tells_what_stopped() -> None:
    """S34, by facts alone; with real processes in test_cli_doctor."""
    stopped: dict[str, tuple[Facts, str, str]] = {
        "orchestrator": (
            replace(WELL, orchestrators=(), bus=replace(BUS, consumers=shards(0))), "orchestrators", "down",
        ),
        "half the orchestrators": (
            on_bus(consumers=(*shards(16), consumer("agent_writer"))), "orchestrators", "degraded",
        ),
        "agents": (replace(WELL, agents=(), backlogs=(GONE,)), "agents", "down"),
        "context": (replace(WELL, context_read=False), "context", "down"),
        "a stream": (
            on_bus(differences=(topology.Finding("stream ARTEFACTS", "", None, None),)), "channels", "degraded",
        ),
        "the log": (on_bus(differences=(topology.Finding("stream LOG", "", None, None),)), "channels", "down"),
        "rights": (on_bus(unseen=(Unseen("x", "no", denied=True),)), "governance", "degraded"),
    }  # fmt: skip
    for what, (facts, component, status) in stopped.items():
        told = statuses(report(facts))
        assert told.pop(component) == status, what
        assert set(told.values()) == {"healthy"}, (what, told)


def test_nothing_works_without_the_bus() -> None:
    away = unreachable(BusUnreachable("nats://x", "nothing listens there"))
    assert {component.status.value for component in away} == {"down"}
    refused = {
        one.name: one.status.value for one in unreachable(CredentialsRefused("operator.me", "x", "no"))
    }
    assert refused.pop("governance") == "down"
    assert set(refused.values()) == {"unknown"}


def test_commands_are_for_the_bus_that_was_examined() -> None:
    assert Commands("my bus").operator("dead list") == "consort dead list --folder 'my bus'"
    there = Commands(server="nats://b:4222", creds="op.creds")
    assert there.operator("dead list") == "consort dead list --server nats://b:4222 --creds op.creds"
    assert (
        there.provisioner("bus setup") == "consort bus setup --server nats://b:4222 --creds provisioner.creds"
    )
    assert there.agent("writer").startswith(
        "consort agent start FILE.py:NAME --server nats://b:4222 --creds writer.creds"
    )


def test_limits_that_hold_nothing_back_are_well() -> None:
    """A breaker that nobody tried for long tells nothing any more."""
    old = limited(breaker=Breaker(openings=1, open_until=NOW.timestamp() - 3600))
    for facts in (limited(), old):
        assert not [one for one in trouble(facts) if one.check == "limits"]
