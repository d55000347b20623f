"""What must hold of every run whatever was done to the system, checked over what is stored.

Shares no code with the orchestrator: it walks through the facts of a run with a few
rules of its own. It only tells what is wrong; it never raises over a broken log.

    I1  a run ends once, and nothing but notes follows its end
    I2  a step counts once, with the result of the attempt granted last, and begins after what it needs
    I3  every acknowledged submission is on the log, as it was handed in
    I4  an effect happens at most once, and in a completed run exactly once
    I5  every run ends once the faults are over
    I7  the entries of a run are one chain without gap or fork, and orchestrators wrote them
    result   a run ends as its inputs say
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from consort_orchestrator.chaos.history import History, Record
from consort_orchestrator.chaos.ledger import Done, twice
from consort_orchestrator.chaos.replay import Replay
from consort_orchestrator.chaos.shapes import Job
from consort_shared.entries import Entry, Finished, Refused, Reopened, Submitted
from consort_shared.values import Json

TOO_LATE = ("granted", "accepted", "finished", "failure", "opened", "closed", "effect-begun")
"""Facts that cannot follow a run's end."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be; `entries` are the numbers of the entries that show it."""

    invariant: str
    run: str
    what: str
    step: str = ""
    entries: tuple[int, ...] = ()
    seed: int = 0

    def __str__(self) -> str:
        where = f" step {self.step}" if self.step else ""
        shown = f" (entries {', '.join(map(str, self.entries))})" if self.entries else ""
        return f"{self.invariant}: run {self.run}{where}: {self.what}{shown}"


@dataclass(frozen=True, slots=True)
class Handed:
    """A run that was handed in. `acknowledged` is when the bus had stored it, None if it never said so."""

    run: str
    job: Job
    acknowledged: float | None


def check(
    handed: Sequence[Handed], history: History, seen: History, done: Sequence[Done]
) -> tuple[list[Violation], int]:
    """All violations, and how many acknowledged runs are lost. `seen` is what was read while it was written."""
    found: list[Violation] = []
    lost = 0
    by_run: dict[str, list[Done]] = {}
    for one in done:
        by_run.setdefault(one.run, []).append(one)
    for one_run in handed:
        records = history.get(one_run.run, [])
        if not records:
            if one_run.acknowledged is not None:
                lost += 1
                found.append(Violation("I3", one_run.run, "it was acknowledged and is not on the log"))
            continue
        found += _chain(one_run.run, records)
        found += _vanished(one_run.run, records, seen.get(one_run.run, []))
        entries = [record.entry for record in records if record.entry is not None]
        found += _submission(one_run, entries)
        found += _end(one_run.run, entries)
        found += _steps(one_run, entries)
        found += _world(one_run, entries, by_run.get(one_run.run, []))
        found += _result(one_run, entries)
    return found, lost


def _chain(run: str, records: Sequence[Record]) -> Iterable[Violation]:
    last, digest = 0, ""
    for record in records:
        entry = record.entry
        if not record.genuine:
            yield Violation("I7", run, f"what is stored at {record.seq} was not written by an orchestrator")
        elif entry is None:
            yield Violation("I7", run, f"the entry stored at {record.seq} cannot be read")
        elif entry.n == last + 1 and entry.prev == digest:
            last, digest = entry.n, record.digest
        elif entry.n <= last:
            yield Violation("I7", run, f"a second entry {entry.n}, by {entry.writer}: a fork", "", (entry.n,))
        else:
            what = f"entry {entry.n} does not continue entry {last}"
            yield Violation("I7", run, what, "", (last, entry.n))
            last, digest = entry.n, record.digest


def _vanished(run: str, records: Sequence[Record], seen: Sequence[Record]) -> Iterable[Violation]:
    there = {(record.seq, record.digest) for record in records}
    for record in seen:
        if (record.seq, record.digest) not in there:
            numbers = (record.entry.n,) if record.entry is not None else ()
            yield Violation("I3", run, f"an entry was stored at {record.seq} and is gone", "", numbers)


def _submission(handed: Handed, entries: Sequence[Entry]) -> Iterable[Violation]:
    facts = [fact for entry in entries for fact in entry.facts if isinstance(fact, Submitted)]
    if len(facts) != 1:
        yield Violation("I3", handed.run, f"it was submitted {len(facts)} times by its log")
        return
    [fact] = facts
    if fact.plan != handed.job.plan or any(fact.inputs.get(k) != v for k, v in handed.job.inputs.items()):
        yield Violation("I3", handed.run, "the log has another plan or other inputs than were handed in")


