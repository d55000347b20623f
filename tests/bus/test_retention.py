"""For how long streams keep what is on them: what is set stays, what makes no sense is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from consort_bus import subjects
from consort_bus.retention import AGEING, Keep, NotToBeKept, ages, days, kept, nanoseconds

DAY = timedelta(days=1)
USUAL = {name: nanoseconds(30 * DAY) for name in AGEING}


def found(**spans: float) -> dict[str, dict[str, Any] | None]:
    return {
        getattr(subjects, name.upper()): {"max_age": nanoseconds(span * DAY)} for name, span in spans.items()
    }


def in_days(set_to: dict[str, int]) -> tuple[float, ...]:
    """Of the log, the context, the artefacts and the dead letters."""
    told = (subjects.LOG, subjects.CONTEXT, subjects.ARTEFACTS, subjects.DEAD)
    return tuple(set_to[name] / nanoseconds(DAY) for name in told)


@pytest.mark.parametrize(
    ("there", "keep", "expected"),
    [
        ({}, Keep(), (30, 30, 30, 30)),
        ({}, Keep(90 * DAY, 90 * DAY, 90 * DAY), (90, 90, 90, 90)),
        ({}, Keep(dead=7 * DAY), (30, 30, 30, 7)),
        (found(log=90, context=90, artefacts=365, dead=14), Keep(), (90, 90, 365, 14)),
        (found(log=90, context=90, artefacts=365, dead=14), Keep(log=7 * DAY), (7, 7, 365, 14)),
        (found(log=90, context=30, artefacts=30, dead=30), Keep(), (90, 90, 90, 30)),
        (found(log=10, context=10, artefacts=10, dead=10), Keep(artefacts=10 * DAY), (10, 10, 10, 10)),
        (found(log=0, context=0, artefacts=0.5, dead=0.9), Keep(), (30, 30, 30, 30)),
    ],
)
def test_what_is_wanted_or_was_set_counts(
    there: dict[str, dict[str, Any] | None], keep: Keep, expected: tuple[float, ...]
) -> None:
    set_to = ages(there, USUAL, keep)
    assert in_days(set_to) == expected
    assert set_to[subjects.JOURNAL] == set_to[subjects.TOOLS] == set_to[subjects.LOG]


@pytest.mark.parametrize("span", [timedelta(0), -DAY, timedelta(hours=23), 36501 * DAY])
def test_what_makes_no_sense_is_refused(span: timedelta) -> None:
    for part in ("log", "artefacts", "dead"):
        with pytest.raises(NotToBeKept, match="is no time to keep anything for"):
            Keep(**{part: span})


def test_artefacts_outlive_the_log() -> None:
    with pytest.raises(
        NotToBeKept, match=r"cannot be kept for 20 days.* is kept for 30 days; say --keep as well"
    ):
        ages({}, USUAL, Keep(artefacts=20 * DAY))
    assert in_days(ages({}, USUAL, Keep(log=20 * DAY, artefacts=20 * DAY)))[:3] == (20, 20, 20)


def test_what_is_kept_is_told() -> None:
    assert kept(found(log=90, dead=1.5)) == {subjects.LOG: 90 * DAY, subjects.DEAD: 1.5 * DAY}
    assert [days(span) for span in (DAY, 1.5 * DAY, 90 * DAY)] == ["1 day", "1.5 days", "90 days"]
