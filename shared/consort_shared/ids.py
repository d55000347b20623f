"""Names and identifiers.

A run id is 32 hex digits: 48 bits of milliseconds, then 80 random bits. It is
also the W3C trace id of the run, so there are no version bits in it: they would
skew samplers that read the trace id as a ratio. Tokens are what may stand
between two dots of a subject; nothing a model or a stranger wrote may become
one unchecked, because a dot or a star in it would change what it names.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from datetime import UTC, datetime
from typing import Annotated

from pydantic import StringConstraints

TOKEN_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,31}$"  # noqa: S105 # of subjects
RUN_PATTERN = r"^[0-9a-f]{32}$"
NAME_PATTERN = r"^[a-z][a-z0-9_]{0,47}$"
SKILL_PATTERN = r"^[a-z][a-z0-9_-]{0,31}(\.[a-z][a-z0-9_-]{0,31}){0,3}$"

Token = Annotated[str, StringConstraints(pattern=TOKEN_PATTERN)]
"""One token of a subject: an agent, a client, a person, a task."""
RunId = Annotated[str, StringConstraints(pattern=RUN_PATTERN)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""A step, an input, a context key: also an identifier of the expression language."""
SkillName = Annotated[str, StringConstraints(pattern=SKILL_PATTERN)]
WriterName = Annotated[str, StringConstraints(pattern=r"^[a-z]{1,16}\.[a-z0-9][a-z0-9_-]{0,31}$")]
"""Who stored something: role and name, such as `agent.writer`."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256, hex."""

_token = re.compile(TOKEN_PATTERN.rstrip("$"))
_run = re.compile(RUN_PATTERN.rstrip("$"))


def new_run_id(now: float | None = None) -> str:
    """A fresh run id; `now` in seconds since 1970."""
    millis = int((time.time() if now is None else now) * 1000)
    return f"{millis & (1 << 48) - 1:012x}{secrets.token_hex(10)}"


def run_started(run: str) -> datetime:
    """The instant in a run id, UTC."""
    return datetime.fromtimestamp(int(run[:12], 16) / 1000, UTC)


def is_run_id(text: str) -> bool:
    return _run.fullmatch(text) is not None


def is_token(text: str) -> bool:
    return _token.fullmatch(text) is not None


def root_span_id(run: str) -> str:
    """The id of the run's root span: any process can parent to it without asking anyone."""
    return hashlib.sha256(b"consort root span " + run.encode()).hexdigest()[:16]


def traceparent(run: str, span: str | None = None, *, sampled: bool = True) -> str:
    """W3C trace context of a run, below its root span unless another span is given."""
    return f"00-{run}-{span or root_span_id(run)}-{'01' if sampled else '00'}"
