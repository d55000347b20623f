"""How much the bus may hold and for how long: as somebody types it, and as it is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

import click

from consort_bus import subjects
from consort_bus.retention import LEAST, MOST, days
from consort_bus.topology import Change
from consort_orchestrator.cli.wording import listed
from consort_shared.plan.model import seconds

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_size = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)")
_KEPT = {
    subjects.LOG: "log",
    subjects.CONTEXT: "context",
    subjects.ARTEFACTS: "artefacts",
    subjects.JOURNAL: "journals",
    subjects.TOOLS: "calls of tools",
    subjects.DEAD: "dead letters",
}


def as_span(_context: click.Context, _parameter: click.Parameter, text: str | None) -> timedelta | None:
    """A time for which something is kept."""
    if text is None:
        return None
    try:
        span = timedelta(seconds=float(seconds(text)))  # type: ignore[arg-type] # text that is no number is refused here
    except (ValueError, OverflowError) as exc:
        raise click.BadParameter(f"{text!r} is no span of time: write 14d or 90d") from exc
    if not LEAST <= span <= MOST:
        raise click.BadParameter(f"{text!r}: at least 1d, at most {MOST.days}d")
    return span


def kept_text(kept: Mapping[str, timedelta]) -> str:
    """What is kept as long is told of together: `log, context and artefacts 90 days, dead letters 14 days`."""
    names: dict[timedelta, list[str]] = {}
    for stream, span in kept.items():
        names.setdefault(span, []).append(_KEPT.get(stream, stream))
    return ", ".join(f"{listed(of)} {days(span) if span else 'for ever'}" for span, of in names.items())


def age_text(change: Change) -> str:
    """What a change of a stream makes of the time for which it keeps things; nothing if it leaves that."""
    for one in change.because:
        if one.key == "max_age":
            now, before = (timedelta(seconds=(age or 0) / 1e9) for age in (one.wanted, one.found))
            return f", keeps {days(now)} now, {days(before) if before else 'everything'} before"
    return ""


def as_bytes(text: str) -> int:
    found = _size.fullmatch(text.strip())
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None:
        raise click.BadParameter(f"{text!r} is no size: write 500MB or 10GiB", param_hint="--log-limit")
    return round(float(found[1]) * unit)
