"""Numbered citations, and the list of sources that they lead to.

A citation is `[3]` in the text and an entry in the list: a place in a file and how
the figures were counted there (`basis`), or a quotation, or a note made while
reading. This module writes entries and reads them back; whether they hold is the
business of `verifying`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from consort_agents.specialists.basis import BasisError, Call, call, parsed, written
from consort_agents.specialists.facts import Passage, Place, Table

HEADING = "Sources"
NOTES = "notes on the sources"

_ENTRY = re.compile(r"^- \[(?P<number>\d+)\] (?P<rest>.+)$")
_PLACED = re.compile(
    r"^(?P<file>.+), (?P<unit>line|item)s? (?P<first>\d+)(?:–(?P<last>\d+))?: (?P<body>`.+`)$"
)
_NOTED = re.compile(rf"^{NOTES}: (?P<body>`.+`)$")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a citation leads to. `first` and `last` are 0 for a note."""

    file: str
    place: Place
    first: int
    last: int
    measures: tuple[Call, ...]

    @property
    def kind(self) -> Literal["count", "quote", "note"]:
        name = self.measures[0].name if self.measures else ""
        return "quote" if name == "quote" else "note" if name == "note" else "count"


class Book:
    """Gives every source one number, in the order of first use."""

    def __init__(self) -> None:
        self._entries: dict[Entry, int] = {}

    def count(self, table: Table, *measures: Call) -> str:
        """A citation of figures counted in a table."""
        return self._cite(Entry(table.name, table.place, min(table.places), max(table.places), measures))

    def row(self, table: Table, at: int, *measures: Call) -> str:
        """A citation of figures that stand in one place of a table."""
        return self._cite(Entry(table.name, table.place, at, at, measures))

    def quote(self, passage: Passage) -> str:
        """A citation of words."""
        return self._cite(Entry(passage.file, passage.place, passage.first, passage.last, (call("quote"),)))

    def note(self, number: int) -> str:
        """A citation of the n-th note of the facts, from 1."""
        return self._cite(Entry(NOTES, "line", 0, 0, (call("note", number),)))

    def _cite(self, entry: Entry) -> str:
        return f" [{self._entries.setdefault(entry, len(self._entries) + 1)}]"

    def lines(self) -> list[str]:
        """The list of sources, one line each."""
        return [entry_line(number, entry) for entry, number in self._entries.items()]


def quotable(text: str) -> str:
    """A text as it stands between quotation marks: its own marks become single ones."""
    return text.replace("“", "‘").replace("”", "’")


def entry_line(number: int, entry: Entry) -> str:
    """An entry as a line of the report."""
    body = "; ".join(f"`{written(measure)}`" for measure in entry.measures)
    if entry.kind == "note":
        return f"- [{number}] {NOTES}: {body}"
    several = entry.last > entry.first
    where = f"{entry.place}{'s' if several else ''} {entry.first}" + (f"–{entry.last}" if several else "")
    return f"- [{number}] {entry.file}, {where}: {body}"


def entry_of(line: str) -> tuple[int, Entry]:
    """The number and the entry in a line of the list of sources. Raises BasisError."""
    found = _ENTRY.match(line)
    if found is None:
        raise BasisError("not an entry of the form `- [1] file, lines 1–2: …`")
    number, rest = int(found["number"]), found["rest"]
    if noted := _NOTED.match(rest):
        return number, Entry(NOTES, "line", 0, 0, _measures(noted["body"]))
    placed = _PLACED.match(rest)
    if placed is None:
        raise BasisError("names no file with its lines, or does not say how it was counted")
    first = int(placed["first"])
    place: Place = "line" if placed["unit"] == "line" else "item"
    return number, Entry(
        placed["file"], place, first, int(placed["last"] or first), _measures(placed["body"])
    )


def _measures(body: str) -> tuple[Call, ...]:
    parts = re.findall(r"`([^`]+)`", body)
    if "; ".join(f"`{part}`" for part in parts) != body:
        raise BasisError(f"unreadable: {body}")
    return tuple(parsed(part) for part in parts)
