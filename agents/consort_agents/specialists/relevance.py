"""How near a text is to a goal, by its words alone.

BM25 over a handful of short texts, in plain Python and without a model: the same
goal and the same texts give the same order. Knows nothing of skills or plans.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping

_WORD = re.compile(r"[a-z0-9]+")
_SATURATION, _LENGTH = 1.2, 0.75
"""How soon a repeated word counts no more, and how much long texts are marked down."""
_EMPTY = """
    a about all an and any are as at be by can do does each for from has have how i in into is it its me my of on or
    our than that the their them there they this to us was we well what when where which who why will with you your
    please
"""
EMPTY = frozenset(_EMPTY.split())
"""Words that tell nothing of what somebody wants."""


def words_of(text: str) -> list[str]:
    """The telling words of a text, in lower case and without their most common endings."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in EMPTY]


def scores(goal: str, texts: Mapping[str, str]) -> dict[str, float]:
    """How near each text is to the goal; 0 for one that shares no telling word with it."""
    wanted = dict.fromkeys(words_of(goal))
    counts = {name: Counter(words_of(text)) for name, text in texts.items()}
    usual = sum(map(Counter.total, counts.values())) / max(len(counts), 1)
    return {
        name: sum(_weight(word, count, counts, usual) for word in wanted if word in count)
        for name, count in counts.items()
    }


def overlap(goal: str, text: str) -> tuple[int, float]:
    """How many telling words of the goal are in the text, and what share of them that is."""
    wanted = set(words_of(goal))
    shared = wanted & set(words_of(text))
    return len(shared), len(shared) / len(wanted) if wanted else 0.0


def _weight(word: str, count: Counter[str], counts: Mapping[str, Counter[str]], usual: float) -> float:
    having = sum(word in other for other in counts.values())
    rare = math.log(1 + (len(counts) - having + 0.5) / (having + 0.5))
    length = 1 - _LENGTH + _LENGTH * count.total() / max(usual, 1.0)
    return rare * count[word] * (_SATURATION + 1) / (count[word] + _SATURATION * length)


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word
