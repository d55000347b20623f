"""Checks of who is at work: orchestrators and agents, what they offer and what waits for them.

Pure: facts in, findings out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from consort_bus import subjects
from consort_bus.attendance import EVERYTHING
from consort_orchestrator.cli.wording import counted, listed, one_line, span
from consort_orchestrator.doctor.channels import SKEW_WARNED
from consort_orchestrator.doctor.facts import Backlog, Facts
from consort_orchestrator.doctor.findings import Finding, Level
from consort_shared.card import Presence

BACKLOG_AGE = 30.0
"""Seconds that a message may wait to be judged."""
SHOWN = 20
"""Runs that are named in one finding."""
ABANDONED = 7 * 86400.0
"""Seconds without use after which a consumer with nothing in it is taken to be left over."""


def processes(facts: Facts) -> Iterator[Finding]:
    """All findings about orchestrators and agents."""
    yield from orchestrators(facts)
    yield from inbox(facts)
    yield from agents(facts)
    yield from cards(facts)
    yield from consumers(facts)
    yield from skills(facts)
    yield from pauses(facts)


def orchestrators(facts: Facts) -> Iterator[Finding]:
    there, (served, parts) = facts.orchestrators or (), facts.served()
    start = facts.at.orchestrator()
    if not parts:
        return  # the inbox itself is missing or unseen, which is told of elsewhere
    if not there and not served:
        yield Finding(
            "orchestrators",
            Level.ERROR,
            "no orchestrator is at work: no run goes on",
            start,
            {"parts": parts},
        )
        return
    about = {
        "orchestrators": [one.model_dump(mode="json") for one in there],
        "served": served,
        "parts": parts,
    }
    if served < parts:
        what = f"nobody serves {parts - served} of {parts} parts of the inbox: the runs in them stand still"
        yield Finding("orchestrators", Level.WARNING, what, start, about)
    elif there:
        who = listed([one.name for one in there])
        yield Finding(
            "orchestrators", Level.OK, f"{counted(len(there), 'orchestrator')} at work: {who}", about=about
        )
    else:
        what = "an orchestrator has hold of the inbox and shows no sign of life: it hangs, or is of an earlier version"
        yield Finding("orchestrators", Level.WARNING, what, start, about)
    yield from _out_of_step(facts)


def _out_of_step(facts: Facts) -> Iterator[Finding]:
    there = facts.orchestrators or ()
    for one in there:
        if abs(one.skew) >= SKEW_WARNED:
            way = "ahead of" if one.skew > 0 else "behind"
            what = (
                f"the clock of orchestrator {one.name} on {one.host} is {span(abs(one.skew))} {way} the bus's"
            )
            mend = f"set the clock of {one.host} by NTP: timedatectl set-ntp true"
            yield Finding("orchestrators", Level.WARNING, what, mend, {"name": one.name, "skew": one.skew})
    versions = sorted({one.version for one in there})
    if len(versions) > 1:
        what = (
            f"orchestrators of versions {listed(versions)} are at work: well during an upgrade, not for long"
        )
        yield Finding("orchestrators", Level.NOTE, what, about={"versions": versions})


def inbox(facts: Facts) -> Iterator[Finding]:
    stream = facts.bus.streams.get(subjects.INBOX)
    if stream is None:
        return
    redelivered = sum(one.redelivered for one in facts.bus.consumers if one.stream == subjects.INBOX)
    age = facts.now - stream.oldest.timestamp() if stream.oldest is not None else 0.0
    about = {"messages": stream.messages, "oldest": age, "redelivered": redelivered}
    told = f"{counted(stream.messages, 'message')} in the inbox wait to be judged"
    if age > BACKLOG_AGE:
        what = f"{told}, the oldest for {span(age)}"
        yield Finding("inbox", Level.WARNING, what, facts.at.orchestrator(), about)
    elif redelivered:
        told = f"{counted(redelivered, 'message')} of the inbox had to be delivered again"
        what = f"{told}: judging them failed or took long"
        yield Finding("inbox", Level.NOTE, what, about=about)
    else:
        yield Finding("inbox", Level.OK, told if stream.messages else "the inbox is empty", about=about)


def agents(facts: Facts) -> Iterator[Finding]:
    """Who is there, who is not although something waits, who is there and cannot be given anything."""
    if facts.agents is None:
        return
    known = {one.agent for one in facts.backlogs}
    about = {"there": sorted(facts.names), "known": sorted(known)}
    if not facts.names:
        what = "no agent is there: no step can be done"
        mend = facts.at.agent(min(known)) if known else facts.at.any_agent()
        yield Finding("agents", Level.ERROR, what, mend, about)
    else:
        processes_there = "process" if len(facts.agents) == 1 else "processes"
        what = f"{counted(len(facts.names), 'agent')} there with {len(facts.agents)} {processes_there}"
        yield Finding("agents", Level.OK, f"{what}: {listed(sorted(facts.names))}", about=about)
    for one in facts.backlogs:
        if one.agent not in facts.names:
            yield _absent(facts, one)
    if facts.backlogs or facts.bus.there(subjects.LOG):
        for name in sorted(facts.names - known):
            what = f"agent {name} is there and cannot be given tasks: no orchestrator has made it a consumer"
            yield Finding("agents", Level.WARNING, what, facts.at.orchestrator(), {"agent": name})


def _absent(facts: Facts, one: Backlog) -> Finding:
    consumer, start = one.consumer, facts.at.agent(one.agent)
    about = {"agent": one.agent, "pending": consumer.pending, "in_hand": consumer.in_hand}
    if consumer.pending or consumer.in_hand:
        left = f"{counted(consumer.pending + consumer.in_hand, 'task')} given to it"
        since = f", the oldest for {span(facts.now - one.since.timestamp())}" if one.since is not None else ""
        what = f"no process of agent {one.agent} is there, and {left} may wait for it{since}"
        return Finding("agents", Level.WARNING, what, start, about)
    used = max((at.timestamp() for at in (consumer.active, consumer.created) if at is not None), default=0.0)
    idle = facts.now - used
    if idle > ABANDONED:
        what = f"agent {one.agent} was not there for {span(idle)}: orchestrators will remove its consumer"
        return Finding("consumers", Level.NOTE, what, about=about)
    what = f"no process of agent {one.agent} is there; nothing waits for it"
    return Finding("agents", Level.NOTE, what, start, {**about, "gone": True})


def cards(facts: Facts) -> Iterator[Finding]:
    """Agents whose processes do not show the same card."""
    shown: dict[str, list[Presence]] = defaultdict(list)
    for one in facts.agents or ():
        shown[one.card.name].append(one)
    for name, presences in shown.items():
        different = list({one.card.model_dump_json(): one for one in presences}.values())
        if len(different) < 2:
            continue
        first = different[0].card
        skills = {frozenset(skill.name for skill in one.card.skills) for one in different}
        versions = sorted({one.card.version for one in different})
        how = (
            "offer different skills"
            if len(skills) > 1
            else f"show different cards, version {listed(versions)}"
        )
        older = min(presences, key=lambda one: one.started)
        what = f"{len(presences)} processes call themselves {name} and {how}: a task may go to either"
        mend = f"kill -TERM {older.pid}   # on {older.host}: the one started first"
        processes_of = [
            {"pid": one.pid, "host": one.host, "instance": one.instance, "version": one.card.version}
            for one in presences
        ]
        about = {"agent": name, "processes": processes_of, "skills": [skill.name for skill in first.skills]}
        yield Finding("cards", Level.WARNING, what, mend, about)


def consumers(facts: Facts) -> Iterator[Finding]:
    """Consumers that are neither an agent's nor a part of the inbox: nobody but a stranger makes those."""
    for one in facts.bus.consumers:
        agents_own = one.stream == subjects.LOG and subjects.agent_of_consumer(one.name) is not None
        part = one.stream == subjects.INBOX and one.name.startswith("shard_")
        if agents_own or part:
            continue
        what = f"consumer {one.name} of stream {one.stream} is none of Consort's"
        mend = f"nats consumer rm {one.stream} {one.name}   # with the provisioner's credentials, if it is not yours"
        yield Finding("consumers", Level.NOTE, what, mend, {"stream": one.stream, "consumer": one.name})


