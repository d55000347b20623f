"""From a folder and a question to facts.

Puts the parts together: reads the folder, profiles its tables, turns wide grids
into long ones, finds the matrices and the passages. Decides only how much is kept,
so that the facts stay well below a megabyte however large the sources are.
"""

from __future__ import annotations

from pathlib import Path

from consort_agents.specialists.facts import Facts, Matrix, Passage, Table, column_named
from consort_agents.specialists.matrices import matrix_of, unfolded
from consort_agents.specialists.passages import passages_of, relevant, rows_as_passages
from consort_agents.specialists.sources import Sources, SourceTable, read_folder
from consort_agents.specialists.tables import profile, unread

MAX_CELLS = 36_000
"""Cells kept over all tables; of larger tables the first rows are kept, with a note."""
MOST_PASSAGES = 12
_MOST_CAVEATS = 6


def gather_facts(folder: str | Path, question: str) -> Facts:
    """What the folder holds. Raises consort_agents.specialists.sources.UnusableSources."""
    return facts_of(read_folder(folder), question)


def facts_of(sources: Sources, question: str) -> Facts:
    """What the sources hold."""
    tables, notes = _tables(sources)
    wide = [long for table in tables if (long := unfolded(table, tables)) is not None]
    tables += wide
    return Facts(
        question=" ".join(question.split()),
        files=sources.files,
        tables=tuple(tables),
        matrices=_matrices(tables, question),
        passages=_passages(sources, tables, question),
        limits=(*sources.notes, *notes, *(note for table in tables for note in unread(table))),
    )


def _tables(sources: Sources) -> tuple[list[Table], list[str]]:
    tables, notes = [], []
    room = MAX_CELLS
    for source in sources.tables:
        rows = max(1, room // max(1, len(source.raw.header)))
        total = len(source.raw.rows)
        if rows < total:
            notes.append(f"{source.file}: only the first {rows:,} of {total:,} rows were used.")
        tables.append(_profiled(source, rows))
        room -= min(rows, total) * len(source.raw.header)
    return tables, notes


def _profiled(source: SourceTable, most: int) -> Table:
    raw = source.raw
    return profile(source.file, source.file, raw.header, raw.rows[:most], raw.places[:most], source.place)


def _matrices(tables: list[Table], question: str) -> tuple[Matrix, ...]:
    found = []
    for table in tables:
        known = frozenset(
            text.lower()
            for other in tables
            if other.file != table.file and other.key is not None
            for text in column_named(other, other.key).texts
        )
        if (matrix := matrix_of(table, question, known)) is not None:
            found.append((len(table.places), matrix))
    return tuple(matrix for _, matrix in sorted(found, key=lambda item: -item[0]))


def _passages(sources: Sources, tables: list[Table], question: str) -> tuple[Passage, ...]:
    """The passages nearest to the question, then those that say how far the sources can be trusted."""
    paragraphs = [passage for document in sources.documents for passage in passages_of(document)]
    rows = [passage for table in tables for passage in rows_as_passages(table)]
    near = relevant(paragraphs, question, MOST_PASSAGES // 2) + relevant(rows, question, MOST_PASSAGES // 2)
    chosen = {(passage.file, passage.first) for passage in near}
    caveats = [p for p in paragraphs if p.caveat and (p.file, p.first) not in chosen]
    rest = [] if near else paragraphs[:3]
    return (*near, *caveats[:_MOST_CAVEATS], *(p for p in rest if p not in caveats))
