"""How far each entity of a matrix has each item, and what none of them has.

An empty cell is unknown and a cell that says "does not apply" is out of the count:
neither is a "no", and every share names the number of cells that it is of. Levels
are not turned into points, because nobody has measured how much a "partial" is
worth; entities are ordered by the share of full levels.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from consort_agents.specialists.facts import Facts, Matrix, records, table_named


class Tally(BaseModel):
    """Cells by level. `counted` is full + partial + none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    full: int = 0
    partial: int = 0
    none: int = 0
    apart: int = 0
    unknown: int = 0

    @property
    def counted(self) -> int:
        return self.full + self.partial + self.none

    @property
    def share(self) -> float:
        """Full of counted, 0 to 1."""
        return self.full / self.counted if self.counted else 0.0


class Group(Tally):
    """All cells of one group of items, and who is best in it."""

    items: int
    best: str = ""
    best_full: int = 0
    best_counted: int = 0


class Item(Tally):
    """One item over all entities."""

    id: str = ""
    group: str = ""
    holder: str = Field(default="", description="the only entity with a full level")


class Coverage(BaseModel):
    """A matrix, counted. Entities and groups: the highest share first; open items: the fewest
    partials first; what is equal stays in the order of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    matrix: Matrix
    total: Tally
    items: int
    entities: tuple[Tally, ...]
    groups: tuple[Group, ...]
    cells: dict[str, dict[str, tuple[int, int]]] = Field(description="full and counted, by entity and group")
    open_items: tuple[Item, ...] = Field(description="no entity has a full level")
    single_items: tuple[Item, ...] = Field(description="exactly one entity has a full level")


_Cell = tuple[str, str, str, str, str]
"""entity, item, group, item id, level"""


def coverage_of(facts: Facts, matrix: Matrix) -> Coverage:
    """A matrix counted by entity, by group and by item. Raises facts.NoSuchFact."""
    grid = _cells(facts, matrix)
    entities = [tally(matrix, name, (c[4] for c in part)) for name, part in _by(grid, 0).items()]
    items = [_item(matrix, name, part) for name, part in _by(grid, 1).items()]
    groups = [_group(matrix, name, part) for name, part in _by(grid, 2).items() if name]
    return Coverage(
        matrix=matrix,
        total=tally(matrix, "", (c[4] for c in grid)),
        items=len(items),
        entities=tuple(sorted(entities, key=lambda found: -found.share)),
        groups=tuple(sorted(groups, key=lambda found: -found.share)),
        cells=_shares(matrix, grid),
        open_items=tuple(sorted((i for i in items if i.full == 0), key=lambda found: found.partial)),
        single_items=tuple(i for i in items if i.full == 1),
    )


def _cells(facts: Facts, matrix: Matrix) -> list[_Cell]:
    names = [
        n for n in (matrix.entity, matrix.item, matrix.group, matrix.item_id, matrix.value) if n is not None
    ]
    return [
        (
            row[matrix.entity],
            row[matrix.item],
            row[matrix.group] if matrix.group else "",
            row[matrix.item_id] if matrix.item_id else "",
            row[matrix.value],
        )
        for row in records(table_named(facts, matrix.table), names)
    ]


def tally(matrix: Matrix, name: str, levels: Iterable[str]) -> Tally:
    """Counts levels by what the matrix says they count as."""
    counts = dict.fromkeys(("full", "partial", "none", "apart", "unknown"), 0)
    place = {word: sort for sort in counts for word in getattr(matrix, sort)}
    for level in levels:
        counts[place[level]] += 1
    return Tally(name=name, **counts)


def _by(grid: list[_Cell], side: int) -> dict[str, list[_Cell]]:
    parts: dict[str, list[_Cell]] = {}
    for cell in grid:
        parts.setdefault(cell[side], []).append(cell)
    return parts


def _item(matrix: Matrix, name: str, part: list[_Cell]) -> Item:
    counts = tally(matrix, name, (cell[4] for cell in part))
    holders = [cell[0] for cell in part if cell[4] in matrix.full]
    return Item(
        **counts.model_dump(),
        id=part[0][3],
        group=part[0][2],
        holder=holders[0] if len(holders) == 1 else "",
    )


def _group(matrix: Matrix, name: str, part: list[_Cell]) -> Group:
    counts = tally(matrix, name, (cell[4] for cell in part))
    inside = [tally(matrix, entity, (c[4] for c in own)) for entity, own in _by(part, 0).items()]
    best = max(inside, key=lambda found: found.share)
    return Group(
        **counts.model_dump(),
        items=len({cell[1] for cell in part}),
        best=best.name,
        best_full=best.full,
        best_counted=best.counted,
    )


def _shares(matrix: Matrix, grid: list[_Cell]) -> dict[str, dict[str, tuple[int, int]]]:
    shares: dict[str, dict[str, tuple[int, int]]] = {}
    for entity, own in _by(grid, 0).items():
        counts = {group: tally(matrix, group, (c[4] for c in part)) for group, part in _by(own, 2).items()}
        shares[entity] = {group: (found.full, found.counted) for group, found in counts.items()}
    return shares
