"""Looking things up in the sources: the tools of whoever reads them with a model.

They only read, they answer the same each time, and they tell places as citations do, so what
was found can be quoted. Answers are kept short; nothing outside the folder can be reached,
and where the folder lies is not told.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass

from pydantic import BaseModel, Field

from consort_agents.specialists.cells import is_nothing, number_of
from consort_agents.specialists.facts import (
    Facts,
    Kind,
    Passage,
    Place,
    Table,
    cells,
    column_named,
    table_named,
)
from consort_agents.specialists.passages import passages_of, relevant, rows_as_passages
from consort_agents.specialists.sources import Sources
from consort_agents.specialists.wording import clip
from consort_agents.tools.definition import Tool
from consort_agents.tools.functions import tool

MOST_FOUND = 12
MOST_ROWS = 40
MOST_COLUMNS = 60
MOST_CHARACTERS = 300
"""Of a cell."""
_COMMONEST = 8


class Listed(BaseModel):
    """A file of the sources."""

    file: str
    kind: str
    place: Place = "line"
    first: int = 1
    last: int
    columns: list[str] = Field(default_factory=list)


class Found(BaseModel):
    """A passage, where it stands, and of a table's row which name it is about."""

    file: str
    first: int
    last: int
    text: str
    about: str = ""


class Row(BaseModel):
    """A row of a table as it was written."""

    line: int
    cells: dict[str, str]


class Summary(BaseModel):
    """What a column holds."""

    kind: str
    rows: int
    distinct: int
    empty: int
    unit: str = ""
    lowest: float | None = None
    median: float | None = None
    highest: float | None = None
    commonest: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shelf:
    """The sources of one task, and what was found in them."""

    sources: Sources
    facts: Facts
    passages: tuple[Passage, ...]
    """all that there are, not only those that were kept"""


def shelf_of(sources: Sources, facts: Facts) -> Shelf:
    """The sources, made ready to be searched."""
    paragraphs = [passage for document in sources.documents for passage in passages_of(document)]
    rows = [passage for table in facts.tables for passage in rows_as_passages(table)]
    return Shelf(sources, facts, (*paragraphs, *rows))


def retrieval_tools(shelf: Shelf) -> list[Tool]:
    """The tools over one shelf."""

    @tool
    def list_sources() -> list[Listed]:
        """Lists the files: what they are, their lines, and the columns of tables."""
        return _listed(shelf)

    @tool
    def search_passages(query: str, most: int = 6) -> list[Found]:
        """Finds the passages that share words with a query, the nearest first."""
        found = relevant(shelf.passages, query, max(1, min(most, MOST_FOUND)))
        return [Found(file=p.file, first=p.first, last=p.last, text=p.text, about=p.about) for p in found]

    @tool
    def read_rows(table: str, first: int, last: int) -> list[Row]:
        """Reads the rows of a table that stand from line `first` to line `last`, at most 40 of them."""
        return _rows(table_named(shelf.facts, table), first, last)

    @tool
    def column_summary(table: str, column: str) -> Summary:
        """Tells what a column holds: its kind, how many values, the lowest and highest, the commonest."""
        return _summary(table_named(shelf.facts, table), column)

    return [list_sources, search_passages, read_rows, column_summary]


def _listed(shelf: Shelf) -> list[Listed]:
    found = []
    for table in (table for table in shelf.facts.tables if table.name == table.file):
        first, last = min(table.places, default=1), max(table.places, default=0)
        columns = [column.name for column in table.columns[:MOST_COLUMNS]]
        found.append(
            Listed(file=table.name, kind="table", place=table.place, first=first, last=last, columns=columns)
        )
    for document in shelf.sources.documents:
        place, last = document.place, len(document.lines)
        found.append(Listed(file=document.file, kind="document", place=place, last=last))
    return found


def _rows(table: Table, first: int, last: int) -> list[Row]:
    chosen = [row for row, place in enumerate(table.places) if first <= place <= last][:MOST_ROWS]
    texts = {column.name: cells(column) for column in table.columns[:MOST_COLUMNS]}
    return [
        Row(
            line=table.places[row],
            cells={name: clip(column[row], MOST_CHARACTERS) for name, column in texts.items()},
        )
        for row in chosen
    ]


def _summary(table: Table, name: str) -> Summary:
    column = column_named(table, name)
    texts = [text for text in cells(column) if not is_nothing(text)]
    numbers = [number for text in texts if (number := number_of(text, column.decimal)) is not None]
    measured = numbers if column.kind is Kind.NUMBER else []
    return Summary(
        kind=column.role or column.kind,
        rows=len(table.places),
        distinct=column.distinct,
        empty=column.empty,
        unit=column.unit,
        lowest=min(measured, default=None),
        median=statistics.median(measured) if measured else None,
        highest=max(measured, default=None),
        commonest={
            clip(text, MOST_CHARACTERS): times for text, times in Counter(texts).most_common(_COMMONEST)
        },
    )
