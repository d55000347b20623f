"""Which names in different tables mean the same thing.

Names match when they share their telling words: "OpenAI Agents SDK" and
"openai-agents" do, because `agents` and `sdk` stand in several names and tell
nothing. It is a match by spelling, and the report says so; nothing is guessed from
likeness of letters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from consort_agents.specialists.facts import Facts, column_named

_COMMON = 3
"""A word in this many names tells nothing."""


class Match(BaseModel):
    """A name on the entity side of a matrix that also names a row of a table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entity: str
    matrix: str
    name: str
    table: str


def matches_of(facts: Facts) -> tuple[Match, ...]:
    """Entities of the matrices found among the keys of the tables; a name that fits twice fits nobody."""
    found = []
    for matrix in facts.matrices:
        grid = next(table for table in facts.tables if table.name == matrix.table)
        entities = column_named(grid, matrix.entity).texts
        for table in facts.tables:
            if table.key is None or table.file == grid.file:
                continue
            pairs = _pairs(entities, column_named(table, table.key).texts)
            found += [Match(entity=e, matrix=matrix.table, name=n, table=table.name) for e, n in pairs]
    return tuple(found)


def _pairs(left: Iterable[str], right: Iterable[str]) -> list[tuple[str, str]]:
    left, right = list(left), list(right)
    often = Counter(word for name in right for word in set(_words(name)))
    dull = {word for word, times in often.items() if times >= _COMMON}
    by_words: dict[frozenset[str], list[str]] = {}
    for name in right:
        if words := frozenset(_words(name)) - dull:
            by_words.setdefault(words, []).append(name)
    pairs = []
    for entity in left:
        same = [name for name in right if name.lower() == entity.lower()]
        fitting = same or by_words.get(frozenset(_words(entity)) - dull, [])
        if len(fitting) == 1:
            pairs.append((entity, fitting[0]))
    return pairs


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.lower())
