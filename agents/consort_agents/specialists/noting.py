"""Notes on what matters in the sources, picked by a model and held against them.

A note names lines and quotes words. It is kept only if those lines exist and hold those
words; that is checked here, whatever the model claims. What a note says beside its
quotation is an opinion and is used as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from consort_agents import Context
from consort_agents.specialists.retrieval import Shelf, retrieval_tools
from consort_agents.specialists.with_model import prompt
from consort_agents.specialists.wording import clip, listing

MOST_NOTES = 12
LONGEST_SPAN = 20
"""Lines of one note."""
LONGEST = 1_000
"""Characters of a quotation, and of what is said about it."""
_ASK = (
    "Look into the sources with the tools, then note what matters for the question, at most twelve notes. "
    "A note names the file, the first and last line (or item) of the place, `quote`: words that stand there, word "
    "for word, and `says`: in one sentence of your own why it matters. A note whose words do not stand in its "
    "lines is dropped."
)


class Note(BaseModel):
    """A place in the sources that matters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    first: int = Field(description="line, or item of a list, from 1")
    last: int
    quote: str = Field(description="words that stand there, word for word")
    says: str = Field(description="why it matters for the question, in one sentence")


class Notes(BaseModel):
    """What a model is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    notes: list[Note]


def notes_on(shelf: Shelf, ctx: Context) -> tuple[list[Note], list[str]]:
    """The notes that hold, and why others were dropped. Raises ThinkingFailed."""
    outcome = ctx.model.work_sync(
        prompt({"question": shelf.facts.question or "What do the sources tell?"}),
        tools=retrieval_tools(shelf),
        schema=Notes,
        system=_ASK,
        on_limit="answer",
    )
    kept, dropped = held(outcome.value.notes, shelf)
    ctx.progress(f"{len(kept)} notes, {len(dropped)} dropped")
    return kept, dropped


def held(notes: Sequence[Note], shelf: Shelf) -> tuple[list[Note], list[str]]:
    """The notes whose words stand where they say, and a sentence on each of the others."""
    kept: list[Note] = []
    dropped: list[str] = []
    for note in notes:
        why = _fault(note, shelf)
        if not why and len(kept) == MOST_NOTES:
            why = f"there are {MOST_NOTES} notes already"
        if why:
            where = f"{note.file}, {note.first}–{note.last}"
            dropped.append(f"{clip(where, 120)}: “{clip(note.quote, 120)}”: {why}")
        else:
            kept.append(note)
    return kept, dropped


def _fault(note: Note, shelf: Shelf) -> str:
    """Why a note does not hold, or nothing."""
    if len(note.quote) > LONGEST or len(note.says) > LONGEST:
        return f"a note has up to {LONGEST} characters"
    documents = {document.file: document for document in shelf.sources.documents}
    tables = {table.file: table for table in shelf.sources.tables}
    if note.file not in documents and note.file not in tables:
        return f"there is no such file; there are {listing(sorted({*documents, *tables}))}"
    if not 1 <= note.first <= note.last:
        return "the lines are no lines"
    if note.last - note.first >= LONGEST_SPAN:
        return f"more than {LONGEST_SPAN} lines are no place"
    if note.file in documents:
        lines = documents[note.file].lines
        if note.last > len(lines):
            return f"the file has {len(lines)} lines"
        texts = [" ".join(lines[note.first - 1 : note.last])]
    else:
        texts = list(_row_texts(shelf, note))
        if not texts:
            return "no row of the table stands in these lines"
    quote = _plain(note.quote)
    if not quote or not any(quote in _plain(text) for text in texts):
        return "these words do not stand there"
    return ""


def _row_texts(shelf: Shelf, note: Note) -> Iterator[str]:
    """Each cell of the rows, and each row as it may be copied."""
    for table in (table for table in shelf.sources.tables if table.file == note.file):
        raw = table.raw
        for place, row in zip(raw.places, raw.rows, strict=True):
            if note.first <= place <= note.last:
                yield from row
                yield ", ".join(row)
                yield "; ".join(f"{name}: {cell}" for name, cell in zip(raw.header, row, strict=False))


def _plain(text: str) -> str:
    return " ".join(text.split())
