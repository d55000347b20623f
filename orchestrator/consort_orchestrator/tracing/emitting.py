"""Exporting the spans that entries stand for, by the orchestrator that wrote them.

Nothing waits for it. What this process wrote it exports once, also an entry whose
acknowledgement was lost and that it finds on the log later. A process that dies takes
along the spans that it had not exported yet: `making_good` has another do it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from opentelemetry.sdk.resources import Resource

from consort_orchestrator.core import Run
from consort_orchestrator.tracing.following import Traced
from consort_shared.entries import Entry
from consort_shared.telemetry.records import SpanRecord
from consort_shared.telemetry.span_ids import parse_traceparent
from consort_shared.telemetry.spans import Ready
from consort_shared.telemetry.tracing import Tracing

REMEMBERED = 8192
"""Runs of which it is remembered how far they were exported; of others an entry may be exported twice."""


class Emitting:
    """The way out for an orchestrator's spans."""

    def __init__(self, tracing: Tracing, writer: str) -> None:
        self._tracing = tracing
        self._writer = writer
        self._exported: OrderedDict[str, int] = OrderedDict()
        """by run: the number of the last entry whose spans went out"""
        self._resources: dict[str, Resource] = {}

    def follow(self, run: str) -> Traced:
        """Begin to follow a run, from its first entry on; what this process wrote is exported."""
        return Traced(run, self._tracing.sampled(run), self._took)

    def follow_for(self, run: str, export: Callable[[Entry, list[SpanRecord]], None]) -> Traced:
        """The same for somebody who knows better which entries' spans are to be exported."""
        return Traced(run, self._tracing.sampled(run), export)

    def sampled(self, run: Run) -> bool:
        """Whether the trace of a run is wanted: who handed it in decides, or the sampler."""
        caller = parse_traceparent(run.caller) if run.caller else None
        return self._tracing.sampled(run.id) if caller is None else caller.sampled

    def export(self, records: Iterable[SpanRecord]) -> None:
        """Hand spans to the exporter's queue."""
        self._tracing.emit([Ready(record, self._resource(record.instance)) for record in records])

    def _took(self, entry: Entry, spans: list[SpanRecord]) -> None:
        if entry.writer != self._writer or entry.n <= self._exported.get(entry.run, 0):
            return
        self._exported[entry.run] = entry.n
        self._exported.move_to_end(entry.run)
        if len(self._exported) > REMEMBERED:
            self._exported.popitem(last=False)
        self.export(spans)

    def _resource(self, instance: str) -> Resource:
        found = self._resources.get(instance)
        if found is None:
            if len(self._resources) > 256:
                self._resources.clear()
            found = self._resources[instance] = self._tracing.resource_of(instance)
        return found
