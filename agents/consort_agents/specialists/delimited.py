"""Rows out of delimited text, however badly it was written.

Finds the delimiter, tells a header from data, and keeps for every row the line it
starts on. A row that cannot be trusted (too few or too many fields, a quotation
mark that never closes) is set aside with a note that names its line; it is neither
repaired by guessing nor a reason to give up the file.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field

from consort_agents.specialists.cells import date_of, number_of

_DELIMITERS = (",", ";", "\t", "|")
_NAMED_LINES = 5
"""Lines a note names before it only counts the rest."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """A table as read: texts only. `places` are where the rows are in the file."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    places: tuple[int, ...]
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Record:
    line: int
    fields: tuple[str, ...]


def lines_of(text: str) -> list[str]:
    """The lines of a text as editors count them: other marks that Unicode calls line breaks stay inside."""
    return re.split(r"\r\n|\n|\r", text)


def read_delimited(text: str, file: str) -> RawTable | None:
    """The table in `text`; None if there is no table in it. `file` is named in the notes."""
    delimiter = _delimiter(text)
    records, notes = _records(text, delimiter, file)
    records = [record for record in records if any(cell.strip() for cell in record.fields)]
    if not records:
        return None
    header, body = _header(records)
    good = [record for record in body if len(record.fields) == len(header)]
    ragged = [record.line for record in body if len(record.fields) != len(header)]
    if ragged:
        notes.append(
            f"{file}: {_lines(ragged)} set aside: not {len(header)} fields as in the header, "
            f"a delimiter ({_spelt(delimiter)}) too many or missing."
        )
    if not good and len(header) < 2:
        return None
    cells = tuple(tuple(cell.strip() for cell in record.fields) for record in good)
    return RawTable(_named(header), cells, tuple(record.line for record in good), tuple(notes))


def _spelt(delimiter: str) -> str:
    return {"\t": "tab", ",": "comma", ";": "semicolon"}.get(delimiter, "bar")


def _lines(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_NAMED_LINES])
    rest = len(numbers) - _NAMED_LINES
    return f"line{'s' if len(numbers) > 1 else ''} {shown}" + (f" and {rest} more" if rest > 0 else "")


def _delimiter(text: str) -> str:
    """The delimiter that splits most of the first lines into the same number of fields."""
    sample = [line for line in lines_of(text)[:200] if line.strip()]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        widths = Counter(len(row) for row in csv.reader(sample, delimiter=delimiter))
        width, agreeing = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        score = agreeing / max(len(sample), 1) + width / 1000
        if width > 1 and score > best_score:
            best, best_score = delimiter, score
    return best


def _records(text: str, delimiter: str, file: str) -> tuple[list[_Record], list[str]]:
    try:
        return _whole(text, delimiter), []
    except csv.Error:
        return _line_by_line(text, delimiter, file)


def _whole(text: str, delimiter: str) -> list[_Record]:
    """Reads by the book: fields in quotes may span lines. Raises csv.Error."""
    records, start = [], 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    for fields in reader:
        records.append(_Record(start, tuple(fields)))
        start = reader.line_num + 1
    return records


def _line_by_line(text: str, delimiter: str, file: str) -> tuple[list[_Record], list[str]]:
    """Every line on its own, so that one bad quotation mark spoils one row and not the rest."""
    records: list[_Record] = []
    bad: list[int] = []
    for number, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            continue
        try:
            records.extend(
                _Record(number, tuple(row)) for row in csv.reader([line], delimiter=delimiter, strict=True)
            )
        except csv.Error:
            bad.append(number)
    note = f"{file}: {_lines(bad)} set aside: a quotation mark opens and does not close, or stands inside a field."
    return records, [note] if bad else []


def _header(records: list[_Record]) -> tuple[tuple[str, ...], list[_Record]]:
    """The first row, unless it looks like the data below it: then the columns are numbered."""
    first, body = records[0], records[1:]
    if body and _like_data(first.fields, [record.fields for record in body[:50]]):
        return tuple(f"column {at}" for at in range(1, len(first.fields) + 1)), records
    return first.fields, body


def _like_data(first: tuple[str, ...], body: list[tuple[str, ...]]) -> bool:
    """Whether a first row holds numbers where numbers follow. Years may well be headers."""
    telling = []
    for at, cell in enumerate(first):
        below = [row[at] for row in body if at < len(row) and row[at].strip()]
        if below and all(number_of(text) is not None or date_of(text) is not None for text in below):
            telling.append(number_of(cell) is not None and date_of(cell) is None)
    return bool(telling) and all(telling)


def _named(header: tuple[str, ...]) -> tuple[str, ...]:
    """Headers without blanks and doubles; citations write them in square brackets, so those go."""
    names: list[str] = []
    for at, cell in enumerate(header, start=1):
        name = " ".join(cell.replace("[", "(").replace("]", ")").replace("`", "'").split()) or f"column {at}"
        double = sum(1 for known in names if known == name or known.startswith(f"{name} ("))
        names.append(f"{name} ({double + 1})" if name in names else name)
    return tuple(names)
