"""Checks of the runs that have not ended: which of them stand still, and why.

A run is not stuck because it is old: a task may take a day. It is stuck when what it
waits for will not come by itself. Pure: facts in, findings out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from consort_bus import subjects
from consort_bus.attendance import EVERYTHING
from consort_bus.standing import UNDO
from consort_orchestrator.cli.wording import counted, span
from consort_orchestrator.doctor.facts import Facts, OpenRun, OpenTask
from consort_orchestrator.doctor.findings import Finding, Level
from consort_orchestrator.doctor.folding import REASONS

LATE = 30.0
"""Seconds after which something that was due should have happened."""
AGEING = 0.8
"""The part of the log's age from which on a run under way is told of."""
SHOWN = 20
"""Runs that are named in one finding."""
SHORT = 12
"""Digits of a run's id that name it."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a run stands still. Runs with the same `kind` and `key` are told of together."""

    kind: str
    key: str
    level: Level
    what: str
    """what follows `run 0123 is` and `3 runs are`"""
    mend: str
    step: str = ""


@dataclass(slots=True)
class _Together:
    reason: Reason
    runs: list[tuple[float, str, str]] = field(default_factory=list)
    """since when nothing was stored, the run, the step"""


def runs(facts: Facts) -> Iterator[Finding]:
    """All findings about runs that have not ended."""
    seen = facts.runs
    if seen is None:
        return
    groups: dict[tuple[str, str], _Together] = {}
    for run in seen.found:
        for reason in reasons(facts, run):
            group = groups.setdefault((reason.kind, reason.key), _Together(reason))
            group.runs.append((run.last, run.run, reason.step))
    for group in groups.values():
        yield _told(facts, group)
    yield from _ageing(facts)
    yield from _not_seen(facts)
    if not groups:
        what = (
            f"{counted(seen.open, 'run')} under way, none of them stuck"
            if seen.open
            else "no run is under way"
        )
        yield Finding("runs", Level.OK, what, about={"open": seen.open, "total": seen.total})


def reasons(facts: Facts, run: OpenRun) -> list[Reason]:
    """Why a run stands still; none when it is at work, or about to be."""
    short = run.run[:SHORT]
    if run.broken is not None:
        mend = (
            facts.at.operator(f"log export {short} --out {short}.jsonl") + f" && consort replay {short}.jsonl"
        )
        if run.broken == "too-new":
            mend = "pip install --upgrade consort-agents   # wherever orchestrators run"
        why = f"unreadable from entry {run.broken_at} on: {REASONS[run.broken]} ({run.why})"
        return [Reason("broken", f"{run.broken} {run.why}", Level.ERROR, why, mend)]
    if run.paused_by:
        mend = facts.at.operator(f"resume {short}")
        paused = Reason("paused", run.paused_by, Level.NOTE, f"paused by {run.paused_by}", mend)
        return [paused, *(_doubtful(facts, run, doubt.path, doubt.key) for doubt in run.doubts)]
    found = [_doubtful(facts, run, doubt.path, doubt.key) for doubt in run.doubts]
    found += [reason for task in run.tasks if (reason := _waits(facts, run, task)) is not None]
    if not found and not run.tasks and not run.doubts and facts.now - run.last > LATE:
        mend = facts.at.operator(f"show {short}")
        found.append(
            Reason("nothing", "", Level.WARNING, "not ended although nothing is left to wait for", mend)
        )
    return found


def _doubtful(facts: Facts, run: OpenRun, path: str, key: str) -> Reason:
    mend = (
        facts.at.operator(f"effects resolve {run.run[:SHORT]} {path} {key} --done")
        + "   # or --redo: it did not happen"
    )
    what = f"asking whether effect `{key}` of step `{path}` happened: a person has to say so"
    return Reason("asking", f"{path} {key}", Level.WARNING, what, mend, path)


def _waits(facts: Facts, run: OpenRun, task: OpenTask) -> Reason | None:
    match task.phase:
        case "waiting":
            return _for_a_skill(facts, run, task)
        case "granted":
            return _for_an_agent(facts, run, task)
        case "stopping":
            return _late(facts, run, task, f"being stopped, and agent {task.agent} has not acknowledged it")
        case "backoff":
            return _late(facts, run, task, "held up by a next attempt that is overdue")
        case _:
            return None


