"""Counts again what a report says it counted, from the facts alone.

Shares no code with those who counted first: it knows tables of cells and the
expressions of `basis`, nothing of trends, matrices or reports. So an error there
shows here as a difference.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consort_agents.specialists.basis import Argument, BasisError, Call, Col, Where
from consort_agents.specialists.cells import date_of, is_nothing, major_of, number_of
from consort_agents.specialists.facts import Column, Kind, Table


@dataclass(frozen=True, slots=True)
class Name:
    """A name that the claim must contain."""

    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that the claim must contain: a number as exact as it was counted, or a date or threshold as text."""

    exact: float | str


Expected = Name | Figure


@dataclass(slots=True)
class Recount:
    """What the measures of one entry give: the names and figures in order, and the rows that were looked at."""

    expected: list[Expected]
    rows: set[int]


class Ledger:
    """One table, ready for counting. What a text means is worked out once, however many rows hold it."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.everything = list(range(len(table.places)))
        self._columns = {column.name: column for column in table.columns}
        self._values: dict[str, list[float | str | None]] = {}
        self._met: dict[Where, list[bool]] = {}

    def column(self, name: str) -> Column:
        if name not in self._columns:
            raise BasisError(f"{self.table.name} has no column [{name}]")
        return self._columns[name]

    def texts(self, name: str, rows: Iterable[int]) -> list[str]:
        column = self.column(name)
        return [column.texts[column.codes[row]] for row in rows]

    def values(self, name: str, rows: Iterable[int]) -> list[float | str | None]:
        """Cells as what their column holds: numbers, dates in sortable form, a version's first part, or text."""
        column = self.column(name)
        if name not in self._values:
            self._values[name] = [_value(column, text) for text in column.texts]
        known = self._values[name]
        return [known[column.codes[row]] for row in rows]

    def select(self, conditions: Sequence[Where], rows: Sequence[int]) -> list[int]:
        for condition in conditions:
            codes = self.column(condition.column).codes
            if condition not in self._met:
                self._met[condition] = [_meets(condition, *cell) for cell in self._cells(condition.column)]
            met = self._met[condition]
            rows = [row for row in rows if met[codes[row]]]
        return list(rows)

    def _cells(self, name: str) -> list[tuple[str, float | str | None]]:
        column = self.column(name)
        return [(text, _value(column, text)) for text in column.texts]


def _value(column: Column, text: str) -> float | str | None:
    match column.kind:
        case Kind.NUMBER:
            return number_of(text, column.decimal)
        case Kind.DATE:
            date = date_of(text, column.day_first)
            return date[0] if date else None
        case Kind.VERSION:
            return major_of(text)
        case _:
            return None if is_nothing(text) else text


def _meets(condition: Where, text: str, value: float | str | None) -> bool:
    if condition.operator in ("=", "!="):
        same = any(text == wanted or (wanted == "" and value is None) for wanted in condition.texts)
        same = same or (isinstance(value, str) and value in condition.texts)
        return same is (condition.operator == "=")
    if value is None:
        return False
    bound = condition.texts[0]
    if isinstance(value, str):
        return _compare(value[: len(bound)], condition.operator, bound)
    limit = number_of(bound)
    if limit is None:
        raise BasisError(f"[{condition.column}] holds numbers and cannot be compared with {bound!r}")
    return _compare(value, condition.operator, limit)


def _compare(left: float | str, operator: str, right: float | str) -> bool:
    if isinstance(left, str) or isinstance(right, str):
        order = (str(left) > str(right)) - (str(left) < str(right))
    else:
        order = (left > right) - (left < right)
    return {"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[operator]


def recount(ledger: Ledger, measures: Sequence[Call], within: Sequence[int] | None = None) -> Recount:
    """What the measures give over the rows `within` (all, if not said). Raises BasisError."""
    result = Recount([], set())
    rows = ledger.everything if within is None else list(within)
    for measure in measures:
        match measure.name:
            case "percent":
                result.expected.append(Figure(_percent(result.expected)))
            case "stated":
                result.expected.append(Figure(_text(measure, 0)))
            case "top":
                _top(ledger, measure, rows, result)
            case "which":
                result.rows.update(ledger.select(_conditions(measure), rows))
                result.expected.extend(Name(text) for text in grouped(ledger, measure, rows))
            case _:
                result.expected.extend(Figure(value) for value in _figures(ledger, measure, rows, result))
    return result


def names_of_each(ledger: Ledger, measure: Call) -> dict[str, list[int]]:
    """The groups of an `each(…)`: every text of its column with its rows. Raises BasisError."""
    rows = ledger.select(_conditions(measure), ledger.everything)
    return _groups(ledger, _column(measure, 0), rows)


def inner_measures(measure: Call) -> list[Call]:
    """The measures of an `each(…)`."""
    return [argument for argument in measure.arguments if isinstance(argument, Call)]


def _figures(ledger: Ledger, measure: Call, rows: Sequence[int], result: Recount) -> list[float | str]:
    chosen = ledger.select(_conditions(measure), rows)
    if measure.name not in ("share", "change"):
        result.rows.update(chosen)
    match measure.name:
        case "count":
            return [float(len(chosen))]
        case "distinct":
            return [float(len({t for t in ledger.texts(_column(measure, 0), chosen) if not is_nothing(t)}))]
        case "groups":
            return [float(len(grouped(ledger, measure, rows)))]
        case "change":
            return [_change(ledger, measure, rows, result)]
        case "share":
            return _share(ledger, measure, rows, result)
        case "portion":
            return [_portion(ledger, measure, chosen)]
        case "herfindahl":
            totals = _totals(ledger, _column(measure, 0), _column(measure, 1), chosen)
            whole = math.fsum(totals)
            return [math.fsum((100 * part / whole) ** 2 for part in totals) if whole else 0.0]
        case "sum" | "mean" | "median" | "lowest" | "highest" | "value":
            return [_aggregate(ledger, measure, chosen)]
        case _:
            raise BasisError(f"nobody knows how to count {measure.name!r}")


def grouped(ledger: Ledger, measure: Call, rows: Sequence[int] | None = None) -> list[str]:
    """The texts for which a `groups(…)` holds, in the order of the rows. Raises BasisError."""
    rows = ledger.select(_conditions(measure), ledger.everything if rows is None else rows)
    inner, wanted = inner_measures(measure), [a for a in measure.arguments if isinstance(a, int)]
    if len(inner) != 1 or len(wanted) != 1:
        raise BasisError("groups needs a column, one count and one number")
    conditions = _conditions(inner[0])
    groups = _groups(ledger, _column(measure, 0), rows)
    return [text for text, members in groups.items() if len(ledger.select(conditions, members)) == wanted[0]]


def _change(ledger: Ledger, measure: Call, rows: Sequence[int], result: Recount) -> float:
    values = [value for inner in inner_measures(measure) for value in _figures(ledger, inner, rows, result)]
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) != 2 or len(values) != 2 or not numbers[0]:
        raise BasisError("change needs two numbers, the first not zero")
    return 100 * (numbers[1] - numbers[0]) / abs(numbers[0])


