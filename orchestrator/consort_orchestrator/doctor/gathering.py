"""Gathering everything that an examination judges, with bounded work.

The subjects of the log tell which runs have not ended without reading any. Of those
only so many are read, the oldest and the newest, and none that is very long, unless
all are asked for. What cannot be had is noted and left out.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from consort_bus import attendance, recorded, subjects
from consort_bus.artefacts import Artefacts
from consort_bus.connection import Bus
from consort_bus.credentials import Credentials
from consort_bus.health import Examination, oldest_pending
from consort_bus.publish import Publisher
from consort_bus.rates import Rates
from consort_bus.reading import last_of
from consort_bus.recorded import Indexed, Recording
from consort_bus.standing import Standing
from consort_bus.subjects import EntrySubject
from consort_bus.wire import Wire
from consort_orchestrator.core import Phase, Role, Run
from consort_orchestrator.doctor.commands import Commands
from consort_orchestrator.doctor.facts import Backlog, Disk, Doubt, Facts, Identity, OpenRun, OpenTask, Runs
from consort_orchestrator.doctor.folding import CannotFold, folding
from consort_shared.entries import ENDED

LOOKED_AT, ENTRIES, LETTERS = 200, 20_000, 200
"""Runs, entries of runs, and dead letters that are read, unless all are asked for."""
AT_ONCE = 8
BACKLOGS = 50
"""Agents without a process for which it is found out since when tasks wait."""
PATIENCE = 3.0

Offering = Callable[[set[str]], Awaitable[Mapping[str, str]]]
"""From skills that are missed to the installed agents that offer them."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is read at most."""

    runs: int = LOOKED_AT
    entries: int = ENTRIES
    letters: int = LETTERS

    @classmethod
    def none(cls) -> Bounds:
        return cls(1 << 40, 1 << 40, 1 << 40)


async def gather(
    bus: Bus,
    credentials: Credentials,
    at: Commands,
    bounds: Bounds,
    *,
    folder: Path | None = None,
    silent: tuple[str, ...] = (),
    offering: Offering | None = None,
) -> Facts:
    """Everything about a bus. Never raises BusError.

    `folder` is that of a bus of this machine, `silent` has its nodes that do not run.
    """
    look = Examination(bus)
    async with Wire(bus.nc, bus) as wire:
        health = await look.bus()
        facts = Facts(
            at=at,
            now=health.clock.now if health.clock is not None else time.time(),
            identity=Identity(credentials.role, credentials.name, credentials.expires),
            bus=health,
            silent=silent,
            disk=None if folder is None else await asyncio.to_thread(_disk, folder),
        )
        facts = await _attending(look, wire, facts)
        if health.there(subjects.DEAD):
            letters = await look.part(
                "dead letters", attendance.letters_kept(bus, wire, bounds.letters), None
            )
            facts = replace(facts, letters=letters)
        if health.there(subjects.CONTEXT):
            facts = replace(facts, context_read=await look.part("the shared context", _context(wire), False))
        if health.there(subjects.RATES):
            rates = Rates(wire, Publisher(wire)).all()
            facts = replace(facts, rates=await look.part("shared limits", rates, None))
        if health.there(subjects.LOG):
            runs = await look.part("runs", _runs(bus, wire, facts, bounds), None)
            facts = replace(facts, runs=runs, backlogs=await _backlogs(look, wire, facts))
    missed = {one.skill for one in facts.waiting} - facts.skills
    if missed and offering is not None:
        facts = replace(facts, offered=await offering(missed))
    return replace(facts, bus=replace(health, unseen=tuple(look.unseen)))


async def _attending(look: Examination, wire: Wire, facts: Facts) -> Facts:
    """Who is there and what was put down, as far as the buckets for it exist."""
    there = facts.bus.there
    if there(subjects.AGENTS):
        found = await look.part("agents", attendance.agents_there(wire), None)
        facts = replace(facts, agents=None if found is None else tuple(found))
    if there(subjects.CONTROL):
        orchestrators = await look.part("orchestrators", attendance.orchestrators_there(wire), None)
        pauses = await look.part("pauses", attendance.pauses_on(wire), {})
        known = None if orchestrators is None else tuple(orchestrators)
        facts = replace(facts, orchestrators=known, pauses=pauses)
    if there(subjects.WAITING):
        waiting = await look.part("the waiting list", attendance.waiting_list(wire), [])
        facts = replace(facts, waiting=tuple(waiting))
    return facts


async def _context(wire: Wire) -> bool:
    await last_of(wire, subjects.CONTEXT, [subjects.run_context("0" * 32)], patience=PATIENCE)
    return True


