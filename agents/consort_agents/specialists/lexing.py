"""Finds names, figures and citations in a sentence.

Names come first, so that the figures in "A2A" or "Step 3" are not taken for counts;
what is left and has a digit in it is a figure. Words from "two" to "twelve" are
figures too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from consort_agents.specialists.cells import number_of
from consort_agents.specialists.facts import Facts, Kind
from consort_agents.specialists.wording import capital, label, plural, singular

_MOST_NAMES = 4000
_NUMBER_WORDS = {
    word: number
    for number, word in enumerate(
        ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"], start=2
    )
}
_FIGURE = re.compile(
    r"(?P<cite>\[\d+\])"
    r"|(?P<date>(?<![\w.-])\d{4}-(?:Q\d|\d{2}(?:-\d{2})?)(?![\w-]))"
    r"|(?P<number>(?<![\w.])[+−-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]))"
    rf"|(?P<spelt>\b(?:{'|'.join(_NUMBER_WORDS)})\b)"
    r"|(?P<odd>[^\s|()\[\]]*\d[^\s|()\[\]]*)",
    re.IGNORECASE,
)


_AMOUNT = re.compile(
    r"\b(?:(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"|hundreds?|thousands?|millions?|billions?|trillions?|dozens?|scores? of"
    r"|half|halves|halved|thirds?|quarters?|double[sd]?|doubling|twice|triple[sd]?|thrice|\w+fold)\b",
    re.IGNORECASE,
)
_MISLEADING = re.compile(rf"[\d.!?]|\b(?:{'|'.join(_NUMBER_WORDS)})\b", re.IGNORECASE)
"""What in a header would be taken for a figure or the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Token:
    """A name, figure or citation, where it starts and what it says."""

    kind: Literal["name", "figure", "cite"]
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What may stand in a sentence: names of the data, and words with digits that claim nothing."""

    names: frozenset[str]
    plain: frozenset[str]
    pattern: re.Pattern[str]


def lexicon_of(facts: Facts) -> Lexicon:
    """Names are the texts of keys, categories and the sides of matrices; plain are files and columns."""
    names: dict[str, None] = {}
    plain: set[str] = {file.name for file in facts.files} | {table.name for table in facts.tables}
    sides = {
        (matrix.table, side)
        for matrix in facts.matrices
        for side in (matrix.entity, matrix.item, matrix.group, matrix.item_id)
    }
    for table in facts.tables:
        for column in table.columns:
            plain |= {form for form in _forms(column.name) if _MISLEADING.search(form)}
            naming = column.name == table.key or (table.name, column.name) in sides
            if naming or column.kind is Kind.CATEGORY:
                names |= {text: None for text in column.texts if re.search(r"[^\W\d]", text)}
    return lexicon(list(names)[:_MOST_NAMES], plain)


def _forms(header: str) -> set[str]:
    """How a header may be written in a sentence."""
    if not re.search(r"[^\W\d]", header):
        return set()
    words = label(header)
    forms = {header, words, singular(words), plural(singular(words))}
    return forms | {capital(form) for form in forms}


def lexicon(names: Iterable[str], plain: Iterable[str] = ()) -> Lexicon:
    """A lexicon of given names."""
    known, ignored = frozenset(names), frozenset(plain)
    longest_first = sorted(known | ignored, key=lambda text: (-len(text), text))
    words = "|".join(re.escape(text) for text in longest_first) or r"(?!)"
    return Lexicon(known, ignored, re.compile(rf"(?<![\w-])(?:{words})(?![\w-])"))


def tokens(text: str, words: Lexicon, literals: Iterable[str] = ()) -> list[Token]:
    """The tokens of a text in order. `literals` in quotation marks are words of the data, not figures."""
    found: list[Token] = []
    hidden = text
    for literal in sorted(literals, key=len, reverse=True):
        hidden = hidden.replace(f'"{literal}"', " " * (len(literal) + 2))
    for name in words.pattern.finditer(hidden):
        if name[0] in words.names:
            found.append(Token("name", name[0], name.start()))
        hidden = hidden[: name.start()] + " " * len(name[0]) + hidden[name.end() :]
    for figure in _FIGURE.finditer(hidden):
        kind: Literal["figure", "cite"] = "cite" if figure["cite"] else "figure"
        clean = figure[0].rstrip(".,;:") if figure["odd"] else figure[0]
        found.append(Token(kind, clean, figure.start()))
    return sorted(found, key=lambda token: token.start)


def masked(text: str, words: Lexicon) -> str:
    """The text with names and quoted words blotted out, letter for letter: their full stops end no sentence."""
    text = words.pattern.sub(lambda found: "x" * len(found[0]), text)
    return re.sub(r"“[^”]*”|\"[^\"]*\"", lambda found: "x" * len(found[0]), text)


def uncounted(text: str, words: Lexicon, known: str) -> list[str]:
    """Words for amounts in a text that no count is held against: "hundreds", "half", "twice".

    Words of `known`, such as the headers of tables, are left out.
    """
    there = known.lower()
    found = (word[0].lower() for word in _AMOUNT.finditer(masked(text, words)))
    return [word for word in dict.fromkeys(found) if not re.search(rf"\b{re.escape(word)}\b", there)]


def is_telling(name: str) -> bool:
    """Whether a name cannot be mistaken for an ordinary word of a sentence."""
    return not (name.isalpha() and name.islower())


def number_said(text: str) -> float | None:
    """The number that a figure or a word such as "two" stands for; None for what is none."""
    return _NUMBER_WORDS.get(text.lower()) or number_of(text)


def agrees(claimed: str, exact: float | str) -> bool:
    """Whether a figure as written is the exact one, rounded to as many decimals as it shows."""
    if claimed == exact:
        return True
    number = number_said(claimed)
    wanted = number_of(exact) if isinstance(exact, str) else exact
    if number is None or wanted is None or re.match(r"^\d{4}-", claimed):
        return False
    decimals = len(claimed.rpartition(".")[2]) if "." in claimed else 0
    slack = 0.0 if decimals == 0 and float(wanted).is_integer() else 0.5 * 10**-decimals
    return bool(abs(number - wanted) <= slack + 1e-9 * max(1.0, abs(wanted)))
