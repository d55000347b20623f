"""How faults are worded: near misses, lists of what there is, types and paths.

Every message about a plan uses these, so that one thing has one name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from consort_shared.values import Json


def dotted(path: Iterable[str | int]) -> str:
    """A path as people write it: `steps.draft.needs[0]`."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".")


def did_you_mean(word: str, offered: Sequence[str]) -> str:
    """`; did you mean …?` with the nearest of the words on offer, or nothing."""
    near = difflib.get_close_matches(word, offered, n=1, cutoff=0.6)
    return f"; did you mean `{near[0]}`?" if near else ""


def listed(words: Sequence[str], most: int = 12) -> str:
    """Words for a message: in backticks, the first few of many."""
    shown = ", ".join(f"`{word}`" for word in words[:most])
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown or "none"


def kind_of(value: Json) -> str:
    """The JSON type of a value, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a number"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case _:
            return "a mapping"


_WORDS = {
    "string": "text",
    "number": "a number",
    "integer": "an integer",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
    "plan": "a plan",
    "any": "anything",
}


def type_words(types: str | Sequence[str]) -> str:
    """JSON type names in words: `text or null`."""
    return " or ".join(_WORDS.get(t, t) for t in ([types] if isinstance(types, str) else types))


def has_type(value: Json, name: str) -> bool:
    """Whether a value has a JSON type. A boolean is not a number; 3.0 is not an integer here."""
    match name:
        case "any":
            return True
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "array":
            return isinstance(value, list | tuple)
        case _:
            return isinstance(value, Mapping)
