"""Placeholders of a script: `{{ user }}`, `{{ match.1 }}`, `{{ result.json.rows[0].name }}`.

A text that is nothing but one placeholder becomes the value it stands for, whatever its
type; within other text a value is written as JSON, a text as it is. `${{ … }}` is none: it
is an expression of a plan, and a scripted planner answers with such. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from consort_shared.values import Json, NoSuchPath, pick

_PLACEHOLDER = re.compile(r"(?<!\$)\{\{\s*([^{}]*?)\s*\}\}")
_STEP = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(\d+)\]")
PLAIN = ("agent", "call", "model", "result", "system", "turn", "user")
_JSON = ("result", "system", "user")


class Unfilled(ValueError):
    """A placeholder stands for something that this request does not have."""


@dataclass(frozen=True, slots=True)
class Filling:
    """What placeholders stand for in one answer."""

    values: Mapping[str, str | int]
    match: Mapping[str, str] = field(default_factory=dict)
    """groups of the regular expressions that fitted, by number and by name"""


def placeholders(text: str) -> Iterator[str]:
    return (found.group(1) for found in _PLACEHOLDER.finditer(text))


def unknown_placeholder(placeholder: str) -> str:
    """Why nothing can stand there, or an empty text."""
    name, _, rest = placeholder.partition(".")
    if name in PLAIN and not rest:
        return ""
    if name == "match" and re.fullmatch(r"\w+", rest):
        return ""
    if name in _JSON and re.match(r"json(?=$|[.\[])", rest):
        return ""
    return (
        f"`{{{{{placeholder}}}}}` stands for nothing; there are {', '.join(PLAIN)}, match.GROUP, "
        f"and {', '.join(f'{part}.json.PATH' for part in _JSON)}"
    )


def filled(value: Json, filling: Filling) -> Json:
    """A value with its placeholders filled. Raises Unfilled."""
    if isinstance(value, dict):
        return {key: filled(part, filling) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [filled(part, filling) for part in value]
    if not isinstance(value, str):
        return value
    if whole := _PLACEHOLDER.fullmatch(value):
        return _value(whole.group(1), filling)
    return _PLACEHOLDER.sub(lambda found: as_text(_value(found.group(1), filling)), value)


def as_text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _value(placeholder: str, filling: Filling) -> Json:
    name, _, rest = placeholder.partition(".")
    if name == "match":
        if rest not in filling.match:
            raise Unfilled(f"`{{{{{placeholder}}}}}`: no expression of the rule has a group {rest}")
        return filling.match[rest]
    value = filling.values[name]
    if not rest:
        return value
    path = [int(at) if at else key for key, at in _STEP.findall(rest.removeprefix("json"))]
    try:
        return pick(json_in(str(value)), path)
    except (NoSuchPath, ValueError) as exc:
        raise Unfilled(f"`{{{{{placeholder}}}}}`: {exc}") from exc


def json_in(text: str) -> Json:
    """The JSON value that a text is, or the first object or list within it. Raises ValueError if there is none."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    decoder = json.JSONDecoder()
    for start in (found.start() for found in re.finditer(r"[\[{]", text)):
        try:
            return decoder.raw_decode(text, start)[0]
        except ValueError:
            continue
    raise ValueError("there is no JSON in the text")
