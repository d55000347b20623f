"""Whether a sentence says only what it was given: figures, names, dates, links.

For texts whose author is not believed and whose source is plain text or JSON. Pure. It holds words
against words, so it errs on the side of the source: a figure must be the source's own, not one
worked out from it, and a name must stand there. What a sentence says *about* them is not
understood here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from consort_agents.specialists.lexing import lexicon, number_said, tokens, uncounted
from consort_agents.specialists.wording import listing

_WORDS = lexicon(())
_WORD = re.compile(r"[^\W\d_](?:[\w’'-]*[^\W_])?")
_LINK = re.compile(r"\S+://\S+|\bwww\.\S+|\S+@\S+\.\w+")
_END = re.compile(r"(?<=[.!?])\s+(?=[\"“(]?[^\W\da-z])")
_OPENING = (
    "a after all also although an and any as at because before both but by do each either every for from good have "
    "he hello here hi hope how however i if in instead it its just kind many more most much nevertheless no not now of "
    "on once one only or our please regarding she should since so some sorry still thank thanks that the their then "
    "there therefore these they this those though to together under unfortunately until we what when where whether "
    "which while who why will with without would yes you your"
)
_OPENERS = frozenset(_OPENING.split())
"""Words that a sentence may begin with, and be no name, though the source does not have them."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a sentence may say."""

    text: str
    figures: frozenset[str]
    numbers: frozenset[float]
    words: frozenset[str]


def ground_of(*texts: str) -> Ground:
    """What these texts allow a sentence to say."""
    whole = "\n".join(texts)
    figures = frozenset(token.text for token in tokens(whole, _WORDS))
    numbers = frozenset(number for figure in figures if (number := number_said(figure)) is not None)
    words = frozenset(_bare(found[0]) for found in _WORD.finditer(whole))
    return Ground(whole, figures, numbers, words)


def sentences(text: str) -> list[str]:
    """A paragraph as sentences: each ends in a full stop, and the next begins with a capital."""
    return [part.strip() for part in _END.split(text) if part.strip()]


def ungrounded(sentence: str, ground: Ground) -> str:
    """Why a sentence says more than it was given, or nothing."""
    links = [found[0].rstrip(".,;:!?)") for found in _LINK.finditer(sentence)]
    if lost := [link for link in links if link not in ground.text]:
        return f"{listing(lost)} does not stand in what was given"
    plain = _LINK.sub(" ", sentence)
    figures = [token.text for token in tokens(plain, _WORDS)]
    if lost := [figure for figure in figures if not _given(figure, ground)]:
        return f"{listing(lost)} is no figure of what was given"
    if amounts := uncounted(plain, _WORDS, ground.text):
        return f"{listing(amounts)} is an amount that does not stand in what was given"
    if lost := list(dict.fromkeys(_names(plain, ground))):
        return f"{listing(lost)} would be a name, and does not stand in what was given"
    return ""


def _given(figure: str, ground: Ground) -> bool:
    return figure in ground.figures or number_said(figure) in ground.numbers


def _names(sentence: str, ground: Ground) -> list[str]:
    """Words with a capital that the source does not have."""
    lost = []
    for at, found in enumerate(_WORD.finditer(sentence)):
        word = _bare(found[0])
        if found[0][0].isupper() and word not in ground.words and not (at == 0 and word in _OPENERS):
            lost.append(found[0])
    return [word for word in lost if not re.fullmatch(r"I(?:['’](?:m|d|ll|ve))?", word)]


def _bare(word: str) -> str:
    """A word without its case and without the `s` of a possessive."""
    return re.sub(r"['’]s$", "", word).casefold()
