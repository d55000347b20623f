"""How long the streams keep what is on them: as whoever sets up the bus has said, and not set back later.

The log is the measure. What belongs to it, context, artefacts and the journals of tasks, is never kept
shorter than the log; dead letters have a time of their own. Decides on configurations
and knows nothing of how they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from consort_bus import subjects
from consort_shared.errors import InvalidInput

__all__ = ["DEAD_KEPT", "LEAST", "LOG_KEPT", "MOST", "Keep", "NotToBeKept", "ages", "kept", "nanoseconds"]

LOG_KEPT = timedelta(days=30)
DEAD_KEPT = timedelta(days=30)
"""Where nobody has said otherwise."""
LEAST, MOST = timedelta(days=1), timedelta(days=36500)
"""What somebody may say."""
WITH_THE_LOG = (subjects.CONTEXT, subjects.JOURNAL, subjects.TOOLS)
"""Kept as long as the log, which they are about."""
AGEING = (subjects.LOG, *WITH_THE_LOG, subjects.ARTEFACTS, subjects.DEAD)
"""The streams that keep what is on them by its age."""


class NotToBeKept(InvalidInput):
    """A time for which something is to be kept that makes no sense; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How long to keep what: the log, with its context; artefacts; dead letters. What is None stays as it is.

    Raises NotToBeKept for less than a day or more than a hundred years.
    """

    log: timedelta | None = None
    artefacts: timedelta | None = None
    dead: timedelta | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            span: timedelta | None = getattr(self, field.name)
            if span is not None and not LEAST <= span <= MOST:
                raise NotToBeKept(
                    f"{days(span)} is no time to keep anything for: a day at least, 36500 at most"
                )


def ages(
    found: Mapping[str, Mapping[str, Any] | None], usual: Mapping[str, int], keep: Keep
) -> dict[str, int]:
    """By stream that ages: its `max_age` in nanoseconds, from what is found, what is usual, and what is wanted.

    Raises NotToBeKept for artefacts that would be kept shorter than the log.
    """
    log = _age(subjects.LOG, found, usual, keep.log)
    artefacts = _age(subjects.ARTEFACTS, found, usual, keep.artefacts)
    if keep.artefacts is not None and artefacts < log:
        raise NotToBeKept(
            f"artefacts cannot be kept for {days(keep.artefacts)}: the log that refers to them is kept for "
            f"{days(timedelta(seconds=log / 1e9))}; say --keep as well to change that"
        )
    follows = {
        name: log if keep.log is not None else _age(name, found, {name: log}, None) for name in WITH_THE_LOG
    }
    return {
        subjects.LOG: log,
        **{name: max(age, log) for name, age in follows.items()},
        subjects.ARTEFACTS: max(artefacts, log),
        subjects.DEAD: _age(subjects.DEAD, found, usual, keep.dead),
    }


def kept(found: Mapping[str, Mapping[str, Any] | None]) -> dict[str, timedelta]:
    """For how long the streams that age, as far as they are there, keep what is on them."""
    configs = {name: found.get(name) for name in AGEING}
    return {
        name: timedelta(seconds=config.get("max_age", 0) / 1e9)
        for name, config in configs.items()
        if config is not None
    }


def days(span: timedelta) -> str:
    """As people say it: `90 days`, `1 day`, `1.5 days`."""
    number = span / timedelta(days=1)
    return f"{number:.10g} day{'' if number == 1 else 's'}"


def nanoseconds(span: timedelta) -> int:
    """As the server counts."""
    return round(span.total_seconds() * 1e9)


def _age(
    name: str,
    found: Mapping[str, Mapping[str, Any] | None],
    usual: Mapping[str, int],
    wanted: timedelta | None,
) -> int:
    """What is wanted, or was set before; the usual where that makes no sense, such as no limit at all."""
    if wanted is not None:
        return nanoseconds(wanted)
    age: int = (found.get(name) or {}).get("max_age", 0)
    return age if age >= nanoseconds(LEAST) else usual[name]
