"""What the tables say of who is ahead and what is changing.

Knows columns by what they hold, never by their names. Each kind of number is used
for what it can carry: ranks are ordered and have a median, but no sums, shares or
growth; ratios are ordered; only quantities are added up and have a concentration.
"Recent" is told from the newest date in the data, not from today's clock, so the
same folder gives the same answer next year.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence

from consort_agents.specialists.cells import date_of, is_nothing, major_of, number_of
from consort_agents.specialists.facts import Column, Facts, Kind, Role, Table, cells, column_named
from consort_agents.specialists.findings import (
    Change,
    Line,
    Majors,
    Named,
    Order,
    Recency,
    Series,
    Trends,
)
from consort_agents.specialists.levels import is_numeric_scale
from consort_agents.specialists.matching import matches_of

LEADERS = 10
"""Names kept per order."""
LARGEST = 3
"""How many of the largest a concentration is told for."""
_LINES = 6
"""Names drawn of a series."""
_SOME = 5
"""Rows a table needs before anything is said of its spread."""


def trends_of(facts: Facts) -> Trends:
    """The figures of all tables that are not capability matrices."""
    matrices = {matrix.table for matrix in facts.matrices}
    unfolded = {t.file for t in facts.tables if t.name != t.file and t.name not in matrices}
    tables = [
        t for t in facts.tables if t.name not in matrices and (t.name != t.file or t.file not in unfolded)
    ]
    series = [found for table in tables for found in _series(table)]
    panels = {found.table: found for found in series}
    orders = [found for table in tables for found in _orders(table, panels.get(table.name))]
    matches = matches_of(facts)
    matched = {match.table for match in matches}
    return Trends(
        orders=tuple(sorted(orders, key=lambda order: order.table not in matched)),
        recency=tuple(found for table in tables for found in _recencies(table)),
        majors=tuple(found for table in tables for found in _majors(table)),
        series=tuple(sorted(series, key=lambda found: found.key is None)),
        matches=matches,
    )


def _of_kind(table: Table, *kinds: Kind) -> list[Column]:
    return [column for column in table.columns if column.kind in kinds]


def _numbers(table: Table) -> list[Column]:
    """Columns of numbers that say something of their row; a scale of a few grades is no amount."""
    numbers = [c for c in _of_kind(table, Kind.NUMBER) if c.role is not Role.INDEX and c.distinct > 1]
    return [
        c
        for c in numbers
        if c.role is Role.RANK or not is_numeric_scale([t for t in c.texts if not is_nothing(t)])
    ]


def _values(column: Column) -> list[float | None]:
    return [number_of(text, column.decimal) for text in cells(column)]


def _dates(column: Column) -> list[str]:
    """Dates in sortable form, cut to the column's grain; empty where there is none."""
    length = {"year": 4, "month": 7, "quarter": 7, "day": 10, "": 10}[column.grain]
    found = (date_of(text, column.day_first) for text in cells(column))
    return [date[0][:length] if date else "" for date in found]


def _orders(table: Table, panel: Series | None) -> list[Order]:
    if panel is not None:
        return [_latest(table, panel)] if panel.key is not None else []
    if table.key is not None:
        return [order for c in _numbers(table) if (order := _by_key(table, table.key, c)) is not None]
    groups = _of_kind(table, Kind.CATEGORY)
    amounts = [c for c in _numbers(table) if c.role is Role.QUANTITY]
    return [_summed(table, groups[0], amounts[0])] if groups and amounts else []


def _by_key(table: Table, key: str, column: Column) -> Order | None:
    names, values = cells(column_named(table, key)), _values(column)
    pairs = [
        Named(name=name, value=value) for name, value in zip(names, values, strict=True) if value is not None
    ]
    return _order(table, key, column, pairs, rows=len(names)) if len(pairs) > 1 else None


def _summed(table: Table, group: Column, amount: Column) -> Order:
    totals: dict[str, float] = {}
    for name, value in zip(cells(group), _values(amount), strict=True):
        if not is_nothing(name):
            totals[name] = math.fsum((totals.get(name, 0.0), value or 0.0))
    pairs = [Named(name=name, value=value) for name, value in totals.items()]
    order = _order(table, group.name, amount, pairs, rows=len(table.places))
    return order.model_copy(update={"summed": True})


def _latest(table: Table, panel: Series) -> Order:
    """The order in the last period of a table over time."""
    assert panel.key is not None
    names, column = cells(column_named(table, panel.key)), column_named(table, panel.column)
    dates = _dates(column_named(table, panel.period_column))
    rows = [at for at, date in enumerate(dates) if date == panel.last]
    values = _values(column)
    pairs = [Named(name=names[at], value=value) for at in rows if (value := values[at]) is not None]
    order = _order(table, panel.key, column, pairs, rows=len(rows))
    return order.model_copy(update={"period_column": panel.period_column, "period": panel.last})


def _order(table: Table, key: str, column: Column, pairs: Sequence[Named], rows: int) -> Order:
    best_first = sorted(pairs, key=lambda pair: pair.value if column.role is Role.RANK else -pair.value)
    values = [pair.value for pair in pairs]
    whole = math.fsum(values)
    adds_up = column.role is Role.QUANTITY and whole > 0 and min(values) >= 0 and len(values) > LARGEST
    return Order(
        table=table.name,
        key=key,
        column=column.name,
        role=column.role,
        unit=column.unit,
        rows=rows,
        valued=len(pairs),
        leaders=tuple(best_first[:LEADERS]),
        median=statistics.median(values),
        largest_share=100 * math.fsum(sorted(values)[-LARGEST:]) / whole if adds_up else None,
        herfindahl=math.fsum((100 * value / whole) ** 2 for value in values) if adds_up else None,
    )