def _for_a_skill(facts: Facts, run: OpenRun, task: OpenTask) -> Reason | None:
    if task.skill not in facts.skills:
        mend = facts.at.agent_for(task.skill, facts.offered.get(task.skill))
        if task.path.endswith(UNDO):
            mend += "   # or undo nothing more: " + facts.at.operator(f"cancel {run.run[:SHORT]} --force")
        what = f"waiting for an agent that offers {task.skill}"
        return Reason("skill", task.skill, Level.WARNING, what, mend, task.path)
    if EVERYTHING in facts.pauses:
        mend = facts.at.operator("resume --all")
        return Reason(
            "paused", EVERYTHING, Level.NOTE, "waiting because everything is paused", mend, task.path
        )
    by = {
        one.card.name for one in facts.agents or () if task.skill in {skill.name for skill in one.card.skills}
    }
    if by <= facts.pauses.keys():
        name = min(by)
        mend = facts.at.operator(f"resume --agent {name}")
        return Reason(
            "paused",
            name,
            Level.NOTE,
            f"waiting for {task.skill}, and agent {name} is paused",
            mend,
            task.path,
        )
    if facts.now - run.last > LATE:
        what = f"waiting for {task.skill}, which {min(by)} offers: no orchestrator has given it out"
        return Reason("not given out", task.skill, Level.WARNING, what, facts.at.orchestrator(), task.path)
    return None


def _for_an_agent(facts: Facts, run: OpenRun, task: OpenTask) -> Reason | None:
    if facts.agents is not None and task.agent not in facts.names:
        what = f"held up by a task given to agent {task.agent}, of which no process is there"
        return Reason("absent", task.agent, Level.WARNING, what, facts.at.agent(task.agent), task.path)
    for name in (task.agent, EVERYTHING):
        if name in facts.pauses:
            whom, words = (f"agent {name} is", f"--agent {name}") if name else ("everything is", "--all")
            mend = facts.at.operator(f"resume {words}")
            what = f"held up by a task at agent {task.agent}, while {whom} paused"
            return Reason("paused", name, Level.NOTE, what, mend, task.path)
    return _late(facts, run, task, f"held up by a task at agent {task.agent} whose time is up")


def _late(facts: Facts, run: OpenRun, task: OpenTask, what: str) -> Reason | None:
    """Something that a timer should have ended: the timer, or whoever judges it, does not work."""
    if not task.until or facts.now - task.until < LATE:
        return None
    return Reason(
        "late", f"{task.phase} {task.agent}", Level.WARNING, what, facts.at.orchestrator(), task.path
    )


def _told(facts: Facts, group: _Together) -> Finding:
    reason, number = group.reason, len(group.runs)
    group.runs.sort()
    since, first, step = group.runs[0]
    if number == 1:
        at = f", step {step}" if step else ""
        what = f"run {first[:SHORT]} is {reason.what}{at}; its last entry is {span(facts.now - since)} old"
    else:
        oldest = f"the last entry of the oldest, {first[:SHORT]}, is {span(facts.now - since)} old"
        what = f"{number} runs are {reason.what}; {oldest}"
    about = {
        "why": reason.kind,
        "key": reason.key,
        "count": number,
        "runs": [{"run": run, "step": where, "last": last} for last, run, where in group.runs[:SHOWN]],
    }
    return Finding("runs", reason.level, what, reason.mend, about)


def _ageing(facts: Facts) -> Iterator[Finding]:
    """Runs whose first entries are soon older than the log keeps: without its beginning none of them goes on."""
    seen, log = facts.runs, facts.bus.streams.get(subjects.LOG)
    assert seen is not None
    if log is None or not log.max_age:
        return
    old = [run for run in seen.found if run.first and facts.now - run.first >= AGEING * log.max_age]
    old.sort(key=lambda run: run.first)
    if not old:
        return
    first, left = old[0], max(log.max_age - (facts.now - old[0].first), 0)
    short, days = first.run[:SHORT], log.max_age / 86400
    which = f"run {short} has" if len(old) == 1 else f"{len(old)} runs, first of all {short}, have"
    what = (
        f"{which} been under way for {span(facts.now - first.first)}, and the log keeps {days:g} days: "
        f"in {span(left)} its beginning is lost, and it cannot go on"
    )
    mend = facts.at.provisioner(f"bus setup --keep {math.ceil(2 * days)}d")
    mend += "   # or end it: " + facts.at.operator(f"cancel {short}")
    about = {
        "why": "ageing",
        "count": len(old),
        "kept": log.max_age,
        "runs": [{"run": run.run, "first": run.first} for run in old[:SHOWN]],
    }
    yield Finding("runs", Level.WARNING, what, mend, about)


def _not_seen(facts: Facts) -> Iterator[Finding]:
    """What the bounds of an examination left out, so that nobody takes it for well."""
    seen = facts.runs
    assert seen is not None
    left = seen.open - seen.looked_at
    if left > 0:
        what = f"{seen.looked_at} of {seen.open} runs under way were looked at, the oldest and the newest of them"
        about = {"looked_at": seen.looked_at, "open": seen.open, "too_long": list(seen.too_long[:SHOWN])}
        yield Finding("runs", Level.NOTE, what, facts.at.operator("doctor --all"), about)
