"""Takes a draft apart into what it claims.

Reads the Markdown of any writer: headings, sentences of paragraphs and lists, rows
of tables with the caption above them, quotations, and the list of sources. Says of
each where it stands; judges nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from consort_agents.specialists.basis import BasisError
from consort_agents.specialists.citations import HEADING, Entry, entry_of
from consort_agents.specialists.lexing import Lexicon, masked

ClaimKind = Literal["heading", "sentence", "caption", "row", "quote"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that the draft says. `cited` are the numbers it leans on; a row leans on its caption's."""

    kind: ClaimKind
    text: str
    line: int
    section: str
    cited: tuple[int, ...]

    @property
    def place(self) -> str:
        return f"{self.section or 'title'}, line {self.line}"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line of the list of sources that is no entry."""

    text: str
    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Draft:
    """The parts of a draft."""

    claims: tuple[Claim, ...]
    entries: dict[int, Entry]
    entry_lines: dict[int, tuple[int, str]]
    unreadable: tuple[Unreadable, ...]


def cited_in(text: str) -> tuple[int, ...]:
    """The numbers cited in a text, in order."""
    return tuple(int(number) for number in re.findall(r"\[(\d+)\]", text))


def taken_apart(markdown: str, words: Lexicon) -> Draft:
    """A draft as claims and sources."""
    reader = _Reader(words)
    for number, line in enumerate(markdown.split("\n"), start=1):
        reader.line(number, line.rstrip())
    reader.end_of_block()
    return Draft(tuple(reader.claims), reader.entries, reader.entry_lines, tuple(reader.unreadable))


class _Reader:
    def __init__(self, words: Lexicon) -> None:
        self.claims: list[Claim] = []
        self.entries: dict[int, Entry] = {}
        self.entry_lines: dict[int, tuple[int, str]] = {}
        self.unreadable: list[Unreadable] = []
        self._words = words
        self._section = ""
        self._caption: tuple[int, ...] = ()
        self._block: list[tuple[int, str]] = []
        self._table_row = 0
        self._last_block = 0

    def line(self, number: int, line: str) -> None:
        if not line.startswith("|"):
            self._table_row = 0
        if line.startswith("#"):
            self._heading(number, line)
        elif self._section == HEADING and line.startswith("- "):
            self._entry(number, line)
        elif line.startswith("|"):
            self._row(number, line)
        elif line.startswith(">"):
            self.end_of_block()
            self._claim("quote", line.lstrip("> "), number)
        elif not line or line.startswith("!["):
            self.end_of_block()
        else:
            if re.match(r"^\s*([-*+]|\d+[.)]) ", line):
                self.end_of_block()
                line = re.sub(r"^\s*([-*+]|\d+[.)]) ", "", line)
            self._block.append((number, line.strip()))

    def end_of_block(self) -> None:
        """Closes a paragraph or list item: its sentences are claims."""
        if not self._block:
            return
        first, text = self._block[0][0], " ".join(part for _, part in self._block)
        self._block = []
        self._last_block = len(self.claims)
        start = 0
        for stop in re.finditer(r"[.!?](?=\s+(?!\[\d+\])\S)|$", masked(text, self._words)):
            sentence = text[start : stop.end()].strip()
            if stop[0] == "." and re.search(r"\b(e\.g|i\.e|vs|approx|cf|No)\.$", sentence):
                continue
            if sentence:
                self._claim("sentence", sentence, first)
            start = stop.end()
        self._caption = cited_in(masked(text, self._words))

    def _heading(self, number: int, line: str) -> None:
        self.end_of_block()
        title = line.lstrip("# ")
        self._claim("heading", title, number)
        if not line.startswith("# "):
            self._section = title

    def _row(self, number: int, line: str) -> None:
        self.end_of_block()
        self._table_row += 1
        if self._table_row == 1:
            above = self.claims[self._last_block :]
            self.claims[self._last_block :] = [
                replace(claim, kind="caption") if claim.kind == "sentence" else claim for claim in above
            ]
        if self._table_row == 2 and re.match(r"^[|\s:-]+$", line):
            return
        text = line.replace("\\|", "|")
        kind: ClaimKind = "heading" if self._table_row == 1 else "row"
        cited = cited_in(masked(text, self._words)) or (self._caption if kind == "row" else ())
        self.claims.append(Claim(kind, text, number, self._section, cited))

    def _entry(self, number: int, line: str) -> None:
        self.end_of_block()
        try:
            at, entry = entry_of(line)
        except BasisError as exc:
            self.unreadable.append(Unreadable(line, number, str(exc)))
            return
        if at in self.entries:
            self.unreadable.append(Unreadable(line, number, f"[{at}] is in the list twice"))
            return
        self.entries[at] = entry
        self.entry_lines[at] = (number, line)

    def _claim(self, kind: ClaimKind, text: str, number: int) -> None:
        cited = cited_in(masked(text, self._words))
        self.claims.append(Claim(kind, text, number, self._section, cited))
