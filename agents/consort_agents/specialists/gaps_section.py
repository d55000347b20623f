"""What nobody does well: sentences and tables on the holes in a matrix.

A hole is an item for which no entity has a full level. An unknown cell in such a
row is named, because the answer may be hidden there.
"""

from __future__ import annotations

from consort_agents.specialists.basis import Col, call, is_
from consort_agents.specialists.coverage import Coverage, Item
from consort_agents.specialists.facts import Matrix
from consort_agents.specialists.material import (
    Material,
    count,
    full_count,
    full_share,
    known_count,
    level_count,
    many,
    one,
    table_lines,
    top,
)
from consort_agents.specialists.wording import capital, counted, label, listing, percent, quoted

_BAREST = 3


def gaps_summary(material: Material) -> list[str]:
    """The answer to "what does nobody do well"."""
    if not material.coverage:
        return ["The sources hold no table of who has what, so they do not tell what nobody does well."]
    coverage = material.coverage[0]
    return [_open(material, coverage), *_barest(material, coverage), *_thin_groups(material, coverage)]


def gaps_section(material: Material) -> list[str]:
    """The tables behind it."""
    lines: list[str] = []
    for coverage in material.coverage:
        if coverage.open_items:
            lines += _open_table(material, coverage)
        lines += [*_half_way(material, coverage), *_unknown(material, coverage), *_single(material, coverage)]
        if coverage.groups:
            lines += [*_group_table(material, coverage), *material.shown(f"groups {coverage.matrix.table}")]
    return lines


def _open(material: Material, coverage: Coverage) -> str:
    matrix = coverage.matrix
    item = Col(matrix.item)
    cited = material.book.count(
        material.table(matrix.table),
        call("groups", item, full_count(matrix), 0),
        call("distinct", item),
        call("distinct", Col(matrix.entity)),
    )
    levels = quoted(matrix.full)
    return (
        f"For {len(coverage.open_items)} of {coverage.items} {many(matrix.item)}, none of the "
        f"{counted(len(coverage.entities), label(matrix.entity))} has {levels}{cited}."
    )


def _barest(material: Material, coverage: Coverage) -> list[str]:
    """The open items with the fewest entities that have at least something."""
    matrix = coverage.matrix
    if not coverage.open_items or not matrix.partial:
        return []
    parts = [
        f"“{found.name}” ({found.partial} {quoted(matrix.partial)} of {found.counted}"
        + material.book.count(
            material.table(matrix.table),
            level_count(matrix, matrix.partial, is_(matrix.item, found.name)),
            known_count(matrix, is_(matrix.item, found.name)),
        )
        + ")"
        for found in coverage.open_items[:_BAREST]
    ]
    return [f"Furthest from being there: {listing(parts)}."]


def _thin_groups(material: Material, coverage: Coverage) -> list[str]:
    matrix = coverage.matrix
    if len(coverage.groups) < 2 * _BAREST - 2 or matrix.group is None:
        return []
    # The order of the count, which takes what is equal in the order of the table.
    thin = sorted(coverage.groups, key=lambda found: found.share)[:2]
    parts = [
        f"{found.name} ({found.full} of {found.counted} cells, {percent(found.full, found.counted)})"
        for found in thin
    ]
    cited = material.book.count(
        material.table(matrix.table), top(len(thin), Col(matrix.group), full_share(matrix), high=False)
    )
    return [f"The thinnest by {one(matrix.group)} are {listing(parts)}{cited}."]


def _open_table(material: Material, coverage: Coverage) -> list[str]:
    matrix = coverage.matrix
    levels = [words for words in (matrix.partial, matrix.none, matrix.unknown) if words]
    each = call("each", Col(matrix.item), *(level_count(matrix, words) for words in levels))
    cited = material.book.count(material.table(matrix.table), each)
    ids, groups = matrix.item_id is not None, matrix.group is not None
    header = [one(matrix.item_id or "")] * ids + [one(matrix.item)] + [one(matrix.group or "")] * groups
    header += [quoted(words) for words in (matrix.partial, matrix.none) if words] + ["unknown"]
    rows = [_open_row(matrix, found) for found in coverage.open_items]
    title = (
        f"{capital(many(matrix.item))} for which nobody has {quoted(matrix.full)}, the barest first{cited}:"
    )
    return [title, "", *table_lines(header, rows, words=1 + ids + groups)]