def skills(facts: Facts) -> Iterator[Finding]:
    """Skills that runs wait for and nobody offers."""
    wanted: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for one in facts.waiting:
        wanted[one.skill].append((one.since.timestamp(), one.run))
    for skill, waiters in sorted(wanted.items()):
        if skill in facts.skills:
            continue
        waiters.sort()
        since, runs = waiters[0][0], [run for _, run in waiters]
        waits = f"{counted(len(runs), 'run')} {'waits' if len(runs) == 1 else 'wait'}"
        what = f"{waits} for an agent that offers {skill}, since {span(facts.now - since)}"
        agent = facts.offered.get(skill)
        about = {"skill": skill, "runs": runs[:SHOWN], "count": len(runs), "since": since, "agent": agent}
        yield Finding("skills", Level.WARNING, what, facts.at.agent_for(skill, agent), about)


def pauses(facts: Facts) -> Iterator[Finding]:
    """Agents that are paused, or all of them."""
    for agent, mark in sorted(facts.pauses.items()):
        whom = "everything" if agent == EVERYTHING else f"agent {agent}"
        why = f": {one_line(mark.why)}" if mark.why else ""
        what = f"{whom} is paused by {mark.by} since {span(facts.now - mark.at)}{why}"
        mend = facts.at.operator("resume --all" if agent == EVERYTHING else f"resume --agent {agent}")
        yield Finding(
            "pauses", Level.NOTE, what, mend, {"agent": agent or None, "by": mark.by, "at": mark.at}
        )
