"""How much work one expression may be.

The CEL library cannot be interrupted once it runs, so what would take too long
is refused before: by the shape of the expression when it is compiled, and by
the size of the data it reads when it is evaluated. An expression has at most
`MAX_LOOPS` loops (`MAX_DEPTH` inside one another) and `MAX_PLUSES` additions;
its worst case is estimated and refused beyond about `MAX_WORK` seconds or
`MAX_RESULT` characters. The estimate errs on the safe side, never the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from consort_shared.plan.tokens import LOOPS, Loop, Shape
from consort_shared.values import Json

MAX_LOOPS = 8
MAX_DEPTH = 3
MAX_PLUSES = 64
MAX_WORK = 1.0
"""Seconds that the worst case of one evaluation may take, as estimated."""
MAX_RESULT = 128 * 1024 * 1024
"""Characters that the worst case of one result may have, as estimated."""
MAX_NESTING = 200
"""Levels of lists and maps in data that an expression reads; the library recurses."""


def misshape(shape: Shape) -> str:
    """Why an expression is refused whatever its data, or nothing."""
    pluses = shape.pluses + sum(loop.pluses for loop in shape.loops)
    depth = max((len(loop.inside) + 1 for loop in shape.loops), default=0)
    for count, most, what in (
        (len(shape.loops), MAX_LOOPS, f"loops ({', '.join(sorted(LOOPS))})"),
        (depth, MAX_DEPTH, "loops inside one another"),
        (pluses, MAX_PLUSES, "additions"),
    ):
        if count > most:
            return f"{count} {what}; at most {most} are allowed"
    return ""


def excess(shape: Shape, seen: Mapping[str, Json], length: int) -> str:
    """Why an expression of `length` characters is refused over the data it reads, or nothing."""
    try:
        data = _measure(seen)
    except ValueError as exc:
        return str(exc)
    if not shape.loops:
        return ""
    work, result = _worst_case(shape, data, data.size + length)
    if work > MAX_WORK or result > MAX_RESULT:
        return f"may take too long or grow too large over {data.longest} items; leave the work to a step"
    return ""


@dataclass(slots=True)
class _Data:
    """How much an expression reads: the longest collection, the longest inside a list, characters in all."""

    longest: int = 1
    nested: int = 1
    size: int = 0


def _measure(seen: Mapping[str, Json]) -> _Data:
    """Raises ValueError for data the library cannot take."""
    data = _Data()
    layer: list[tuple[Json, bool]] = [(value, False) for value in seen.values()]
    for _ in range(MAX_NESTING):
        below: list[tuple[Json, bool]] = []
        for value, listed in layer:
            data.size += 4
            if isinstance(value, Mapping | list | tuple):
                data.longest = max(data.longest, len(value))
                if listed:
                    data.nested = max(data.nested, len(value))
                if isinstance(value, Mapping):
                    data.size += sum(map(len, value))
                    below.extend((part, listed) for part in value.values())
                else:
                    below.extend((part, True) for part in value)
            elif isinstance(value, str):
                data.size += len(value)
            elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise ValueError("reads a whole number of more than 64 bits")
        if not below:
            return data
        layer = below
    raise ValueError(f"reads data nested deeper than {MAX_NESTING} levels")


def _worst_case(shape: Shape, data: _Data, size: int) -> tuple[float, float]:
    """Seconds and characters that an evaluation may take at most; the factors were measured, and rounded up.

    A loop runs over a collection of the data, or one that additions or literals
    elsewhere in the expression made longer, once for each round of those around it.
    A loop over members of an outer variable meets what lies inside lists only,
    unless the expression itself puts lists into lists.
    """
    top = 1 + shape.pluses
    literal = 1 + shape.commas + sum(loop.commas for loop in shape.loops)
    mixes = shape.lists or any(loop.kind == "map" and loop.outside for loop in shape.loops)
    length: dict[int, float] = {}
    for loop in shape.loops:
        found = data.nested if loop.nested and not mixes else data.longest
        others = math.prod(1 + other.pluses for other in shape.loops if other is not loop)
        length[id(loop)] = max(found * top * others, literal)
    work = sum(_seconds(loop, length, size) for loop in shape.loops)
    result = float(size * top)
    for loop in shape.loops:
        if loop.kind == "map":
            result *= (1 + loop.pluses + loop.commas) * (length[id(loop)] if loop.outside else 1)
    return work, result


def _seconds(loop: Loop, length: Mapping[int, float], size: int) -> float:
    rounds = math.prod(length[id(outer)] for outer in loop.inside)
    count = length[id(loop)]
    quadratic = 5e-8 * count * count if loop.kind in {"map", "filter"} else 0.0
    each = 1e-6 * loop.words + 2e-3 * loop.patterns + 1e-10 * loop.pluses**2 * size
    return rounds * (quadratic + count * each + 1e-7 * size)