def _end(run: str, entries: Sequence[Entry]) -> Iterable[Violation]:
    ends: list[int] = []
    for entry in entries:
        for fact in entry.facts:
            if isinstance(fact, Reopened):
                ends = []
            elif ends and fact.fact in TOO_LATE:
                what = f"`{fact.fact}` after the run's end"
                yield Violation("I1", run, what, getattr(fact, "path", ""), (ends[0], entry.n))
            if isinstance(fact, Finished):
                ends.append(entry.n)
    if not ends:
        yield Violation("I5", run, f"it has not ended: {_standing(entries)}")


def _standing(entries: Sequence[Entry]) -> str:
    replay = Replay()
    for entry in entries:
        for fact in entry.facts:
            replay.take(fact)
    last = entries[-1]
    kinds = ", ".join(fact.fact for fact in last.facts)
    waits = f"; under way: {', '.join(sorted(replay.under_way))}" if replay.under_way else ""
    refused = [fact.why for entry in entries for fact in entry.facts if isinstance(fact, Refused)]
    told = f"; refused: {refused[-1]}" if refused else ""
    return f"its last entry is {last.n} ({kinds}){waits}{told}"


def _steps(handed: Handed, entries: Sequence[Entry]) -> Iterable[Violation]:
    replay = Replay(own_skills=handed.job.expected is not None)
    for entry in entries:
        for fact in entry.facts:
            for step, what in replay.take(fact):
                yield Violation("I2", handed.run, what, step, (*replay.about(step), entry.n))
            replay.noted(fact, entry.n)


def _world(handed: Handed, entries: Sequence[Entry], done: Sequence[Done]) -> Iterable[Violation]:
    for one, times in twice(done):
        yield Violation(
            "I4", handed.run, f"effect {one.key or one.effect!r} was done {times} times", one.path
        )
    expected = handed.job.expected
    if expected is None:
        return
    there = {(one.path, one.key) for one in done}
    for path, key in sorted(there - expected.effects):
        yield Violation("I4", handed.run, f"effect {key!r} was done, and nobody asked for it", path)
    if _state(entries) in ("completed", "failed"):
        for path, key in sorted(expected.effects - there):
            yield Violation("I4", handed.run, f"effect {key!r} was not done although the run has ended", path)


def _result(handed: Handed, entries: Sequence[Entry]) -> Iterable[Violation]:
    expected, state = handed.job.expected, _state(entries)
    if expected is None or not state:
        return
    if state not in expected.states:
        ended = _finished(entries)
        why = f": {ended.why}" if ended is not None and ended.why else ""
        yield Violation("result", handed.run, f"it {state}, not {' or '.join(sorted(expected.states))}{why}")
    elif state == "completed" and output_of(entries) != expected.output:
        what = f"it gives {output_of(entries)!r} instead of {expected.output!r}"
        yield Violation("result", handed.run, what)


def _finished(entries: Sequence[Entry]) -> Finished | None:
    facts = [fact for entry in entries for fact in entry.facts if isinstance(fact, Finished)]
    return facts[-1] if facts else None


def _state(entries: Sequence[Entry]) -> str:
    finished = _finished(entries)
    return "" if finished is None else finished.state


def output_of(entries: Sequence[Entry]) -> Json:
    """What a run's last entry gives as its result."""
    finished = _finished(entries)
    return None if finished is None else finished.output


def states_of(handed: Sequence[Handed], history: History) -> Counter[str]:
    """How many runs ended in which state."""
    counted: Counter[str] = Counter()
    for one in handed:
        entries = [record.entry for record in history.get(one.run, []) if record.entry is not None]
        counted[_state(entries) or "not ended"] += 1
    return counted


def differences(
    stormy: Mapping[int, Handed], calm: Mapping[int, Handed], history: History, done: Sequence[Done]
) -> list[Violation]:
    """Where runs ended otherwise than the same runs without faults; runs are matched by their number.

    A run that is called off half-way may end in either way, and is left out. What a plan of the user's gives is
    not compared: it may rightly differ each time.
    """
    found = []
    for number, handed in stormy.items():
        other = calm.get(number)
        expected = handed.job.expected
        if other is None or (expected is not None and len(expected.states) > 1):
            continue
        here, there = _ending(handed.run, history, done), _ending(other.run, history, done)
        output_differs = here[2] != there[2] and expected is not None
        if here[:2] != there[:2] or output_differs:
            found.append(
                Violation("result", handed.run, f"it ended as {here!r}, without faults as {there!r}")
            )
    return found


def _ending(run: str, history: History, done: Sequence[Done]) -> tuple[str, list[tuple[str, str]], Json]:
    """A run's last state, its effects by step and key, and its result."""
    entries = [record.entry for record in history.get(run, []) if record.entry is not None]
    effects = sorted((one.path, one.key) for one in done if one.run == run)
    return _state(entries), effects, output_of(entries)
