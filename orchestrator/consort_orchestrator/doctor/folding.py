"""Folding stored entries with the code at hand, and saying exactly where and why that cannot be done.

The orchestrator's own fold stops a run that it cannot read; here the reasons are told
apart, so that a person knows whether to upgrade, to restore, or to report a fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from consort_bus.recorded import Recorded
from consort_orchestrator.core import IllegalMove, Run, fold
from consort_shared.entries import Entry, body_digest
from consort_shared.errors import DecodeError
from consort_shared.upcast import TooNew, read_entry

Reason = Literal["too-new", "unreadable", "missing", "chain", "illegal"]
REASONS: dict[Reason, str] = {
    "too-new": "it was written by a later version of Consort",
    "unreadable": "it is no entry that this version knows",
    "missing": "its body was stored apart and is gone",
    "chain": "it does not follow the entry before it",
    "illegal": "the state machine does not allow it where the run stands",
}


class CannotFold(Exception):
    """An entry at which a history cannot go on; `at` counts from 0 among the entries given."""

    def __init__(self, at: int, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.at = at
        self.reason = reason
        self.why = why


@dataclass(frozen=True, slots=True)
class Folded:
    """An entry after it was applied."""

    at: int
    entry: Entry
    digest: str


def folding(run: Run, entries: Iterable[Recorded]) -> Iterator[Folded]:
    """Apply entries to a run, one by one. Raises CannotFold; the run is then of no more use."""
    for at, recorded in enumerate(entries):
        if recorded.body is None:
            raise CannotFold(at, "missing", recorded.missing or "its body is missing")
        entry = _read(at, recorded, recorded.body)
        digest = body_digest(recorded.body)
        if entry.run != run.id:
            raise CannotFold(at, "chain", f"it is an entry of run {entry.run}, not of {run.id}")
        if entry.n != run.n + 1:
            raise CannotFold(at, "chain", f"it is entry {entry.n}, and entry {run.n + 1} should come here")
        if entry.prev != run.chain:
            raise CannotFold(at, "chain", f"entry {entry.n} follows another entry {run.n} than the one here")
        try:
            fold(run, [(entry, digest)])
        except IllegalMove as exc:
            raise CannotFold(at, "illegal", str(exc)) from exc
        except (AssertionError, LookupError, ValueError) as exc:
            raise CannotFold(at, "illegal", f"{type(exc).__name__}: {exc}") from exc
        yield Folded(at, entry, digest)


def _read(at: int, recorded: Recorded, body: bytes) -> Entry:
    try:
        return read_entry(body, recorded.content_type)
    except TooNew as exc:
        raise CannotFold(at, "too-new", exc.why) from exc
    except DecodeError as exc:
        raise CannotFold(at, "unreadable", exc.why) from exc
