"""Tables that hold a grid: who has what how far, or how much in which period.

Finds long grids (a row per cell) and wide ones (a column per item or period) and
turns the wide into long ones, so that whoever counts meets one shape. Which side of
a grid is the entities and which the items is a matter of reading: the side that the
question or another table names is the entities; failing that, the side that carries
descriptions and groups is the items; failing that, the shorter side is the entities.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from consort_agents.specialists.cells import date_of, is_apart, is_nothing
from consort_agents.specialists.facts import Column, Kind, Matrix, Role, Table, cells
from consort_agents.specialists.levels import are_levels, is_numeric_scale, sorted_levels
from consort_agents.specialists.tables import profile
from consort_agents.specialists.wording import label, plural, singular

_FEWEST_COLUMNS = 3
"""Columns of one scale (or of periods) from which a table counts as wide."""
_HIGHEST_GRADE = 5
_DENSE = 0.5
"""The share of the grid's cells that must have a row."""
_SIDES = (Kind.NAME, Kind.CATEGORY, Kind.TEXT)


@dataclass(frozen=True, slots=True)
class _Grid:
    table: Table
    value: Column
    first: Column
    second: Column


def unfolded(table: Table, others: Sequence[Table]) -> Table | None:
    """A wide table with one row per cell instead, or None if the table is not wide.

    What the columns are is told from `others`: if one of them names its rows as these columns are named,
    they are what its key says.
    """
    if table.key is None:
        return None
    periods = [c for c in table.columns if date_of(c.name) and c.kind in (Kind.NUMBER, Kind.EMPTY)]
    if len(periods) >= _FEWEST_COLUMNS and len({len(c.name) for c in periods}) == 1:
        return _unfold(table, periods, "period", _stem(table.file))
    for shared in (_in_words(table), _in_grades(table)):
        if len(shared) >= _FEWEST_COLUMNS:
            return _unfold(table, shared, _what(shared, others), "level")
    return None


def _in_words(table: Table) -> list[Column]:
    return [c for c in table.columns if c.kind is not Kind.NUMBER and _is_level(c)]


def _in_grades(table: Table) -> list[Column]:
    """Columns of small whole numbers that together make one scale; each alone may lack a grade."""
    grades = [c for c in table.columns if c.kind is Kind.NUMBER and all(t.isdigit() for t in _telling(c))]
    small = [
        c for c in grades if c.role is not Role.RANK and all(int(t) <= _HIGHEST_GRADE for t in _telling(c))
    ]
    return small if is_numeric_scale([text for c in small for text in _telling(c)]) else []


def _stem(file: str) -> str:
    """What a table of amounts is about, as far as its file says."""
    return re.sub(r"[\[\]`]", "", file.rpartition("/")[2].rpartition(".")[0]) or "amount"


def _what(columns: Sequence[Column], others: Sequence[Table]) -> str:
    names = {column.name.lower() for column in columns}
    for table in others:
        key = next((c for c in table.columns if c.name == table.key), None)
        if key is not None and 2 * len(names & {text.lower() for text in key.texts}) > len(names):
            return key.name
    return "column"


def _is_level(column: Column) -> bool:
    texts = _telling(column)
    if column.kind is Kind.LEVEL:
        return True
    if column.kind is Kind.NUMBER:
        return column.role is not Role.RANK and is_numeric_scale(texts)
    return bool(texts) and are_levels(texts)


def _telling(column: Column) -> list[str]:
    return [text for text in column.texts if not is_nothing(text) and not is_apart(text)]


def _unfold(table: Table, spread: Sequence[Column], item: str, value: str) -> Table:
    taken = {column.name for column in spread}
    carried = [c for c in table.columns if c.name not in taken and c.kind in _SIDES]
    names = [c.name for c in carried]
    item, value = (word if word not in names else f"{word} of cell" for word in (item, value))
    kept, values = [cells(c) for c in carried], [cells(c) for c in spread]
    rows, places = [], []
    for row, place in enumerate(table.places):
        for column, texts in zip(spread, values, strict=True):
            rows.append([*(texts_[row] for texts_ in kept), column.name, texts[row]])
            places.append(place)
    return profile(
        f"{table.name} (cell by cell)", table.file, [*names, item, value], rows, places, table.place
    )


