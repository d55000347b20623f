"""Where the boxes of a drawing stand: layers from left to right, blocks around their steps.

The method is Sugiyama's, kept small: rank by longest path, a dummy in every layer
that a long arrow crosses, a few sweeps that put boxes near what they are joined
to. It knows sizes and arrows, nothing of plans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

COLUMN_GAP = 64.0
ROW_GAP = 22.0
SWEEPS = 6
MAX_DUMMIES = 4_000
"""Beyond these, long arrows are drawn straight through."""


@dataclass(slots=True)
class Box:
    """A thing of a size; where it goes is found out. Lengths in pixels."""

    name: str
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    lane: float = 0.0
    """the right edge of its layer: up to there nothing stands in the way of an arrow"""

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Arrow:
    """From the right side of one box to the left side of another, through `via`."""

    start: Box
    end: Box
    via: tuple[Box, ...] = ()


@dataclass(slots=True)
class Layout:
    boxes: list[Box]
    arrows: list[Arrow]
    width: float = 0.0
    height: float = 0.0


@dataclass(slots=True)
class _Grid:
    columns: list[list[Box]]
    left: dict[int, list[Box]] = field(default_factory=dict)
    """by the identity of a box, its neighbours one layer to the left"""
    right: dict[int, list[Box]] = field(default_factory=dict)

    def join(self, a: Box, b: Box) -> None:
        self.right.setdefault(id(a), []).append(b)
        self.left.setdefault(id(b), []).append(a)


def arrange(columns: Sequence[Sequence[Box]], needs: Mapping[str, Sequence[str]]) -> Layout:
    """Places boxes that come in layers; `needs` names for each box those it has arrows from."""
    grid = _Grid([list(column) for column in columns])
    boxes = [box for column in grid.columns for box in column]
    arrows = _arrows(grid, boxes, needs)
    for sweep in range(SWEEPS):
        _order(grid, leftwards=bool(sweep % 2))
    _place(grid)
    everything = [box for column in grid.columns for box in column]
    top = min(box.y for box in everything)
    for box in everything:
        box.y -= top
    width = max(box.x + box.width for box in boxes)
    return Layout(boxes, arrows, width, max(box.y + box.height for box in everything))


def _arrows(grid: _Grid, boxes: Sequence[Box], needs: Mapping[str, Sequence[str]]) -> list[Arrow]:
    rank = {box.name: at for at, column in enumerate(grid.columns) for box in column}
    named = {box.name: box for box in boxes}
    spans = [(named[need], box) for box in boxes for need in needs[box.name]]
    crossing = sum(max(rank[b.name] - rank[a.name] - 1, 0) for a, b in spans)
    arrows = []
    for start, end in spans:
        between = range(rank[start.name] + 1, rank[end.name]) if crossing <= MAX_DUMMIES else ()
        via = tuple(Box("", 0.0, 8.0) for _ in between)
        for at, dummy in zip(between, via, strict=True):
            grid.columns[at].append(dummy)
        way = (start, *via, end)
        if len(way) == rank[end.name] - rank[start.name] + 1:
            for a, b in pairwise(way):
                grid.join(a, b)
        arrows.append(Arrow(start, end, via))
    return arrows


def _order(grid: _Grid, leftwards: bool) -> None:
    """Sorts each layer by the mean place of its neighbours in the layer before."""
    order = range(len(grid.columns) - 2, -1, -1) if leftwards else range(1, len(grid.columns))
    for at in order:
        beside = grid.columns[at + 1 if leftwards else at - 1]
        place = {id(box): float(row) for row, box in enumerate(beside)}
        near = grid.right if leftwards else grid.left
        column = grid.columns[at]
        own = {id(box): row * len(beside) / max(len(column), 1) for row, box in enumerate(column)}

        weights = {}
        for box in column:
            rows = [place[id(other)] for other in near.get(id(box), ())]
            weights[id(box)] = sum(rows) / len(rows) if rows else own[id(box)]
        grid.columns[at] = sorted(column, key=lambda box, by=weights: by[id(box)])  # type: ignore[misc]


def _place(grid: _Grid) -> None:
    x = 0.0
    for column in grid.columns:
        wide = max(box.width for box in column)
        for box in column:
            box.x, box.lane = x, x + wide
            if not box.name:
                box.width = wide
        x += wide + COLUMN_GAP
        _stack(column, [0.0] * len(column))
    for sweep in range(2 * SWEEPS):
        leftwards = bool(sweep % 2)
        near = grid.right if leftwards else grid.left
        for column in reversed(grid.columns) if leftwards else grid.columns:
            wanted = []
            for box in column:
                middles = [other.middle for other in near.get(id(box), ())]
                middle = sum(middles) / len(middles) if middles else box.middle
                wanted.append(middle - box.height / 2)
            _stack(column, wanted)


def _stack(column: Sequence[Box], wanted: Sequence[float]) -> None:
    """Puts boxes as near as can be to where they want to be, in their order and apart from each other."""
    groups: list[tuple[float, list[Box], float]] = []  # top, boxes, height
    for box, top in zip(column, wanted, strict=True):
        group = (top, [box], box.height)
        while groups and groups[-1][0] + groups[-1][2] + ROW_GAP > group[0]:
            above = groups.pop()
            shift = above[2] + ROW_GAP
            count = len(above[1]) + len(group[1])
            start = (above[0] * len(above[1]) + (group[0] - shift) * len(group[1])) / count
            group = (start, above[1] + group[1], shift + group[2])
        groups.append(group)
    for start, boxes, _ in groups:
        y = start
        for box in boxes:
            box.y = y
            y += box.height + ROW_GAP