async def _backlogs(look: Examination, wire: Wire, facts: Facts) -> tuple[Backlog, ...]:
    """The agents' consumers; for some of those that nobody serves, since when tasks wait there."""
    found: list[Backlog] = []
    asked = 0
    for consumer in facts.bus.consumers:
        agent = subjects.agent_of_consumer(consumer.name) if consumer.stream == subjects.LOG else None
        if agent is None:
            continue
        since = None
        if consumer.pending and agent not in facts.names and asked < BACKLOGS:
            asked += 1
            since = await look.part(f"what waits for agent {agent}", oldest_pending(wire, consumer), None)
        found.append(Backlog(agent, consumer, since))
    return tuple(found)


# --- runs


async def _runs(bus: Bus, wire: Wire, facts: Facts, bounds: Bounds) -> Runs:
    index = await recorded.run_index(bus)
    left = await under_way(wire, index, bounds.runs)
    waiting = {one.run for one in facts.waiting}
    chosen, too_long = choose(left, waiting, bounds)
    artefacts = Artefacts(wire, bus.identity)
    slots = asyncio.Semaphore(AT_ONCE)

    async def look(one: Indexed) -> OpenRun | None:
        async with slots:
            return standing(await recorded.recording(wire, artefacts, one.run))

    found = await asyncio.gather(*map(look, chosen))
    return Runs(
        total=len(index),
        open=len(left),
        looked_at=len(chosen),
        too_long=tuple(one.run for one in too_long),
        found=tuple(one for one in found if one is not None),
        fullest=max((one.most for one in index), default=0),
    )


async def under_way(wire: Wire, index: Sequence[Indexed], newest: int) -> list[Indexed]:
    """The runs that have not ended, in the order of their ids. Raises BusError.

    One that ended may have been taken up again: that is looked for among so many of the newest that ended,
    and some of those told here may have ended after all.
    """
    slots = asyncio.Semaphore(AT_ONCE)

    async def goes_on(one: Indexed) -> bool:
        async with slots:
            stored = await recorded.latest(wire, one.run)
        where = EntrySubject.parse(stored.subject) if stored is not None else None
        return where is not None and where.kind != ENDED

    ended = [one for one in index if one.ended][-newest:]
    again = await asyncio.gather(*map(goes_on, ended))
    on = {one.run for one, goes in zip(ended, again, strict=True) if goes}
    return [one for one in index if not one.ended or one.run in on]


def choose(
    left: Sequence[Indexed], waiting: Iterable[str], bounds: Bounds
) -> tuple[list[Indexed], list[Indexed]]:
    """Which of the runs under way to read, and which are too long for that.

    First those that are not on the waiting list, for of the others it is known already what they wait
    for; of either kind the oldest and the newest alternate.
    """
    known = set(waiting)
    ordered = _ends([one for one in left if one.run not in known]) + _ends(
        [one for one in left if one.run in known]
    )
    chosen: list[Indexed] = []
    too_long: list[Indexed] = []
    entries = 0
    for one in ordered:
        if len(chosen) >= bounds.runs:
            break
        if entries + one.entries > bounds.entries:
            too_long.append(one)
            continue
        entries += one.entries
        chosen.append(one)
    return chosen, too_long


def _ends(runs: Sequence[Indexed]) -> list[Indexed]:
    """From both ends inward: oldest, newest, second oldest, …"""
    half = (len(runs) + 1) // 2
    order: list[Indexed] = []
    for at in range(half):
        order.append(runs[at])
        if at != len(runs) - 1 - at:
            order.append(runs[len(runs) - 1 - at])
    return order


def standing(recording: Recording) -> OpenRun | None:
    """Where a run stands by its entries; None if it has ended after all, or there is nothing of it."""
    if not recording.entries:
        return None
    run, told = Run(recording.run), Standing()
    oldest, newest = recording.entries[0].time, recording.entries[-1].time
    first = oldest.timestamp() if oldest is not None else 0.0
    last = newest.timestamp() if newest is not None else 0.0
    try:
        for folded in folding(run, recording.entries):
            told.take(folded.entry.facts)
    except CannotFold as exc:
        return OpenRun(recording.run, last, first, broken=exc.reason, broken_at=exc.at + 1, why=exc.why)
    if run.finished is not None:
        return None
    return OpenRun(
        recording.run,
        last,
        first,
        tasks=tuple(_tasks(run)),
        doubts=tuple(Doubt(path, key) for path, keys in told.doubts.items() for key in keys),
        paused_by=told.paused.by if told.paused is not None else "",
        ending=told.ending.state if told.ending is not None else "",
    )


def _tasks(run: Run) -> Iterable[OpenTask]:
    for node in run.nodes.values():
        if node.phase.ended or node.phase is Phase.PENDING or node.role is not Role.TASK:
            continue
        skill = run.waiting.get(node.path) or (node.spec.step.skill if node.spec is not None else None) or ""
        agent = node.agent if node.phase is not Phase.WAITING else ""
        yield OpenTask(node.path, node.phase.value, agent, skill, run.due.get(node.path, 0.0))


def _disk(folder: Path) -> Disk | None:
    try:
        found = shutil.disk_usage(folder)
    except OSError:
        return None
    return Disk(str(folder), found.total, found.free)
