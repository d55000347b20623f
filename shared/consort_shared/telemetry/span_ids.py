"""Which span is which, without asking anybody.

The trace id is the run id. The ids of spans that stand for facts of the log are
hashes of what they stand for, so whoever reads the log computes the same ones: any
process can parent to a span that another writes later, and a span that is written
twice, because a process died and nobody knows what it had sent, is the same span.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from consort_shared.ids import root_span_id

__all__ = ["Caller", "attempt_span_id", "entry_span_id", "parse_traceparent", "root_span_id", "span_id"]

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Caller(NamedTuple):
    """The span that a message was sent under, by its `traceparent` header (W3C Trace Context)."""

    trace: str
    span: str
    sampled: bool


@lru_cache(maxsize=8192)
def span_id(run: str, *what: str) -> str:
    """The id of the span of a run that stands for `what`: 16 hex digits."""
    return blake2b(" ".join(what).encode(), key=run.encode(), digest_size=8).hexdigest()


def entry_span_id(run: str, n: int) -> str:
    """The span of an entry of the log, by its number."""
    return span_id(run, "entry", str(n))


def attempt_span_id(run: str, task: str) -> str:
    """The span of one attempt at a step, from its grant to its end."""
    return span_id(run, "attempt", task)


def parse_traceparent(header: str | None) -> Caller | None:
    """What a `traceparent` header says; None for one that is missing or malformed, which is to be ignored."""
    found = _TRACEPARENT.fullmatch(header.strip()) if header else None
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(span, 16):
        return None
    return Caller(trace, span, bool(int(flags, 16) & 1))
