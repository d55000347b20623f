"""Dead letters: how a message that was set aside is kept, and how it is read again.

The one place that knows the headers of such a message. Its body is the original
one, whole; what it was, where it stood and why it does not count are headers. Its
id is its sequence in the stream of dead letters. What became of it is a mark of
its own, see `SettledSubject`.

Orchestrators write letters, operators read them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from consort_bus.envelope import CONTENT_TYPE, TRACE
from consort_bus.reading import Stored
from consort_bus.subjects import LOG, DeadSubject
from consort_shared.codec import MSGPACK
from consort_shared.control import SettledMark

__all__ = [
    "DELIVERIES",
    "FAILING",
    "FOREIGN",
    "FROM",
    "KIND",
    "KINDS",
    "ORIGINAL",
    "POISON",
    "REASON",
    "REFUSED",
    "SEQ",
    "STEP",
    "TASK",
    "UNKNOWN_KIND",
    "UNREADABLE",
    "Letter",
    "again",
    "letter_of",
    "refusal",
]

REASON = "Consort-Reason"
FROM = "Consort-From"
"""The subject that it came on."""
SEQ = "Consort-Seq"
"""Its sequence in the stream that it came from."""
ORIGINAL = "Consort-Headers"
"""Its own headers, as JSON; the type of the body is among them."""
KIND = "Consort-Kind"
DELIVERIES = "Consort-Deliveries"
TASK = "Consort-Task"
STEP = "Consort-Step"

UNREADABLE, REFUSED, FAILING = "unreadable", "refused", "failing"
POISON, FOREIGN, UNKNOWN_KIND = "poison", "foreign", "unknown-kind"
KINDS: dict[str, str] = {
    UNREADABLE: "its body is not what such a message looks like",
    REFUSED: "it was read and does not count",
    FAILING: "judging it failed again and again",
    POISON: "a task that killed its process again and again",
    FOREIGN: "it stands on the log and no orchestrator wrote it",
    UNKNOWN_KIND: "it is of a kind that the version then at work did not know",
}
"""Why a message was set aside, by the word in its header; the body of a poisonous task is the task as given."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that was set aside. `headers` are its own, `subject` and `seq` say where it stood in `stream`."""

    id: int
    at: datetime
    stream: str
    run: str | None
    kind: str
    reason: str
    subject: str
    seq: int
    body: bytes
    headers: Mapping[str, str]
    deliveries: int = 0
    task: str = ""
    step: str = ""
    trace: str = ""
    """The trace id, 32 hex digits."""
    settled: SettledMark | None = None

    @property
    def content_type(self) -> str | None:
        """Of the body; None means JSON."""
        return self.headers.get(CONTENT_TYPE) or (MSGPACK if self.kind == POISON else None)

    @property
    def redrivable(self) -> bool:
        """Whether it can be judged again: it belongs to a run, and does not stay on the log anyway."""
        return self.run is not None and self.kind != FOREIGN


def letter_of(stored: Stored) -> Letter | None:
    """The letter in a message of the stream; None for what is none, such as a mark."""
    where = DeadSubject.parse(stored.subject)
    if where is None:
        return None
    headers = stored.headers
    original = _headers(headers.get(ORIGINAL, ""))
    return Letter(
        id=stored.seq,
        at=stored.time,
        stream=where.stream,
        run=where.run,
        kind=headers.get(KIND) or (FOREIGN if where.stream == LOG else REFUSED),
        reason=headers.get(REASON, ""),
        subject=headers.get(FROM, ""),
        seq=_number(headers.get(SEQ, "")),
        body=stored.data,
        headers=original,
        deliveries=_number(headers.get(DELIVERIES, "")),
        task=headers.get(TASK, ""),
        step=headers.get(STEP, ""),
        trace=_trace(headers.get(TRACE) or original.get(TRACE, "")),
    )


def again(letter: int) -> str:
    """How the reason begins of a letter that was refused once more after being redriven."""
    return f"redriven as letter {letter}, "


def refusal(reason: str) -> str:
    """The reason without what was put before it when the letter was refused once more."""
    _, _, why = reason.partition(": ") if reason.startswith("redriven as letter ") else ("", "", reason)
    return why


def _headers(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def _trace(parent: str) -> str:
    parts = parent.split("-")
    return parts[1] if len(parts) == 4 else ""