def _recencies(table: Table) -> list[Recency]:
    if table.key is None or len(table.places) < _SOME:
        return []
    return [
        _recency(table, table.key, column)
        for column in _of_kind(table, Kind.DATE)
        if column.distinct > 1 and column.grain in ("month", "day", "year")
    ]


def _recency(table: Table, key: str, column: Column) -> Recency:
    names, exact = cells(column_named(table, key)), _dates(column)
    dates = [date[:7] for date in exact]
    dated = [date for date in dates if date]
    newest = max(dated)
    since, before = _steps_back(newest, 1), _steps_back(newest, 12 if len(newest) == 7 else 3)
    oldest = sorted((date, at) for at, date in enumerate(exact) if date)[:3]
    found = Recency(
        table=table.name,
        key=key,
        column=column.name,
        newest=max(exact),
        since=since,
        recent=sum(1 for date in dated if date >= since),
        before=before,
        stale=sum(1 for date in dated if date < before),
        dated=len(dated),
        rows=len(names),
        oldest=tuple((names[at], date) for date, at in oldest),
        periods=tuple(sorted(Counter(dated).items())),
    )
    ranks = [c for c in _numbers(table) if c.role is Role.RANK]
    return found.model_copy(update=_by_rank(ranks[0], dates, since)) if ranks else found


def _steps_back(period: str, steps: int) -> str:
    """`2026-11` one step back is `2026-10`; years go back by years."""
    if len(period) == 4:
        return str(int(period) - steps)
    months = int(period[:4]) * 12 + int(period[5:7]) - 1 - steps
    return f"{months // 12:04d}-{months % 12 + 1:02d}"


def _by_rank(rank: Column, dates: Sequence[str], since: str) -> dict[str, object]:
    """How fresh the best ranked quarter is, and what has no rank."""
    values = _values(rank)
    ranked = sorted(value for value in values if value is not None)
    if len(ranked) < 4 * _SOME:
        return {}
    bound = ranked[len(ranked) // 4 - 1]
    best = [date for date, value in zip(dates, values, strict=True) if value is not None and value <= bound]
    unranked = [date for date, value in zip(dates, values, strict=True) if value is None]
    return {
        "rank": rank.name,
        "best_bound": f"{bound:.0f}",
        "best": len(best),
        "best_recent": sum(1 for date in best if date >= since),
        "unranked": len(unranked),
        "unranked_recent": sum(1 for date in unranked if date >= since),
    }


def _majors(table: Table) -> list[Majors]:
    found = []
    for column in _of_kind(table, Kind.VERSION):
        parts = [part for text in cells(column) if (part := major_of(text)) is not None]
        below = sum(1 for part in parts if part < 1)
        found.append(Majors(table=table.name, column=column.name, below_one=below, rows=len(parts)))
    return found


def _series(table: Table) -> list[Series]:
    for period in _of_kind(table, Kind.DATE):
        if period.distinct < 3:
            continue
        for key in [*_of_kind(table, Kind.CATEGORY, Kind.NAME), None]:
            numbers = [c for c in _numbers(table) if c.role is not Role.RANK]
            if key is None and table.key is not None:
                continue
            if (
                numbers
                and _one_each(table, period, key)
                and (key is None or period.distinct < len(table.places))
            ):
                return [_line(table, period, key, column) for column in numbers[: 1 if key else 3]]
    return []


def _one_each(table: Table, period: Column, key: Column | None) -> bool:
    codes = key.codes if key is not None else (0,) * len(period.codes)
    return len(set(zip(period.codes, codes, strict=True))) == len(table.places)


def _line(table: Table, period: Column, key: Column | None, column: Column) -> Series:
    dates, values = _dates(period), _values(column)
    names = cells(key) if key is not None else [column.name] * len(dates)
    known = [(d, n, v) for d, n, v in zip(dates, names, values, strict=True) if d and v is not None]
    times = sorted({date for date, _, _ in known})
    first, last = times[0], times[-1]
    starts = {name: value for date, name, value in known if date == first}
    ends = {name: value for date, name, value in known if date == last}
    changes = [
        _change(name, starts[name], ends[name]) for name in starts if name in ends and starts[name] > 0
    ]
    whole = key is not None and column.role is Role.QUANTITY and len(changes) == len(starts) == len(ends)
    return Series(
        table=table.name,
        key=key.name if key is not None else None,
        period_column=period.name,
        column=column.name,
        role=column.role,
        unit=column.unit,
        first=first,
        last=last,
        periods=len(times),
        changes=tuple(sorted(changes, key=lambda change: -change.percent)),
        total=_change("", math.fsum(starts.values()), math.fsum(ends.values()))
        if whole and changes
        else None,
        lines=_lines(known, ends),
    )


def _lines(known: Sequence[tuple[str, str, float]], ends: dict[str, float]) -> tuple[Line, ...]:
    names = sorted(ends, key=lambda name: -ends[name])[:_LINES]
    return tuple(
        Line(name=name, points=tuple(sorted((date, value) for date, own, value in known if own == name)))
        for name in names
    )


def _change(name: str, first: float, last: float) -> Change:
    return Change(name=name, first=first, last=last, percent=100 * (last - first) / first)