def _share(ledger: Ledger, measure: Call, rows: Sequence[int], result: Recount) -> list[float | str]:
    inner = inner_measures(measure)
    if len(inner) != 2:
        raise BasisError("a share needs a part and a whole")
    part, whole = (_figures(ledger, count, rows, result)[0] for count in inner)
    if isinstance(part, str) or isinstance(whole, str):
        raise BasisError("a share is of numbers")
    return [part, whole, 100 * part / whole if whole else 0.0]


def _top(ledger: Ledger, measure: Call, rows: Sequence[int], result: Recount) -> None:
    calls = inner_measures(measure)
    if len(calls) != 2 or calls[1].name not in ("high", "low"):
        raise BasisError("top needs a number, a column, a measure, and high or low")
    [inner, order], count, column = calls, _number(measure), _column(measure, 0)
    chosen = ledger.select(_conditions(measure), rows)
    scored = []
    for at, (text, members) in enumerate(_groups(ledger, column, chosen).items()):
        try:
            values = _figures(ledger, inner, members, result)
        except _NoValueError:
            continue
        scored.append((values[-1], at, text, values))
    scored.sort(key=lambda item: item[0], reverse=order.name == "high")
    result.rows.update(chosen)
    for _, _, text, values in scored[:count]:
        result.expected.append(Name(text))
        result.expected.extend(Figure(value) for value in values)


class _NoValueError(BasisError):
    """There is no cell with a value to take."""


def _aggregate(ledger: Ledger, measure: Call, rows: Sequence[int]) -> float | str:
    name = _column(measure, 0)
    values = [value for value in ledger.values(name, rows) if value is not None]
    if not values:
        raise _NoValueError(f"no value in [{name}] for {measure.name}")
    if measure.name in ("lowest", "highest"):
        return (min if measure.name == "lowest" else max)(values)
    if measure.name == "value":
        if len(values) > 1:
            raise BasisError(f"[{name}] has {len(values)} cells there, not one")
        return values[0]
    numbers = [float(value) for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        raise BasisError(f"[{name}] holds no numbers for {measure.name}")
    match measure.name:
        case "sum":
            return math.fsum(numbers)
        case "mean":
            return math.fsum(numbers) / len(numbers)
        case _:
            return statistics.median(numbers)


def _portion(ledger: Ledger, measure: Call, rows: Sequence[int]) -> float:
    totals = sorted(_totals(ledger, _column(measure, 0), _column(measure, 1), rows), reverse=True)
    whole = math.fsum(totals)
    return 100 * math.fsum(totals[: _number(measure)]) / whole if whole else 0.0


def _totals(ledger: Ledger, by: str, quantity: str, rows: Sequence[int]) -> list[float]:
    return [
        math.fsum(value for value in ledger.values(quantity, members) if isinstance(value, float))
        for members in _groups(ledger, by, rows).values()
    ]


def _groups(ledger: Ledger, column: str, rows: Sequence[int]) -> dict[str, list[int]]:
    texts, codes = ledger.column(column).texts, ledger.column(column).codes
    by_code: dict[int, list[int]] = {}
    for row in rows:
        by_code.setdefault(codes[row], []).append(row)
    return {texts[code]: members for code, members in by_code.items() if not is_nothing(texts[code])}


def _percent(expected: Sequence[Expected]) -> float:
    last = [item.exact for item in expected if isinstance(item, Figure)][-2:]
    figures = [exact for exact in last if not isinstance(exact, str)]
    if len(figures) < 2:
        raise BasisError("percent needs two figures before it")
    return 100 * figures[0] / figures[1] if figures[1] else 0.0


def _conditions(measure: Call) -> list[Where]:
    return [argument for argument in measure.arguments if isinstance(argument, Where)]


def _column(measure: Call, at: int) -> str:
    names = [argument.name for argument in measure.arguments if isinstance(argument, Col)]
    if at >= len(names):
        raise BasisError(f"{measure.name} lacks a column")
    return names[at]


def _number(measure: Call) -> int:
    return next((a for a in measure.arguments if isinstance(a, int)), 0)


def _text(measure: Call, at: int) -> str:
    texts: list[Argument] = [a for a in measure.arguments if isinstance(a, str)]
    if at >= len(texts):
        raise BasisError(f"{measure.name} lacks a text")
    return str(texts[at])
