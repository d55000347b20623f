"""Which words say how far something is there, and in which order.

A closed list: an order among words cannot be found from the data, so a column of
words that are not here (gold, silver, bronze) is a category like any other. Small
whole numbers from 0 or 1 upward are a scale as they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consort_agents.specialists.cells import is_apart, is_nothing

_FULL = {
    "yes",
    "y",
    "true",
    "full",
    "fully",
    "complete",
    "supported",
    "always",
    "high",
    "strong",
    "native",
    "built-in",
}
_FULL |= {"✓", "✔", "✅", "●", "available", "excellent", "all"}
_PARTIAL = {
    "partial",
    "partially",
    "partly",
    "some",
    "limited",
    "medium",
    "moderate",
    "sometimes",
    "beta",
    "preview",
}
_PARTIAL |= {"experimental", "add-on", "plugin", "◐", "◑", "~", "fair", "basic"}
_NONE = {
    "no",
    "n",
    "false",
    "none",
    "unsupported",
    "not supported",
    "never",
    "low",
    "weak",
    "missing",
    "absent",
}
_NONE |= {"✗", "✘", "❌", "○", "unavailable", "poor"}

_LONGEST_SCALE = 6


def rank_of(text: str) -> int | None:
    """2 for a full level, 1 for a partial one, 0 for none; None for a word that is no level."""
    word = text.strip().lower()
    for rank, words in ((2, _FULL), (1, _PARTIAL), (0, _NONE)):
        if word in words:
            return rank
    return None


def is_scale(texts: Iterable[str]) -> bool:
    """Whether these values are levels in words: at least two ranks, and nothing that is no level."""
    ranks = {rank_of(text) for text in set(texts)}
    return None not in ranks and len(ranks) > 1


def are_levels(texts: Iterable[str]) -> bool:
    """Whether all values are level words, even if only one level occurs."""
    return all(rank_of(text) is not None for text in set(texts))


def sorted_levels(texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The words among `texts` that count as full, partial and none, each in the order of appearance."""
    words = [text for text in dict.fromkeys(texts) if not is_nothing(text) and not is_apart(text)]
    if all(rank_of(word) is not None for word in words):
        full, partial, none = (tuple(w for w in words if rank_of(w) == rank) for rank in (2, 1, 0))
        return full, partial, none
    numbers = sorted(words, key=int)
    return (numbers[-1],), tuple(numbers[1:-1]), (numbers[0],)


def is_numeric_scale(texts: Iterable[str]) -> bool:
    """Whether these values are a scale of small whole numbers, such as 0 to 3 or 1 to 5, with no gap."""
    distinct = {text.strip() for text in texts}
    if not all(text.isdigit() for text in distinct) or not 2 <= len(distinct) <= _LONGEST_SCALE:
        return False
    values = sorted(int(text) for text in distinct)
    return values[0] in (0, 1) and values == list(range(values[0], values[-1] + 1))
