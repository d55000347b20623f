"""What single cells say."""

from __future__ import annotations

import pytest

from consort_agents.specialists.cells import date_of, decimal_mark, is_version, major_of, number_of, unit_of
from consort_agents.specialists.levels import is_numeric_scale, is_scale, sorted_levels


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,250", 1250),
        ("-3.5", -3.5),
        ("45 %", 45),
        ("€ 3.20", 3.2),
        ("12 kg", 12),
        ("1 234", 1234),
        ("−7", -7),
    ],
)
def test_numbers_are_read_without_their_unit(text: str, value: float) -> None:
    assert number_of(text) == value


@pytest.mark.parametrize("text", ["", "n/a", "A1", "1.2.3", "7-8", "3,5", "2026-10", "1e5x"])
def test_other_texts_are_no_numbers(text: str) -> None:
    assert number_of(text) is None


def test_a_comma_is_decimal_only_where_it_can_be_nothing_else() -> None:
    assert decimal_mark(["3,5", "1,25", "4"]) == ","
    assert decimal_mark(["1,250", "3,400"]) == "."
    assert number_of("1.250,5", ",") == 1250.5
    assert unit_of("12 kg") == "kg"


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2026-10", ("2026-10", "month")),
        ("2026-10-05T12:00:00Z", ("2026-10-05", "day")),
        ("5.10.2026", ("2026-10-05", "day")),
        ("Oct 2026", ("2026-10", "month")),
        ("3 October 2026", ("2026-10-03", "day")),
        ("Q3 2026", ("2026-Q3", "quarter")),
        ("2026", ("2026", "year")),
        ("2026-13", None),
        ("soon", None),
    ],
)
def test_dates_become_sortable(text: str, date: tuple[str, str] | None) -> None:
    assert date_of(text) == date


def test_day_and_month_can_be_in_either_order() -> None:
    assert date_of("04/25/2026") is None
    assert date_of("04/25/2026", day_first=False) == ("2026-04-25", "day")


def test_versions() -> None:
    assert is_version("1.2.0rc1")
    assert not is_version("12")
    assert major_of("v0.84") == 0


def test_levels_are_known_words_or_small_scales() -> None:
    assert is_scale(["yes", "no", "partial"])
    assert not is_scale(["gold", "silver"])
    assert not is_scale(["yes", "yes"])
    assert is_numeric_scale(["1", "2", "3"])
    assert not is_numeric_scale(["1", "3"])
    assert sorted_levels(["no", "n/a", "yes", "partial", ""]) == (("yes",), ("partial",), ("no",))
    assert sorted_levels(["2", "0", "1", "3"]) == (("3",), ("1", "2"), ("0",))
