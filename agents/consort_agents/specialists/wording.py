"""Words and figures as a reader expects them.

Turns column headers into labels, and numbers into text. Knows English plurals and
nothing of any market.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def label(header: str) -> str:
    """A header as words: `last_release` and `lastRelease` become `last release`."""
    one_word = not re.search(r"[_\s]", header.strip())
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", header.strip()) if one_word else header
    words = re.sub(r"[_\s]+", " ", spaced).strip()
    return words.lower() if words[1:].islower() or "_" in header else words


def capital(text: str) -> str:
    """The text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def plural(word: str) -> str:
    """The plural of a label's last word; a label that does not end in a word stays as it is."""
    if not word[-1:].isalpha():
        return word
    if re.search(r"(s|x|ch|sh)$", word):
        return word if word.endswith("s") and not word.endswith("ss") else word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


def singular(word: str) -> str:
    """The singular of a label's last word."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if re.search(r"(ss|us|is)$", word) or not word.endswith("s"):
        return word
    return word[:-2] if re.search(r"(x|ch|sh|ss)es$", word) else word[:-1]


def counted(number: int, word: str) -> str:
    """`1 system`, `2 systems`."""
    one = singular(word)
    return f"{figure(number)} {one if number == 1 else plural(one)}"


def figure(value: float, digits: int | None = None) -> str:
    """A number with thousands separators; decimals only where they say something."""
    if digits is not None:
        return f"{value:,.{digits}f}"
    text = f"{value:,.{0 if abs(value) >= 1000 else 2}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(part: float, whole: float) -> str:
    """A share in whole per cent; `0 %` when there is nothing to share."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def listing(parts: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def quoted(words: Sequence[str]) -> str:
    """Words of the data, in quotation marks: `"yes" or "full"`."""
    return listing([f'"{word}"' for word in words], "or")


def clip(text: str, longest: int) -> str:
    """At most `longest` characters, cut between words."""
    if len(text) <= longest:
        return text
    return text[: longest - 1].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"
