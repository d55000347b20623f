"""How long work stood still, and how long it took to go on after a fault.

Computed from the times at which the server stored entries. Faults overlap, so what
is counted for one may be owed to another; the figures are what somebody who waited
for the runs would have seen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from consort_orchestrator.chaos.faults import Injected
from consort_orchestrator.chaos.history import History, Record
from consort_orchestrator.chaos.invariants import Handed
from consort_shared.entries import Accepted, Doubted, Failure, Finished, Granted

HARD = ("kill", "freeze")
"""What a recovery is measured of."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """From faults of one kind to the moment when what they had stopped went on, in seconds."""

    kind: str
    times: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.times)

    @property
    def worst(self) -> float:
        return max(self.times)


def longest_pause(handed: Sequence[Handed], history: History) -> float:
    """The longest time without any accepted result while a run was under way, in seconds."""
    spans = []
    moments: list[float] = []
    for one in handed:
        records = history.get(one.run, [])
        moments += [record.at for record in records if _has(record, Accepted, Finished)]
        if one.acknowledged is not None and records:
            spans.append((min(one.acknowledged, records[0].at), records[-1].at))
    moments.sort()
    worst = 0.0
    for begin, end in _joined(spans):
        inside = moments[bisect_right(moments, begin) : bisect_right(moments, end)]
        points = [begin, *inside, end]
        worst = max([worst, *(after - before for before, after in pairwise(points))])
    return worst


def _joined(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans of time that overlap, as one each."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def recoveries(injected: Sequence[Injected], history: History) -> list[Recovery]:
    """By kind of fault; those that stopped nothing are left out.

    After an orchestrator's fault: until each run that it wrote last has its next entry. After an agent's: until
    each task in hand of that moment has an outcome. After a node's: until the next result of any run. Of several,
    the longest.
    """
    times: dict[str, list[float]] = defaultdict(list)
    results = sorted(
        record.at for records in history.values() for record in records if _has(record, Accepted, Finished)
    )
    for one in injected:
        if not one.fault.kind.startswith(HARD):
            continue
        if one.fault.strikes == "orchestrator":
            waits = _next_entries(one, history)
        elif one.fault.strikes == "agent":
            waits = _outcomes(one.began, history)
        else:
            waits = [at - one.began for at in results[bisect_right(results, one.began) :][:1]]
        if waits:
            times[one.fault.kind].append(max(waits))
    return [Recovery(kind, tuple(found)) for kind, found in sorted(times.items())]


def _next_entries(one: Injected, history: History) -> list[float]:
    name = one.whom.removeprefix("orchestrator-")
    waits = []
    for records in history.values():
        at = bisect_right(records, one.began, key=lambda record: record.at)
        if not 0 < at < len(records):
            continue
        before = records[at - 1].entry
        if before is not None and before.writer.rpartition("-")[0] == name:
            waits.append(records[at].at - one.began)
    return waits


def _outcomes(began: float, history: History) -> list[float]:
    waits = []
    for records in history.values():
        in_hand: dict[str, bool] = {}
        for record in records:
            for fact in record.entry.facts if record.entry is not None else ():
                if isinstance(fact, Granted) and record.at <= began:
                    in_hand[fact.task] = True
                elif not isinstance(fact, Accepted | Failure | Doubted):
                    continue
                elif in_hand.pop(fact.task, False) and record.at > began:
                    waits.append(record.at - began)
    return waits


def _has(record: Record, *kinds: type) -> bool:
    return record.entry is not None and any(isinstance(fact, kinds) for fact in record.entry.facts)
