"""Paragraphs of the sources, and which of them speak to the question.

Relevance is BM25 over the words, which needs no model and gives the same answer
every time. What is returned is quoted as it stands in the file, with its lines:
nothing is summed up or reworded here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from consort_agents.specialists.facts import Kind, Passage, Table, cells, column_named
from consort_agents.specialists.sources import Document

LONGEST = 600
"""Characters of a passage; a longer paragraph is cut at a sentence."""

CAVEAT = re.compile(
    r"\b(not a certificate|out of date|outdated|can be wrong|may be wrong|estimate[ds]?|approximat\w+|incomplete"
    r"|unaudited|self-reported|not verified|provisional|sample of|excludes?|not comparable|caution)\b",
    re.IGNORECASE,
)


def passages_of(document: Document) -> list[Passage]:
    """The paragraphs and list items of a document, headings left out."""
    found: list[Passage] = []
    block: list[tuple[int, str]] = []
    for number, line in enumerate([*document.lines, ""], start=1):
        starts = re.match(r"^\s*([-*+]|\d+[.)])\s+", line) is not None
        if block and (
            starts or not line.strip() or line.lstrip().startswith("#") or document.place == "item"
        ):
            found.extend(_passage(document, block))
            block = []
        if line.strip() and not re.match(r"^\s*(#|```|\||---|===|!\[)", line):
            block.append((number, line))
    return found


def _passage(document: Document, block: list[tuple[int, str]]) -> Iterator[Passage]:
    text = " ".join(line.strip() for _, line in block)
    text = _cut(re.sub(r"^([-*+]|\d+[.)])\s+", "", text))
    if len(text.split()) >= 4:
        yield Passage(
            file=document.file,
            first=block[0][0],
            last=block[-1][0],
            place=document.place,
            text=text,
            caveat=CAVEAT.search(text) is not None,
        )


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    head = text[:LONGEST]
    end = max(head.rfind(". "), head.rfind("? "), head.rfind("! "))
    return head[: end + 1] if end > LONGEST // 3 else head.rsplit(" ", 1)[0]


def rows_as_passages(table: Table) -> list[Passage]:
    """The free text of each row of a table that names its rows."""
    texts = [c for c in table.columns if c.kind is Kind.TEXT and c.name != table.key]
    if table.key is None or not texts:
        return []
    names = cells(column_named(table, table.key))
    widest = max(texts, key=lambda c: sum(len(c.texts[code]) for code in c.codes))
    return [
        Passage(file=table.file, first=at, last=at, place=table.place, text=text, about=name)
        for at, name, text in zip(table.places, names, cells(widest), strict=True)
        if len(text.split()) >= 4
    ]


def relevant(passages: Sequence[Passage], question: str, most: int) -> list[Passage]:
    """The passages that share words with the question, the closest first, at most `most`."""
    if not passages or not question.strip():
        return []
    import bm25s  # costs a third of a second that only this function needs

    corpus = [_words(f"{passage.about} {passage.text}") for passage in passages]
    asked = [word for word in dict.fromkeys(_words(question)) if any(word in words for words in corpus)]
    if not asked:
        return []
    index = bm25s.BM25()
    index.index(corpus, show_progress=False)
    scores = index.get_scores(asked)
    ranked = sorted(range(len(passages)), key=lambda at: (-float(scores[at]), at))[:most]
    return [
        passages[at].model_copy(update={"score": round(float(scores[at]), 4)})
        for at in ranked
        if scores[at] > 0
    ]


_STOP = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by do does for from has have how in is it its no none of on or that the their them "
        "they this to was well were what when where which who why will with you your",
    )
)


def _words(text: str) -> list[str]:
    """Words in lower case, plural endings off, the commonest left out."""
    words = re.findall(r"[^\W_]+", text.lower())
    return [re.sub(r"(?<=[a-z]{3})s$", "", word) for word in words if word not in _STOP and len(word) > 1]
