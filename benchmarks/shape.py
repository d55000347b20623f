"""How large the messages are that Consort writes, read back from a run of its own.

The bare loop writes messages of the same sizes. What Consort puts into headers counts as
body there, but for the two headers of the fence, which the bare loop sends too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from benchmarks.workloads import AGENT, TEXT, Workload
from consort_bus import subjects
from consort_bus.envelope import CONTENT_TYPE, SCHEMA, AgentSeal
from consort_bus.reading import Stored, read
from consort_bus.subjects import IncomingSubject
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, decode, encode
from consort_shared.entries import Accepted, Submitted, delivery_adapter, entry_adapter
from consort_shared.ids import new_run_id
from consort_shared.messages import Done, Output, Report, Submit
from consort_shared.values import bytes_digest, canonical

_FENCE = ("Nats-Expected-Last-Subject-Sequence", "Nats-Expected-Last-Subject-Sequence-Subject")


@dataclass(frozen=True, slots=True)
class Stage:
    """Tasks that start together; sizes in bytes."""

    width: int
    copied: bool
    """whether they go out as copies of the entry that grants them, or as that entry itself"""
    copy: int
    entry: int
    """what a report of this stage adds to the entry that judges it"""
    report: int


@dataclass(frozen=True, slots=True)
class Shape:
    """The messages of one run."""

    submission: int
    first: int
    """the entry that answers the submission"""
    stages: tuple[Stage, ...]


def to_json(shapes: Mapping[str, Shape]) -> str:
    return json.dumps({name: asdict(shape) for name, shape in shapes.items()})


def from_json(text: str) -> dict[str, Shape]:
    return {
        name: Shape(told["submission"], told["first"], tuple(Stage(**stage) for stage in told["stages"]))
        for name, told in json.loads(text).items()
    }


async def shape_of(wire: Wire, workload: Workload, runs: Sequence[str]) -> Shape:
    """The shape of finished runs of a workload, sizes averaged. Raises BusError."""
    first: list[int] = []
    entries: dict[str, list[float]] = defaultdict(list)
    copies: dict[str, list[int]] = defaultdict(list)
    for run in runs:
        async for stored in read(wire, subjects.LOG, subjects.run_entries(run)):
            entry = decode(entry_adapter, stored.data, MSGPACK)
            paths = [fact.path for fact in entry.facts if isinstance(fact, Accepted)]
            if any(isinstance(fact, Submitted) for fact in entry.facts):
                first.append(_size(stored))
            for path in paths:
                entries[path.partition("[")[0]].append(_size(stored) / len(paths))
        async for stored in read(wire, subjects.LOG, subjects.run_copies(run)):
            delivery = decode(delivery_adapter, stored.data, MSGPACK)
            copies[delivery.granted.path.partition("[")[0]].append(_size(stored))
    report = _report_size()
    stages = tuple(
        Stage(width, bool(copies[name]), _mean(copies[name]), _mean(entries[name]), report)
        for name, width in workload.stages
    )
    return Shape(_submission_size(workload), _mean(first), stages)


def _mean(sizes: Sequence[float]) -> int:
    return round(fmean(sizes)) if sizes else 0


def _size(stored: Stored) -> int:
    return len(stored.data) + _header_bytes(
        {name: value for name, value in stored.headers.items() if name not in _FENCE}
    )


def _header_bytes(headers: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers.items())


def _submission_size(workload: Workload) -> int:
    body = encode(Submit(plan=workload.plan, inputs={"text": TEXT}))
    return len(body) + _header_bytes({CONTENT_TYPE: MSGPACK, SCHEMA: "1"})


def _report_size() -> int:
    """Reports are gone from the inbox once they are judged, so one is made."""
    output = Output(value=TEXT, digest=bytes_digest(canonical(TEXT)))
    body = encode(Report(task="1-0", instance="0" * 8, outcome=Done(output=output), seconds=0.001))
    run = new_run_id()
    subject = str(IncomingSubject("agent", AGENT, run))
    wrapped = AgentSeal(bytes(32)).report(subject, body, {CONTENT_TYPE: MSGPACK, SCHEMA: "1"}, run, bytes(16))
    return len(body) + _header_bytes(wrapped.headers)
