"""What may be seen of a value in a trace: an excerpt, without what looks like a secret.

Patterns, not understanding: it lowers the risk of showing a key or somebody's number by
accident and guarantees nothing. That is why content is not captured unless it is asked for.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

from consort_shared.values import Json

MOST = 4096
"""Characters of a value that are shown."""
HIDDEN = "[redacted]"
_LOOKED_AT = 2 * MOST

_NAMED = re.compile(
    r"(?i)^(.*[_-])?(password|passwd|pwd|secret|token|api[_-]?key|apikey|authorization|credentials?|cookie|session)$"
)
_KINDS = {
    "key": (
        r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)",
        r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",  # a JWT
        r"\b(sk|pk|rk|ghp|gho|ghs|xox[abprs]|glpat|AKIA|ASIA|SU|SO|SA)[-_A-Za-z0-9]{16,}\b",
        r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]{8,}",
        r"(?i)\b(password|passwd|secret|token|api[_-]?key)\b\s*[:=]\s*\S+",
    ),
    "e-mail": (r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+",),
    "iban": (r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",),
}
_KNOWN = {kind: tuple(map(re.compile, patterns)) for kind, patterns in _KINDS.items()}
_SHAPES = tuple(shape for shapes in _KNOWN.values() for shape in shapes)
(_ADDRESS,) = _KNOWN["e-mail"]
_SHORTEST_SECRET = 5
"""Characters; nothing shorter has one of the shapes."""
_USUAL_KEY = 64
"""Characters; longer keys are not remembered."""
_DIGITS = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")


def excerpt(value: Json) -> str:
    """A value as JSON, redacted and cut to `MOST` characters."""
    text = json.dumps(redacted(value), ensure_ascii=False, default=str)
    return text if len(text) <= MOST else text[: MOST - 1] + "…"


def redacted(value: Json) -> Json:
    """A value with what looks like a secret hidden: by the name of its field, or by its shape."""
    if isinstance(value, dict):
        return {
            (redacted_text(key) if isinstance(key, str) else key): HIDDEN
            if _NAMED.match(str(key)) and part not in (None, "")
            else redacted(part)
            for key, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(part) for part in value]
    return redacted_text(value) if isinstance(value, str) else value


def redacted_text(text: str) -> str:
    """A text without keys, tokens, addresses of people and numbers of cards and accounts; long ones are cut."""
    if len(text) > _LOOKED_AT:
        text = text[:_LOOKED_AT].rsplit(None, 1)[0]  # not within what may be a secret
    for shape in _SHAPES:
        text = shape.sub(HIDDEN, text)
    return _DIGITS.sub(lambda found: HIDDEN if _luhn(found.group()) else found.group(), text)


def secret_places(text: str) -> list[tuple[str, int, int]]:
    """Where something stands that looks like a secret: its kind (key, e-mail, iban, card), start and end, in order."""
    found = [
        (kind, *place.span())
        for kind, shapes in _KNOWN.items()
        for shape in shapes
        for place in shape.finditer(text)
    ]
    found += [("card", *place.span()) for place in _DIGITS.finditer(text) if _luhn(place.group())]
    return sorted(found, key=lambda place: place[1:])


def bears_secret(value: Json) -> bool:
    """Whether something in a value looks like a secret, however long it is."""
    if isinstance(value, dict):
        return any(
            (part not in (None, "") and _judged(str(key)) == "names one")
            or bears_secret(part)
            or _judged(str(key)) == "is one"
            for key, part in value.items()
        )
    if isinstance(value, list | tuple):
        return any(map(bears_secret, value))
    if not isinstance(value, str) or len(value) < _SHORTEST_SECRET:
        return False
    return any(shape.search(value) for shape in _SHAPES if shape is not _ADDRESS or "@" in value) or any(
        _luhn(found.group()) for found in _DIGITS.finditer(value)
    )


@lru_cache(maxsize=512)
def _judged_before(key: str) -> str:
    if bears_secret(key):
        return "is one"
    return "names one" if _NAMED.match(key) else ""


def _judged(key: str) -> str:
    """What a key is, or its name says of what stands under it; the same few keys come again and again."""
    return (_judged_before if len(key) <= _USUAL_KEY else _judged_before.__wrapped__)(key)


def _luhn(text: str) -> bool:
    """Whether digits bear the check digit of payment cards."""
    digits = [int(char) for char in text if char.isdigit()][::-1]
    total = sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return total % 10 == 0
