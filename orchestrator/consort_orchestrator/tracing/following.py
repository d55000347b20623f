"""Following a run's entries for its trace: which spans have ended, if anybody wants them."""

from __future__ import annotations

from collections.abc import Callable

from consort_orchestrator.tracing.derive import Deriver
from consort_shared.entries import Entry, Submitted
from consort_shared.telemetry.records import SpanRecord
from consort_shared.telemetry.span_ids import parse_traceparent


class Traced:
    """A run whose entries are followed for its trace. `export` is given each entry's spans, if they are wanted."""

    __slots__ = ("_deriver", "_export", "_run", "sampled")

    def __init__(self, run: str, sampled: bool, export: Callable[[Entry, list[SpanRecord]], None]) -> None:
        """`sampled`: whether the trace is wanted; who handed the run in may have decided otherwise."""
        self._run = run
        self._deriver = Deriver(run)
        self._export = export
        self.sampled = sampled

    def take(self, entry: Entry) -> None:
        """The next entry, from the first one on."""
        for fact in entry.facts:
            if isinstance(fact, Submitted) and (caller := parse_traceparent(fact.caller)) is not None:
                self.sampled = caller.sampled
        if self.sampled:
            self._export(entry, self._deriver.take(entry))
