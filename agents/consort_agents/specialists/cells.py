"""What the text of one cell says: a number, a date, a version, or nothing.

Reading a cell is the one thing that everybody who counts must do alike, so it has
its home here. It knows no tables and no columns; what a whole column holds is
decided in `tables`, which passes on what it found (decimal mark, order of day and
month) so that `1,250` or `03/04/2026` is read one way throughout a column.
"""

from __future__ import annotations

import re
from typing import Literal

Decimal = Literal[".", ","]
Grain = Literal["", "year", "quarter", "month", "day"]

NOTHING = frozenset({"", "?", "-", "–", "—", "unknown", "unclear", "tbd", "null", "nan", "not known"})
"""Cells that give no value (lower case): nobody looked, or nobody knows."""
APART = frozenset({"n/a", "na", "n.a.", "not applicable", "does not apply"})
"""Cells that say the question does not arise (lower case)."""

_NUMBER = re.compile(
    r"^(?P<sign>[+\-−]?)(?P<before>[€$£¥]?)\s?"
    r"(?P<digits>\d+(?:[.,  '’]\d+)*)\s?(?P<after>%|[€$£¥]|[A-Za-zµ°/²³]{1,12})?$"
)
_VERSION = re.compile(r"^v?\d+(\.\d+){1,3}([-.+]?(a|b|c|rc|alpha|beta|dev|post)[-.]?\d*)*$", re.IGNORECASE)
_ISO = re.compile(r"^(\d{4})-(\d{2})(?:-(\d{2})(?:[T ]\d{2}:\d{2}.*)?)?$")
_NUMERIC_DATE = re.compile(r"^(\d{1,2})([./-])(\d{1,2})\2(\d{4})$")
_YEAR = re.compile(r"^(19|20)\d{2}$")
_QUARTER = re.compile(r"^(?:Q([1-4])[ /-]?(\d{4})|(\d{4})[ /-]?Q([1-4]))$", re.IGNORECASE)
_NAMED_MONTH = re.compile(r"^(?:(\d{1,2})\.? )?([A-Za-z]{3,9})\.?,? (\d{4})$")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def is_nothing(text: str) -> bool:
    """Whether a cell gives no value."""
    return text.strip().lower() in NOTHING


def is_apart(text: str) -> bool:
    """Whether a cell says that the question does not arise."""
    return text.strip().lower() in APART


def number_of(text: str, decimal: Decimal = ".") -> float | None:
    """The number in a cell, without its unit; None if the cell is something else."""
    found = _NUMBER.match(text.strip())
    if found is None:
        return None
    digits = re.sub(r"[  '’]", "", found["digits"])
    other = "," if decimal == "." else "."
    if other in digits and not re.match(rf"^\d{{1,3}}(\{other}\d{{3}})+(\{decimal}\d+)?$", digits):
        return None
    digits = digits.replace(other, "").replace(decimal, ".")
    try:
        value = float(digits)
    except ValueError:
        return None
    return -value if found["sign"] in ("-", "−") else value


def unit_of(text: str) -> str:
    """The unit written at a number, such as `%` or `kg`; empty if there is none."""
    found = _NUMBER.match(text.strip())
    return (found["before"] or found["after"] or "") if found else ""


def decimal_mark(texts: list[str]) -> Decimal:
    """The decimal mark of a column: a comma only where a cell can be read in no other way."""
    commas = sum(1 for text in texts if re.match(r"^[^\d]*\d+,(\d{1,2}|\d{4,})\D*$", text.strip()))
    points = sum(1 for text in texts if re.search(r"\d\.\d", text))
    return "," if commas > points else "."


def date_of(text: str, day_first: bool = True) -> tuple[str, Grain] | None:
    """A date in sortable form (`2026`, `2026-Q3`, `2026-10`, `2026-10-05`) with its grain, or None."""
    text = text.strip()
    if found := _ISO.match(text):
        return _checked(int(found[1]), int(found[2]), int(found[3]) if found[3] else None)
    if _YEAR.match(text):
        return text, "year"
    if found := _QUARTER.match(text):
        return f"{found[2] or found[3]}-Q{found[1] or found[4]}", "quarter"
    if found := _NUMERIC_DATE.match(text):
        first, second = int(found[1]), int(found[3])
        day, month = (first, second) if day_first else (second, first)
        return _checked(int(found[4]), month, day)
    if (found := _NAMED_MONTH.match(text)) and found[2][:3].lower() in _MONTHS:
        month = _MONTHS.index(found[2][:3].lower()) + 1
        return _checked(int(found[3]), month, int(found[1]) if found[1] else None)
    return None


def _checked(year: int, month: int, day: int | None) -> tuple[str, Grain] | None:
    if not 1 <= month <= 12 or (day is not None and not 1 <= day <= 31):
        return None
    return (
        (f"{year:04d}-{month:02d}", "month") if day is None else (f"{year:04d}-{month:02d}-{day:02d}", "day")
    )


def is_version(text: str) -> bool:
    """Whether a cell is a version number with at least two parts."""
    return _VERSION.match(text.strip()) is not None


def major_of(text: str) -> int | None:
    """The first part of a version number."""
    return int(text.strip().lstrip("vV").split(".")[0]) if is_version(text) else None