def _open_row(matrix: Matrix, found: Item) -> list[str]:
    words = (
        [found.id] * (matrix.item_id is not None) + [found.name] + [found.group] * (matrix.group is not None)
    )
    levels = [str(found.partial)] * bool(matrix.partial) + [str(found.none)] * bool(matrix.none)
    return [*words, *levels, str(found.unknown)]


def _half_way(material: Material, coverage: Coverage) -> list[str]:
    """The open items that most entities have in part: the next ones to be closed, if any are."""
    matrix = coverage.matrix
    near = [found for found in reversed(coverage.open_items) if 2 * found.partial > found.counted][:_BAREST]
    if not near:
        return []
    parts = [
        f"“{found.name}” with {found.partial} {quoted(matrix.partial)}"
        + material.book.count(
            material.table(matrix.table), level_count(matrix, matrix.partial, is_(matrix.item, found.name))
        )
        for found in near
    ]
    return [f"Of these, more than half of the {many(matrix.entity)} are on the way to {listing(parts)}.", ""]


def _unknown(material: Material, coverage: Coverage) -> list[str]:
    matrix = coverage.matrix
    open_ = [found for found in coverage.open_items if found.unknown]
    if not open_:
        return []
    parts = [
        f"“{found.name}” ({counted(found.unknown, 'cell')}"
        + material.book.count(
            material.table(matrix.table), level_count(matrix, matrix.unknown, is_(matrix.item, found.name))
        )
        + ")"
        for found in open_
    ]
    return [f"Cells are empty, and somebody may have it after all, for {listing(parts)}.", ""]


def _single(material: Material, coverage: Coverage) -> list[str]:
    matrix = coverage.matrix
    if not coverage.single_items:
        return []
    table = material.table(matrix.table)
    number = len(coverage.single_items)
    cited = material.book.count(table, call("groups", Col(matrix.item), full_count(matrix), 1))
    cited += material.book.count(
        table, call("each", Col(matrix.item), call("which", Col(matrix.entity), full_count(matrix), 1))
    )
    groups = matrix.group is not None
    header = [one(matrix.item)] + [one(matrix.group or "")] * groups + [f"only {one(matrix.entity)}"]
    rows = [[found.name] + [found.group] * groups + [found.holder] for found in coverage.single_items]
    what = many(matrix.item) if number != 1 else one(matrix.item)
    title = f"For {number} {what}, a single {one(matrix.entity)} has {quoted(matrix.full)}{cited}:"
    return [title, "", *table_lines(header, rows, words=len(header))]


def _group_table(material: Material, coverage: Coverage) -> list[str]:
    matrix = coverage.matrix
    assert matrix.group is not None
    best = top(1, Col(matrix.entity), full_share(matrix))
    each = call("each", Col(matrix.group), full_share(matrix), best)
    cited = material.book.count(material.table(matrix.table), each)
    rows = [
        [
            found.name,
            f"{found.full} of {found.counted}",
            percent(found.full, found.counted),
            found.best,
            f"{found.best_full} of {found.best_counted}",
            percent(found.best_full, found.best_counted),
        ]
        for found in coverage.groups
    ]
    levels = quoted(matrix.full)
    header = [
        one(matrix.group),
        f"{levels} of counted cells",
        "share",
        "best",
        f"{levels} of counted",
        "share",
    ]
    return [
        f"Where the {many(matrix.entity)} stand by {one(matrix.group)}{cited}:",
        "",
        *table_lines(header, rows),
    ]


def unknown_limit(material: Material, coverage: Coverage) -> str:
    """How many cells say nothing, for the limits of the data."""
    matrix = coverage.matrix
    table = material.table(matrix.table)
    total = coverage.total
    cells = total.counted + total.apart + total.unknown
    cited = material.book.count(table, level_count(matrix, matrix.unknown), count())
    said = f"In {matrix.table}, {total.unknown} of {cells:,} cells are empty or not known{cited}"
    if matrix.apart:
        apart = material.book.count(table, level_count(matrix, matrix.apart))
        said += f", and {total.apart} say {quoted(matrix.apart)}{apart}"
    return f"{said}; neither counts against anybody, and shares are of the other cells."
