"""Who leads: sentences and tables on the front of the market.

By coverage where there is a matrix, by every number that orders names, and both
side by side for names found in both. Every sentence carries the count that it
rests on.
"""

from __future__ import annotations

from dataclasses import dataclass

from consort_agents.specialists.basis import Call, Col, Where, call, is_, is_not
from consort_agents.specialists.coverage import Coverage
from consort_agents.specialists.cells import number_of
from consort_agents.specialists.facts import Role, cells, column_named
from consort_agents.specialists.material import (
    PERCENT,
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
from consort_agents.specialists.trends import LARGEST, Order
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
    said += [_by_order(material, order) for order in material.trends.orders[:2]]
    return [*said, *_on_both(material)]


def leaders_section(material: Material) -> list[str]:
    """The tables behind it."""
    lines: list[str] = []
    for coverage in material.coverage:
        lines += [*_coverage_table(material, coverage), *material.shown(f"coverage {coverage.matrix.table}")]
    for order in material.trends.orders:
        lines += [_spread(material, order), "", *material.shown(f"order {order.table} {order.column}")]
    return [*lines, *_both_table(material)]


def _by_coverage(material: Material, coverage: Coverage) -> str:
    matrix, ahead = coverage.matrix, coverage.entities[:FIRST]
    parts = [f"{found.name} ({found.full} of {found.counted}, {percent(found.full, found.counted)})" for found in ahead]
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
            table, *_stated(order), call("stated", str(LARGEST)),
            call("portion", LARGEST, Col(order.key), Col(order.column), *during), counted,
            call("herfindahl", Col(order.key), Col(order.column), *during),
        )
        return (
            f"{when or 'In all, '}the {LARGEST} largest hold {order.largest_share:.0f} % of the {label(order.column)} of the "
            f"{order.valued} {named}, a Herfindahl index of {figure(order.herfindahl, 0)}{cited}."
        )
    if order.summed:
        return f"{capital(label(order.column))} is added up over the rows of each {one(order.key)}."
    middle = call("median", Col(order.column), *during)
    cited = material.book.count(table, *_stated(order), counted, count(*during), middle)
    what = "an order, not an amount, so shares of it would mean nothing" if order.role is Role.RANK else "compared, not added up"
    head = f"{when}{order.valued} of {order.rows} {named} have"
    return f"{head} a {label(order.column)}; the median is {figure(order.median)}{cited}. It is {what}."


def _coverage_table(material: Material, coverage: Coverage) -> list[str]:
    matrix = coverage.matrix
    each = call(
        "each", Col(matrix.entity), full_share(matrix), level_count(matrix, matrix.partial),
        level_count(matrix, matrix.none), level_count(matrix, [*matrix.apart, *matrix.unknown]),
    )
    cited = material.book.count(material.table(matrix.table), each)
    rows = [
        [
            found.name, f"{found.full} of {found.counted}", percent(found.full, found.counted),
            str(found.partial), str(found.none), str(found.apart + found.unknown),
        ]
        for found in coverage.entities
    ]
    header = [
        one(matrix.entity), f"{quoted(matrix.full)} of counted", "share", quoted(matrix.partial) or "between",
        quoted(matrix.none), "out of the count or unknown",
    ]
    title = f"{capital(label(matrix.value))} by {one(matrix.entity)}, counted in {matrix.table}{cited}:"
    return [title, "", *table_lines(header, rows)]


def _on_both(material: Material) -> list[str]:
    """The names that no other beats both by coverage and by the first rank or number."""
    pairs = _pairs(material)
    best = [pair for pair in pairs if not any(_beats(other, pair) for other in pairs)]
    if len(pairs) < FIRST or not best:
        return []
    coverage, order = material.coverage[0], material.trends.orders[0]
    parts = []
    for pair in best[: FIRST + 2]:
        both = material.book.count(
            material.table(coverage.matrix.table),
            call("count", is_(coverage.matrix.entity, pair.entity), is_(coverage.matrix.value, *coverage.matrix.full)),
            known_count(coverage.matrix, is_(coverage.matrix.entity, pair.entity)),
        )
        table = material.table(order.table)
        value = call("value", Col(order.column), is_(order.key, pair.name))
        place = material.book.row(table, material.place(table, order.key, pair.name), value)
        parts.append(f"{pair.entity} ({pair.full} of {pair.counted}{both}; {label(order.column)} of {pair.name}: {figure(pair.value)}{place})")
    return [f"Of the names found in both lists, these are beaten by no other in both respects: {listing(parts)}."]


def _both_table(material: Material) -> list[str]:
    pairs = _pairs(material)
    if len(pairs) < FIRST:
        return []
    coverage, order = material.coverage[0], material.trends.orders[0]
    left = material.book.count(
        material.table(coverage.matrix.table), call("each", Col(coverage.matrix.entity), full_share(coverage.matrix))
    )
    right = material.book.count(material.table(order.table), call("each", Col(order.key), call("value", Col(order.column))))
    rows = [
        [p.entity, f"{p.full} of {p.counted}", percent(p.full, p.counted), p.name, figure(p.value)] for p in pairs
    ]
    header = [one(coverage.matrix.entity), f"{quoted(coverage.matrix.full)} of counted", "share", one(order.key), label(order.column)]
    title = f"Names found in both {coverage.matrix.table} and {order.table}, matched by their spelling{left}{right}:"
    return [title, "", *table_lines(header, rows)]


def _pairs(material: Material) -> list[_Pair]:
    """Names in both the first matrix and the first order, by coverage; all values of the order count."""
    if not material.coverage or not material.trends.orders:
        return []
    coverage, order = material.coverage[0], material.trends.orders[0]
    if order.summed or order.period:
        return []
    table = material.table(order.table)
    column = column_named(table, order.column)
    values = dict(zip(cells(column_named(table, order.key)), cells(column), strict=True))
    names = {m.entity: m.name for m in material.trends.matches if m.matrix == coverage.matrix.table and m.table == order.table}
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
