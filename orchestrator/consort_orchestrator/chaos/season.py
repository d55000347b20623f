"""A chaos run from its options to its report: storms, heals and checks, seed after seed.

One system serves all seeds. For each, runs are handed in, faults strike until all
are, then the faults run out and every run must end; then what is stored is read
anew and checked. The first seed in which something is violated is the last.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from consort_bus.errors import BusError
from consort_orchestrator.chaos.invariants import Handed, check, differences, states_of
from consort_orchestrator.chaos.ledger import twice
from consort_orchestrator.chaos.options import Options
from consort_orchestrator.chaos.progress import longest_pause, recoveries
from consort_orchestrator.chaos.report import Report, SeedReport
from consort_orchestrator.chaos.schedule import Fault, Field, schedule
from consort_orchestrator.chaos.shapes import Job, jobs
from consort_orchestrator.chaos.site import NotReady, Site, site
from consort_shared.ids import new_run_id

LAUNCHER = (sys.executable, "-m")
SETTLE = 0.2
"""Seconds of silence after the last run has ended before what is stored is checked."""
AGAIN = 0.2
LONGEST_PACE, SPREAD = 0.3, 0.75
"""Seconds between two runs at most, and over how much of the storm they are spread."""
Tell = Callable[[str], None]


@dataclass(slots=True)
class _Weather:
    """One round of runs, with faults or without."""

    handed: dict[int, Handed] = field(default_factory=dict)
    """by the number of the job"""
    under_way: set[asyncio.Task[None]] = field(default_factory=set)


async def run_chaos(
    options: Options, *, launcher: Sequence[str] = LAUNCHER, tell: Tell = lambda _: None
) -> Report:
    """Do it all; what was found. `launcher` is the command that is given a module to run as a process.

    Raises ConsortError when the system does not even come up.
    """
    folder = (
        Path(tempfile.mkdtemp(prefix="consort-chaos-")) if options.keep is None else options.keep.absolute()
    )
    report = Report(options, time.time(), folder, kept=options.keep is not None)
    began = time.monotonic()
    try:
        async with site(folder, options, launcher) as there:
            report.left_out = there.left_out
            nodes = f"{options.nodes} bus node{'s' if options.nodes > 1 else ''}"
            tell(f"the system is up: {nodes}, in {folder}")
            for seed in range(options.seed, options.seed + options.seeds):
                if options.time is not None and report.seeds and time.monotonic() - began > options.time:
                    break
                done = await _one_seed(there, options, seed, began)
                report.seeds.append(done)
                tell(_line(done))
                if done.violations or done.lost:
                    break
            report.surprises = tuple(there.processes.surprises)
            report.seconds = time.monotonic() - began
            report.kept = report.kept or not report.clean
    except NotReady:
        report.kept = True  # its logs are all there is to tell why
        raise
    finally:
        if not report.kept:
            shutil.rmtree(folder, ignore_errors=True)
    return report


def _line(done: SeedReport) -> str:
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(done.faults.items()))
    found = f"{len(done.violations)} violations" if done.violations else "all well"
    return f"seed {done.seed}: {done.runs} runs, {faults or 'no faults'}, {done.seconds:.1f} s: {found}"


async def _one_seed(there: Site, options: Options, seed: int, began: float) -> SeedReport:
    start, first_seq = time.monotonic(), there.follower.next_seq
    faults_before, answers_before = len(there.injector.done), there.person.answers
    work = _jobs(options, seed)
    faults = schedule(seed, options.faults, _field(there, options), options.every)
    stormy = await _round(there, options, work, faults, began)
    calm = await _round(there, options, work, iter(()), None) if options.compare else _Weather()
    history = await there.reader.whole(first_seq)
    handed = [*stormy.handed.values(), *calm.handed.values()]
    mine = {one.run for one in handed}
    done = [one for one in there.ledger.lines() if one.run in mine]
    violations, lost = check(handed, history, there.follower.history, done)
    if options.compare:
        violations += differences(stormy.handed, calm.handed, history, done)
    for run in mine:
        there.follower.history.pop(run, None)  # what was checked is not needed again
    injected = there.injector.done[faults_before:]
    struck = list(stormy.handed.values())
    return SeedReport(
        seed=seed,
        runs=len(handed),
        states=states_of(handed, history),
        entries=sum(len(history.get(run, ())) for run in mine),
        effects=len(done),
        doubts=there.person.answers - answers_before,
        lost=lost,
        duplicated_effects=sum(times - 1 for _, times in twice(done)),
        violations=tuple(replace(violation, seed=seed) for violation in violations),
        faults=Counter(one.fault.kind for one in injected),
        longest_pause=longest_pause(struck, history),
        recoveries=tuple(recoveries(injected, {one.run: history.get(one.run, []) for one in struck})),
        seconds=time.monotonic() - start,
    )


def _jobs(options: Options, seed: int) -> list[Job]:
    own = options.own
    if own is None:
        return jobs(seed, options.shapes, options.runs)
    return [Job(own.plan.name, own.plan, own.inputs, None) for _ in range(options.runs)]


def _field(there: Site, options: Options) -> Field:
    return Field(options.nodes, options.orchestrators, len(there.processes.of("agent")))


async def _round(
    there: Site, options: Options, work: Sequence[Job], faults: Iterator[Fault], began: float | None
) -> _Weather:
    """Hand in runs while faults strike, then let the faults run out and wait for every run to end.

    `began` is what the time limit counts from; None for a round without one, and without faults.
    """
    weather = _Weather()
    loop = asyncio.get_running_loop()
    storm_over = loop.time() + (options.storm if began is not None and options.faults else 0.0)
    limit = None if began is None or options.time is None else began + options.time
    try:
        async with there.injector.storm(faults):
            await _hand_in(there, options, work, weather, limit)
            await asyncio.sleep(max(0.0, storm_over - loop.time()))
        if weather.under_way:
            await asyncio.wait(weather.under_way, timeout=options.heal)
        await _silence(there)
    finally:
        for task in weather.under_way:
            task.cancel()
        await asyncio.gather(*weather.under_way, return_exceptions=True)
    return weather


async def _hand_in(
    there: Site, options: Options, work: Sequence[Job], weather: _Weather, limit: float | None
) -> None:
    """All of it, with no more under way than wanted; stops when nothing ends any more, or the time is up.

    Few runs are spread over the storm, so that there is something to strike at all the time.
    """
    pace = min(LONGEST_PACE, options.storm * SPREAD / len(work)) if options.faults else 0.0
    for number, job in enumerate(work):
        await asyncio.sleep(pace)
        if limit is not None and time.monotonic() > limit:
            return
        while len(weather.under_way) >= options.in_flight:
            ended, _ = await asyncio.wait(
                weather.under_way, timeout=options.heal, return_when=asyncio.FIRST_COMPLETED
            )
            if not ended:
                return
        task = asyncio.create_task(_pursue(there, number, job, weather))
        weather.under_way.add(task)
        task.add_done_callback(weather.under_way.discard)


async def _pursue(there: Site, number: int, job: Job, weather: _Weather) -> None:
    """Hand in a run, do to it what is to be done, and wait for its end."""
    run = new_run_id()
    weather.handed[number] = Handed(run, job, None)
    await _insist(lambda: there.client.submit(job.plan, job.inputs, run=run))
    weather.handed[number] = Handed(run, job, time.time())
    waited = 0.0
    for act in job.acts:
        await asyncio.sleep(act.after - waited)
        waited = act.after
        match act.what:
            case "cancel":
                await _insist(lambda: there.client.cancel(run))
            case "pause":
                await _insist(lambda: there.client.pause(run))
            case "resume":
                await _insist(lambda: there.client.resume(run))
            case _:
                raise ValueError(f"a client cannot {act.what} a run")
    while run not in there.follower.ended:
        await there.follower.until(lambda: run in there.follower.ended, 60.0)


async def _insist(say: Callable[[], Awaitable[object]]) -> None:
    """Until the bus has it. Saying it twice does no harm."""
    while True:
        try:
            await say()
        except BusError:
            await asyncio.sleep(AGAIN)
        else:
            return


async def _silence(there: Site) -> None:
    """Waits until nothing new is stored for a moment."""
    for _ in range(50):
        before = there.follower.next_seq
        if not await there.follower.until(partial(_has_moved, there, before), SETTLE):
            return


def _has_moved(there: Site, before: int) -> bool:
    return there.follower.next_seq > before
