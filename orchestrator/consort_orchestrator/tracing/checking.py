"""Whether a trace is whole, held against the log.

The log says which spans there must be: one per entry, per attempt and per wait, and the
run's own. Every other span must have a parent that is there, and whoever did accepted
work must have left a span of it. What is missing is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consort_orchestrator.tracing.derive import Deriver
from consort_shared.entries import Accepted, Entry, Finished, Granted
from consort_shared.telemetry import names
from consort_shared.telemetry.records import MOMENT, SpanRecord
from consort_shared.telemetry.span_ids import attempt_span_id, root_span_id


@dataclass(frozen=True, slots=True)
class Hole:
    """Something that is missing from a trace or wrong in it."""

    kind: str
    span: str
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found."""

    run: str
    ended: bool
    expected: int
    """spans that the log stands for"""
    found: int
    processes: int
    holes: tuple[Hole, ...]

    @property
    def whole(self) -> bool:
        return not self.holes


def check(run: str, entries: Sequence[Entry], spans: Iterable[SpanRecord]) -> Verdict:
    """Hold the spans that were found against a run's entries, from the first on."""
    deriver = Deriver(run)
    expected: dict[str, tuple[SpanRecord, Entry]] = {}
    for entry in entries:
        for span in deriver.take(entry):
            expected[span.span] = (span, entry)
    copies: dict[str, list[SpanRecord]] = defaultdict(list)
    for span in spans:
        copies[span.span].append(span)
    ended = any(isinstance(fact, Finished) for entry in entries for fact in entry.facts)
    yet_to_come = _yet_to_come(run, entries, expected, ended)
    holes = [
        *_missing(expected, copies),
        *_orphans(expected, copies, yet_to_come),
        *_roots(run, copies, ended),
        *_unlike(expected, copies),
        *_untold(run, entries, copies),
    ]
    processes = {(span.service, span.instance) for same in copies.values() for span in same}
    return Verdict(run, ended, len(expected), len(copies), len(processes), tuple(holes))


def _yet_to_come(
    run: str, entries: Sequence[Entry], expected: dict[str, tuple[SpanRecord, Entry]], ended: bool
) -> set[str]:
    """Spans that end later: parents of what is there already."""
    granted = [fact.task for entry in entries for fact in entry.facts if isinstance(fact, Granted)]
    attempts = {attempt_span_id(run, task) for task in granted} - expected.keys()
    return attempts if ended else attempts | {root_span_id(run)}


def _missing(
    expected: dict[str, tuple[SpanRecord, Entry]], copies: dict[str, list[SpanRecord]]
) -> list[Hole]:
    return [
        Hole(
            "missing", span_id, f"{_named(span)} is missing: it ends with entry {entry.n}, by {entry.writer}"
        )
        for span_id, (span, entry) in expected.items()
        if span_id not in copies
    ]


def _orphans(
    expected: dict[str, tuple[SpanRecord, Entry]],
    copies: dict[str, list[SpanRecord]],
    yet_to_come: set[str],
) -> list[Hole]:
    holes = []
    for span_id, (span, *_) in copies.items():
        if not span.parent or span.parent in copies or span.parent in yet_to_come:
            continue
        known = expected.get(span.parent)
        parent = _named(known[0]) if known is not None else f"span {span.parent}"
        holes.append(Hole("no parent", span_id, f"{_named(span)}: its parent, {parent}, is missing"))
    return holes


def _roots(run: str, copies: dict[str, list[SpanRecord]], ended: bool) -> list[Hole]:
    root = root_span_id(run)
    return [
        Hole("second root", span_id, f"{_named(span)} has no parent and is not the run's root span")
        for span_id, (span, *_) in copies.items()
        if not span.parent and span_id != root
    ]


def _unlike(expected: dict[str, tuple[SpanRecord, Entry]], copies: dict[str, list[SpanRecord]]) -> list[Hole]:
    """Spans that say something else than the log, or than each other."""
    holes = []
    for span_id, same in copies.items():
        told = set(map(_gist, same))
        if span_id in expected:
            span = expected[span_id][0]
            if told != {_gist(span)}:
                holes.append(Hole("unlike", span_id, f"{_named(span)} is not as the log has it"))
        elif len(told) > 1:
            holes.append(
                Hole(
                    "unlike", span_id, f"{_named(same[0])} is there {len(same)} times, not the same each time"
                )
            )
    return holes


def _gist(span: SpanRecord) -> tuple[str, str, int, int]:
    """What must be the same wherever the span is kept; stores round its times to microseconds."""
    return span.parent, span.name, span.start // MOMENT, span.end // MOMENT


def _untold(run: str, entries: Sequence[Entry], copies: dict[str, list[SpanRecord]]) -> list[Hole]:
    """Accepted work of which no process left a span."""
    worked_on = {
        span.parent for same in copies.values() for span in same if span.kind == "consumer" and span.parent
    }
    return [
        Hole(
            "no work",
            attempt_span_id(run, fact.task),
            f"task {fact.task} of step {fact.path} was done by {fact.agent} ({fact.instance}), which left no span of "
            "it: it exports none, or died before it could",
        )
        for entry in entries
        for fact in entry.facts
        if isinstance(fact, Accepted) and attempt_span_id(run, fact.task) not in worked_on
    ]


def _named(span: SpanRecord) -> str:
    about = [
        f"{word} {span.attributes[name]}"
        for word, name in (("entry", names.ENTRY), ("step", names.STEP), ("attempt", names.ATTEMPT))
        if name in span.attributes
    ]
    who = span.service + (f" {span.instance}" if span.instance else "")
    told = f"`{span.name}`" + (f" ({', '.join(about)})" if about else "")
    return f"{told} of {who}" if who else told
