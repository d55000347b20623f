"""What the writer works from, and the measures that its sentences have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from consort_agents.specialists.basis import Argument, Call, Where, call, is_, is_not
from consort_agents.specialists.citations import Book
from consort_agents.specialists.coverage import Coverage
from consort_agents.specialists.facts import Facts, Matrix, Table, cells, column_named, table_named
from consort_agents.specialists.findings import Trends
from consort_agents.specialists.wording import label, plural, singular


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart by the name under which it lies beside the report."""

    name: str
    alt: str
    topic: str


@dataclass(frozen=True, slots=True)
class Material:
    """Facts and findings, with the book that numbers the citations of one draft."""

    facts: Facts
    trends: Trends
    coverage: Sequence[Coverage] = ()
    pictures: Sequence[Picture] = ()
    book: Book = field(default_factory=Book)

    def table(self, name: str) -> Table:
        return table_named(self.facts, name)

    def place(self, table: Table, column: str, text: str) -> int:
        """Where the row stands whose cell in a column is this text."""
        return table.places[cells(column_named(table, column)).index(text)]

    def shown(self, topic: str) -> list[str]:
        """The pictures of a topic as Markdown."""
        return [line for p in self.pictures if p.topic == topic for line in (f"![{p.alt}]({p.name})", "")]


def full_count(matrix: Matrix, *more: Where) -> Call:
    """Cells with a full level."""
    return call("count", is_(matrix.value, *matrix.full), *more)


def level_count(matrix: Matrix, levels: Sequence[str], *more: Where) -> Call:
    """Cells with one of these levels."""
    return call("count", is_(matrix.value, *levels), *more)


def known_count(matrix: Matrix, *more: Where) -> Call:
    """Cells that count: neither unknown nor out of the count."""
    return call("count", is_not(matrix.value, *matrix.apart, *matrix.unknown), *more)


def full_share(matrix: Matrix, *more: Where) -> Call:
    """Full of counted, with the per cent."""
    return call("share", full_count(matrix, *more), known_count(matrix, *more))


def count(*conditions: Where) -> Call:
    return call("count", *conditions)


def top(number: int, *arguments: Argument, high: bool = True) -> Call:
    """The first texts of a column by a measure."""
    return call("top", number, *arguments, call("high" if high else "low"))


PERCENT = call("percent")


def one(header: str) -> str:
    """A header as a singular noun."""
    return singular(label(header))


def many(header: str) -> str:
    """A header as a plural noun."""
    return plural(singular(label(header)))


def cell(text: str) -> str:
    """A text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """A Markdown table; the first `words` columns hold words, the rest figures."""
    marks = ["---"] * words + ["---:"] * (len(header) - words)
    lines = [header, marks, *rows]
    return ["| " + " | ".join(map(cell, line)) + " |" for line in lines] + [""]