def matrix_of(table: Table, question: str, known: frozenset[str]) -> Matrix | None:
    """The matrix in a long table, or None. `known` are names of rows of other tables, lower case."""
    for value in table.columns:
        if not _is_level(value) or value.distinct < 2:
            continue
        grid = _densest(table, value)
        if grid is not None and sorted_levels(value.texts)[0]:
            return _described(grid, question, known)
    return None


def _densest(table: Table, value: Column) -> _Grid | None:
    sides = [
        c
        for c in table.columns
        if c.name != value.name and c.kind in _SIDES and c.distinct > 1 and not c.unique
    ]
    best, best_fill = None, _DENSE
    for at, first in enumerate(sides):
        for second in sides[at + 1 :]:
            pairs = set(zip(first.codes, second.codes, strict=True))
            if len(pairs) != len(table.places):
                continue
            fill = len(pairs) / (first.distinct * second.distinct)
            if fill > best_fill:
                best, best_fill = _Grid(table, value, first, second), fill
    return best


def _described(grid: _Grid, question: str, known: frozenset[str]) -> Matrix:
    first, second = grid.first, grid.second
    weights = [
        _entity_weight(grid, column, other, question, known)
        for column, other in ((first, second), (second, first))
    ]
    entity, item = (first, second) if weights[0] > weights[1] else (second, first)
    twins = _twins(grid, item)
    title = max(twins, key=lambda c: sum(map(len, c.texts)) / len(c.texts))
    short = min(twins, key=lambda c: sum(map(len, c.texts)) / len(c.texts))
    full, partial, none = sorted_levels(grid.value.texts)
    return Matrix(
        table=grid.table.name,
        entity=entity.name,
        item=title.name,
        item_id=short.name if short.name != title.name else None,
        group=_group(grid, title, {entity.name, *(c.name for c in twins)}),
        value=grid.value.name,
        full=full,
        partial=partial,
        none=none,
        apart=tuple(text for text in grid.value.texts if is_apart(text)),
        unknown=tuple(dict.fromkeys(["", *(text for text in grid.value.texts if is_nothing(text))])),
    )


def _entity_weight(
    grid: _Grid, column: Column, other: Column, question: str, known: frozenset[str]
) -> tuple[int, int, int]:
    asked = set(re.findall(r"[a-z]+", question.lower()))
    header = singular(label(column.name).lower().split()[-1])
    named = len({header, plural(header)} & asked)
    elsewhere = sum(1 for text in column.texts if text.lower() in known)
    described = sum(
        1
        for c in grid.table.columns
        if c.name not in (column.name, other.name, grid.value.name)
        and c.kind in _SIDES
        and _depends(c, column)
    )
    return (2 * named + (1 if elsewhere * 2 > column.distinct else 0), -described, -column.distinct)


def _depends(column: Column, on: Column) -> bool:
    """Whether a value of `on` always comes with one and the same value of `column`."""
    return len(set(zip(on.codes, column.codes, strict=True))) == len(on.texts)


def _twins(grid: _Grid, item: Column) -> list[Column]:
    """The item column and those that say the same in other words, such as its identifier."""
    return [c for c in grid.table.columns if c.kind in _SIDES and _depends(c, item) and _depends(item, c)]


def _group(grid: _Grid, item: Column, taken: set[str]) -> str | None:
    """The column that sorts the items into fewer groups."""
    for column in grid.table.columns:
        fewer = 1 < column.distinct <= item.distinct / 2
        if column.name not in taken and column.kind in _SIDES and fewer and _depends(column, item):
            return column.name
    return None
