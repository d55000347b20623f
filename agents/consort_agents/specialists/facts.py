"""The facts: what a folder of sources holds, in a form in which every figure can be counted again.

This is the vocabulary in which the specialists speak to each other. A table keeps
every cell as it was written, column by column with each distinct text stored once,
and for every row the line of the file that it came from. What a column or a table
was found to be is kept beside the cells, never instead of them. Data only: reading
is done in `sources`, deciding what a column holds in `tables` and `matrices`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from consort_agents.specialists.cells import Decimal, Grain

Place = Literal["line", "item"]
"""How a place in a file is counted: lines of text, or items of a JSON list; both from 1."""


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kind(StrEnum):
    """What the cells of a column are."""

    NAME = "name"
    CATEGORY = "category"
    LEVEL = "level"
    NUMBER = "number"
    DATE = "date"
    VERSION = "version"
    TEXT = "text"
    EMPTY = "empty"


class Role(StrEnum):
    """What a number is good for."""

    NONE = ""
    QUANTITY = "quantity"
    """amounts that may be added up"""
    RANK = "rank"
    """places in an order: the lowest is the best, sums and shares mean nothing"""
    RATIO = "ratio"
    """prices, rates, scores: may be compared and averaged, not added up"""
    INDEX = "index"
    """a running number of the rows"""


class Column(_Fact):
    """One column. Row r holds `texts[codes[r]]`."""

    name: str
    kind: Kind
    role: Role = Role.NONE
    unique: bool = Field(default=False, description="no two rows hold the same, none is empty")
    distinct: int = Field(description="different texts, empty ones not counted")
    empty: int = Field(description="cells without a value")
    unit: str = ""
    decimal: Decimal = "."
    grain: Grain = ""
    day_first: bool = True
    texts: tuple[str, ...]
    codes: tuple[int, ...]


class Table(_Fact):
    """One table. `places[r]` is where row r is in the file."""

    name: str = Field(description="what citations call it: the file, or the file and how it was turned")
    file: str
    place: Place = "line"
    places: tuple[int, ...]
    columns: tuple[Column, ...]
    key: str | None = Field(default=None, description="the column that names each row, if there is one")


class Matrix(_Fact):
    """A table that says of each entity how far it has each item, one row per cell.

    Words of the value column are sorted by what they count as: `full` is the best
    level, `none` the worst, `partial` what lies between. `apart` is out of the count,
    `unknown` (always with the empty cell) is not known; neither is a "no".
    """

    table: str
    entity: str
    item: str
    value: str
    item_id: str | None = None
    group: str | None = None
    full: tuple[str, ...]
    partial: tuple[str, ...]
    none: tuple[str, ...]
    apart: tuple[str, ...]
    unknown: tuple[str, ...]


class Passage(_Fact):
    """A paragraph of a document, or the text of a table's row, as it was written."""

    file: str
    first: int
    last: int
    place: Place = "line"
    text: str
    about: str = Field(default="", description="the row's name, if it is a row")
    score: float = Field(default=0.0, description="BM25 against the question; 0 if not asked for")
    caveat: bool = Field(default=False, description="it says how far the sources can be trusted")


class SourceFile(_Fact):
    """A file that was read."""

    name: str
    kind: Literal["table", "document"]
    extent: int = Field(description="rows of a table, lines of a document")
    digest: str = Field(description="SHA-256 of the bytes, hex")


class Facts(_Fact):
    """All that was gathered. `limits` are notes for the reader on what could not be read or used."""

    question: str
    files: tuple[SourceFile, ...] = ()
    tables: tuple[Table, ...] = ()
    matrices: tuple[Matrix, ...] = ()
    passages: tuple[Passage, ...] = ()
    limits: tuple[str, ...] = ()


class NoSuchFact(LookupError):
    """A table or column is asked for that the facts do not hold."""


def table_named(facts: Facts, name: str) -> Table:
    """A table by its name. Raises NoSuchFact."""
    for table in facts.tables:
        if table.name == name:
            return table
    raise NoSuchFact(f"no table {name!r}; there are: {', '.join(t.name for t in facts.tables) or 'none'}")


def column_named(table: Table, name: str) -> Column:
    """A column by its name. Raises NoSuchFact."""
    for column in table.columns:
        if column.name == name:
            return column
    raise NoSuchFact(
        f"{table.name} has no column {name!r}; it has: {', '.join(c.name for c in table.columns)}"
    )


def cells(column: Column) -> list[str]:
    """The cells of a column, row by row."""
    return [column.texts[code] for code in column.codes]


def records(table: Table, names: Iterable[str]) -> list[Mapping[str, str]]:
    """The rows of a table with the named columns only. Raises NoSuchFact."""
    kept = {name: cells(column_named(table, name)) for name in names}
    return [{name: column[row] for name, column in kept.items()} for row in range(len(table.places))]
