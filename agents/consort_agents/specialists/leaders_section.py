"""Who leads: sentences and tables on the front of the market.

By coverage where there is a matrix, by every number that orders names, and both
side by side for names found in both. Every sentence carries the count that it
rests on.
"""

from __future__ import annotations

from dataclasses import dataclass

from consort_agents.specialists.basis import Call, Col, Where, call, is_, is_not
from consort_agents.specialists.cells import number_of
from consort_agents.specialists.coverage import Coverage
from consort_agents.specialists.facts import Role, cells, column_named
from consort_agents.specialists.findings import Order
from consort_agents.specialists.material import (
    Material,
    count,
    full_share,
    known_count,
    level_count,
    many,
    one,
    table_lines,
    top,
)
from consort_agents.specialists.trends import LARGEST
from consort_agents.specialists.wording import capital, figure, label, listing, percent, quoted

FIRST = 3
"""Names in a sentence."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """One name by coverage and by the first order of a table."""

    entity: str
    full: int
    counted: int
    name: str
    value: float
    better: float
    """the value, turned so that more is better"""


def leaders_summary(material: Material) -> list[str]:
    """The answer to "who leads", one sentence per way to see it."""
    said = [_by_coverage(material, coverage) for coverage in material.coverage[:1]]
    said += [_by_order(material, order) for order in _by_size(material)[:2]]
    return [*said, *_on_both(material)]


def leaders_section(material: Material) -> list[str]:
    """The tables behind it."""
    lines: list[str] = []
    for coverage in material.coverage:
        lines += [*_coverage_table(material, coverage), *material.shown(f"coverage {coverage.matrix.table}")]
    for order in material.trends.orders:
        lines += [_spread(material, order), "", *material.shown(f"order {order.table} {order.column}")]
    return [*lines, *_both_table(material)]


def _by_size(material: Material) -> list[Order]:
    """The orders in which being first means being ahead: the dearest does not lead."""
    return [order for order in material.trends.orders if order.role in (Role.RANK, Role.QUANTITY)]


def _by_coverage(material: Material, coverage: Coverage) -> str:
    matrix, ahead = coverage.matrix, coverage.entities[:FIRST]
    parts = [
        f"{found.name} ({found.full} of {found.counted}, {percent(found.full, found.counted)})"
        for found in ahead
    ]
    cited = material.book.count(
        material.table(matrix.table), top(len(ahead), Col(matrix.entity), full_share(matrix))
    )
    levels = quoted(matrix.full)
    first, *rest = parts
    followed = f", followed by {listing(rest)}" if rest else ""
    return f"By the share of {many(matrix.item)} with {levels}, {first} leads{followed}{cited}."


def _by_order(material: Material, order: Order) -> str:
    ahead = order.leaders[:FIRST]
    parts = [f"{leader.name} ({_amount(order, leader.value)})" for leader in ahead]
    cited = material.book.count(material.table(order.table), _top(order, len(ahead)), *_stated(order))
    period = f" in {order.period}" if order.period else ""
    return f"Among {many(order.key)}, {listing(parts)} come first by {label(order.column)}{period}{cited}."


def _top(order: Order, number: int) -> Call:
    measure = call("sum" if order.summed else "value", Col(order.column))
    return top(number, Col(order.key), measure, *_during(order), high=order.role is not Role.RANK)


def _during(order: Order) -> tuple[Where, ...]:
    return (is_(order.period_column, order.period),) if order.period_column else ()


def _stated(order: Order) -> tuple[Call, ...]:
    return (call("stated", order.period),) if order.period_column else ()


def _amount(order: Order, value: float) -> str:
    return figure(value) + (f" {order.unit}" if order.unit else "")


def _spread(material: Material, order: Order) -> str:
    """How the number is spread, as far as its kind allows."""
    table, named = material.table(order.table), f"{many(order.key)} in {order.table}"
    during = _during(order)
    when = f"In {order.period}, " if order.period else ""
    counted = call("distinct", Col(order.key)) if order.summed else count(is_not(order.column, ""), *during)
    if order.role is Role.QUANTITY and order.largest_share is not None and order.herfindahl is not None:
        cited = material.book.count(
            table,
            *_stated(order),
            call("stated", str(LARGEST)),
            call("portion", LARGEST, Col(order.key), Col(order.column), *during),
            counted,
            call("herfindahl", Col(order.key), Col(order.column), *during),
        )
        return (
            f"{when or 'In all, '}the {LARGEST} largest hold {order.largest_share:.0f} % of the "
            f"{label(order.column)} of the {order.valued} {named} that have a figure, "
            f"a Herfindahl index of {figure(order.herfindahl, 0)}{cited}."
        )
    if order.summed:
        return f"{capital(label(order.column))} is added up over the rows of each {one(order.key)}."
    middle = call("median", Col(order.column), *during)
    cited = material.book.count(table, *_stated(order), counted, count(*during), middle)
    what = (
        "an order, not an amount, so shares of it would mean nothing"
        if order.role is Role.RANK
        else "compared, not added up"
    )
    head = f"{when}{order.valued} of {order.rows} {named} have a figure for {label(order.column)}"
    return f"{head}; the median is {figure(order.median)}{cited}. It is {what}."


def _coverage_table(material: Material, coverage: Coverage) -> list[str]:
    matrix = coverage.matrix
    lower = [words for words in (matrix.partial, matrix.none) if words]
    rest = level_count(matrix, [*matrix.apart, *matrix.unknown])
    each = call(
        "each", Col(matrix.entity), full_share(matrix), *(level_count(matrix, words) for words in lower), rest
    )
    cited = material.book.count(material.table(matrix.table), each)
    rows = [
        [
            found.name,
            f"{found.full} of {found.counted}",
            percent(found.full, found.counted),
            *[str(found.partial)] * bool(matrix.partial),
            *[str(found.none)] * bool(matrix.none),
            str(found.apart + found.unknown),
        ]
        for found in coverage.entities
    ]
    header = [
        one(matrix.entity),
        f"{quoted(matrix.full)} of counted",
        "share",
        *map(quoted, lower),
        "out of the count or unknown",
    ]
    title = f"{capital(label(matrix.value))} by {one(matrix.entity)}, counted in {matrix.table}{cited}:"
    return [title, "", *table_lines(header, rows)]


def _on_both(material: Material) -> list[str]:
    """The names that no other beats both by coverage and by the first rank or number."""
    pairs = _pairs(material)
    best = [pair for pair in pairs if not any(_beats(other, pair) for other in pairs)]
    if len(pairs) < FIRST or not best:
        return []
    coverage, order = material.coverage[0], _by_size(material)[0]
    parts = []
    for pair in best[: FIRST + 2]:
        both = material.book.count(
            material.table(coverage.matrix.table),
            call(
                "count",
                is_(coverage.matrix.entity, pair.entity),
                is_(coverage.matrix.value, *coverage.matrix.full),
            ),
            known_count(coverage.matrix, is_(coverage.matrix.entity, pair.entity)),
        )
        table = material.table(order.table)
        value = call("value", Col(order.column), is_(order.key, pair.name))
        place = material.book.row(table, material.place(table, order.key, pair.name), value)
        named = f"{pair.name}: " if pair.name != pair.entity else ""
        amount = f"{label(order.column)} {figure(pair.value)}"
        parts.append(f"{pair.entity} ({pair.full} of {pair.counted}{both}; {named}{amount}{place})")
    both_files = f"{coverage.matrix.table} and {order.table}"
    return [
        f"Of the names found in both {both_files}, no other beats these in both respects: {listing(parts)}."
    ]


def _both_table(material: Material) -> list[str]:
    pairs = _pairs(material)
    if len(pairs) < FIRST:
        return []
    coverage, order = material.coverage[0], _by_size(material)[0]
    left = material.book.count(
        material.table(coverage.matrix.table),
        call("each", Col(coverage.matrix.entity), full_share(coverage.matrix)),
    )
    right = material.book.count(
        material.table(order.table), call("each", Col(order.key), call("value", Col(order.column)))
    )
    rows = [
        [p.entity, f"{p.full} of {p.counted}", percent(p.full, p.counted), p.name, figure(p.value)]
        for p in pairs
    ]
    header = [
        one(coverage.matrix.entity),
        f"{quoted(coverage.matrix.full)} of counted",
        "share",
        one(order.key),
        label(order.column),
    ]
    title = f"Names found in both {coverage.matrix.table} and {order.table}, matched by their spelling{left}{right}:"
    return [title, "", *table_lines(header, rows)]


def _pairs(material: Material) -> list[_Pair]:
    """Names in both the first matrix and the first order, by coverage; all values of the order count."""
    if not material.coverage or not _by_size(material):
        return []
    coverage, order = material.coverage[0], _by_size(material)[0]
    if order.summed or order.period:
        return []
    table = material.table(order.table)
    column = column_named(table, order.column)
    values = dict(zip(cells(column_named(table, order.key)), cells(column), strict=True))
    names = {
        m.entity: m.name
        for m in material.trends.matches
        if m.matrix == coverage.matrix.table and m.table == order.table
    }
    pairs = []
    for found in coverage.entities:
        name = names.get(found.name)
        value = number_of(values[name], column.decimal) if name is not None else None
        if name is not None and value is not None:
            better = -value if order.role is Role.RANK else value
            pairs.append(_Pair(found.name, found.full, found.counted, name, value, better))
    return pairs


def _beats(left: _Pair, right: _Pair) -> bool:
    share, other = left.full * right.counted, right.full * left.counted
    return share >= other and left.better >= right.better and (share > other or left.better > right.better)
