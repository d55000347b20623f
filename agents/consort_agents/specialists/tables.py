"""What the columns of a table hold, found from their cells.

Headers are a hint in one question only, whether a number is a rank, an amount or a
ratio, because cells cannot tell a rank from an amount. Everything else (dates,
versions, levels, names, free text, which column names the row) is decided by what
is in the cells, so that a table about another market in another wording is read as
well as this one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from consort_agents.specialists.cells import (
    Grain,
    date_of,
    decimal_mark,
    is_apart,
    is_nothing,
    is_version,
    number_of,
    unit_of,
)
from consort_agents.specialists.facts import Column, Kind, Place, Role, Table
from consort_agents.specialists.levels import is_scale

LONGEST_CELL = 300
"""Characters of a cell that are kept; longer ones are cut and end in an ellipsis."""

_ENOUGH = 0.9
"""The share of cells that must be numbers (dates, versions) for the column to be of that kind."""
_RANK_WORDS = frozenset({"rank", "ranking", "place", "position", "standing"})
_INDEX_WORDS = frozenset({"id", "no", "nr", "number", "index", "row", "code", "key"})
_RATIO_WORDS = frozenset(
    {
        "price",
        "cost",
        "rate",
        "share",
        "percent",
        "percentage",
        "pct",
        "avg",
        "average",
        "mean",
        "median",
        "score",
    }
    | {
        "rating",
        "index",
        "ratio",
        "margin",
        "growth",
        "age",
        "per",
        "change",
        "stars",
        "quality",
        "temperature",
    }
)


def profile(
    name: str,
    file: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    places: Sequence[int],
    place: Place,
) -> Table:
    """A table with what its columns were found to be."""
    columns = tuple(_column(title, [_kept(row[at]) for row in rows]) for at, title in enumerate(header))
    return Table(name=name, file=file, place=place, places=tuple(places), columns=columns, key=_key(columns))


def unread(table: Table) -> list[str]:
    """Notes on cells that are not what the rest of their column is."""
    notes = []
    for column in table.columns:
        if column.kind not in (Kind.NUMBER, Kind.DATE):
            continue
        odd = sorted({text for text in column.texts if not _has_value(text, column) and not is_nothing(text)})
        if odd:
            shown = ", ".join(f'"{text}"' for text in odd[:3]) + (" and others" if len(odd) > 3 else "")
            notes.append(f"{table.name}: in the column {column.name}, {shown} counts as no {column.kind}.")
    return notes


def _kept(text: str) -> str:
    clean = " ".join(text.split())
    return clean if len(clean) <= LONGEST_CELL else clean[: LONGEST_CELL - 1] + "…"


def _column(name: str, texts: list[str]) -> Column:
    telling = [text for text in texts if not is_nothing(text) and not is_apart(text)]
    kind, day_first = _kind(telling)
    distinct = tuple(dict.fromkeys(texts))
    code = {text: at for at, text in enumerate(distinct)}
    column = Column(
        name=name,
        kind=kind,
        unique=len(distinct) == len(texts) == len(telling) > 0,
        distinct=len(set(telling)),
        empty=sum(1 for text in texts if is_nothing(text)),
        decimal=decimal_mark(telling) if kind is Kind.NUMBER else ".",
        unit=_unit(telling) if kind is Kind.NUMBER else "",
        grain=_grain(telling, day_first) if kind is Kind.DATE else "",
        day_first=day_first,
        texts=distinct,
        codes=tuple(code[text] for text in texts),
    )
    if kind is not Kind.NUMBER:
        return column
    missing = sum(1 for text in texts if not _has_value(text, column))
    return column.model_copy(update={"role": _role(column, telling), "empty": missing})


def _has_value(text: str, column: Column) -> bool:
    if column.kind is Kind.NUMBER:
        return number_of(text, column.decimal) is not None
    return date_of(text, column.day_first) is not None


def _kind(texts: list[str]) -> tuple[Kind, bool]:
    """The kind of a column with these values, and for dates whether the day comes first."""
    if not texts:
        return Kind.EMPTY, True
    if is_scale(texts):
        return Kind.LEVEL, True
    for day_first in (True, False):
        if _mostly(date_of(text, day_first) is not None for text in texts):
            return Kind.DATE, day_first
    decimal = decimal_mark(texts)
    if _mostly(number_of(text, decimal) is not None for text in texts) and len(_units(texts)) <= 2:
        return Kind.NUMBER, True
    if _mostly(is_version(text) for text in texts):
        return Kind.VERSION, True
    return _words(texts), True


def _words(texts: list[str]) -> Kind:
    distinct = len(set(texts))
    words = sum(len(text.split()) for text in set(texts)) / distinct
    if distinct <= len(texts) / 2:
        return Kind.TEXT if words > 12 else Kind.CATEGORY
    if words > 4.5:
        return Kind.TEXT
    return Kind.NAME


def _mostly(flags: Iterable[bool]) -> bool:
    known = list(flags)
    return bool(known) and sum(known) >= _ENOUGH * len(known)


def _units(texts: list[str]) -> set[str]:
    return {
        unit_of(text) for text in texts if number_of(text) is not None or number_of(text, ",") is not None
    }


def _unit(texts: list[str]) -> str:
    found = sorted(_units(texts) - {""})
    return found[0] if len(found) == 1 else ""


def _grain(texts: list[str], day_first: bool) -> Grain:
    """The finest grain that all dates of the column have."""
    order: tuple[Grain, ...] = ("year", "quarter", "month", "day")
    found = {date[1] for text in texts if (date := date_of(text, day_first))}
    return min(found, key=order.index, default="")


def _role(column: Column, texts: list[str]) -> Role:
    words = set(re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", column.name).lower()))
    values = [value for text in texts if (value := number_of(text, column.decimal)) is not None]
    whole = all(value.is_integer() and value > 0 for value in values)
    if whole and words & _RANK_WORDS:
        return Role.RANK
    if column.unit == "%" or "%" in column.name or words & _RATIO_WORDS:
        return Role.RATIO
    running = len(values) >= 3 and values == [float(at) for at in range(1, len(values) + 1)]
    if running or (whole and column.unique and words & _INDEX_WORDS):
        return Role.INDEX
    if whole and len(values) >= 5 and sorted(values) == [float(at) for at in range(1, len(values) + 1)]:
        return Role.RANK
    return Role.QUANTITY


def _key(columns: Sequence[Column]) -> str | None:
    """The first column of names without doubles; failing that, the first such column of text."""
    for kind in (Kind.NAME, Kind.CATEGORY, Kind.TEXT):
        for column in columns:
            if column.kind is kind and column.unique:
                return column.name
    return None
