"""A command line with places for arguments: `wc -l {text:file}`.

A place is `{name}`, or says what goes there: `{count:int}`, `{ratio:number}`, `{pattern:any}`,
`{words:list}`, `{text:file}`. A place becomes part of one word of the command, whatever is put
there; a list becomes one word each, a file the name of a file with the argument as its content.
What begins with `-` would be taken for an option, so it is refused, but after a `--` or for `any`.

Written for a shell, places become variables, which a shell never reads as commands. Pure.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from consort_agents.tools.errors import ToolError
from consort_shared.values import Json

Kind: TypeAlias = Literal["text", "any", "int", "number", "list", "file"]
_SCHEMAS: dict[str, dict[str, Json]] = {
    "text": {"type": "string"},
    "any": {"type": "string"},
    "int": {"type": "integer"},
    "number": {"type": "number"},
    "list": {"type": "array", "items": {"type": "string"}},
    "file": {"type": "string", "description": "the content of a file"},
}
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NAMED = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,49})(?::(\w+))?")
_VARIABLE = "arg_"


class Unfit(Exception):
    """An argument that cannot stand in the command; the text says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an argument goes."""

    name: str
    kind: Kind
    option: bool = False
    """whether it may begin with `-`"""


Word: TypeAlias = tuple["str | Place", ...]


@dataclass(frozen=True, slots=True)
class Filled:
    """A command that can be run."""

    argv: list[str]
    variables: dict[str, str]
    files: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Template:
    """A command with its places found."""

    words: tuple[Word, ...]
    script: str = ""
    """for `sh -c`, if it is written for a shell"""

    @property
    def places(self) -> dict[str, Place]:
        return {part.name: part for word in self.words for part in word if isinstance(part, Place)}

    def schema(self, described: Mapping[str, str], more: tuple[str, ...] = ()) -> dict[str, Json]:
        """The arguments as JSON Schema; `more` are names of texts that are no places."""
        properties: dict[str, Json] = {
            name: dict(_SCHEMAS[place.kind]) for name, place in self.places.items()
        }
        properties |= {name: {"type": "string"} for name in more if name not in properties}
        for name, text in described.items():
            properties[name]["description"] = text
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def filled(self, arguments: Mapping[str, Json]) -> Filled:
        """The command for arguments that fit the schema. Raises Unfit."""
        files: dict[str, bytes] = {}
        put: dict[Place, list[str]] = {}
        for word in self.words:
            for part in word:
                if isinstance(part, Place) and part not in put:
                    put[part] = _put(part, arguments[part.name], files)
        if self.script:
            named = {f"{_VARIABLE}{place.name}": " ".join(values) for place, values in put.items()}
            return Filled(["/bin/sh", "-c", self.script], named, files)
        argv = []
        for word in self.words:
            if len(word) == 1 and isinstance(word[0], Place):
                argv += put[word[0]]
            else:
                argv.append("".join(part if isinstance(part, str) else put[part][0] for part in word))
        return Filled(argv, {}, files)


def template(command: str) -> Template:
    """A command of words, for no shell. Raises ToolError that says what is wrong with it."""
    try:
        split = shlex.split(command)
    except ValueError as exc:
        raise ToolError(f"the command {command!r} cannot be taken apart: {exc}") from exc
    words: list[Word] = []
    for text in split:
        after_all_options = ("--",) in words
        word = tuple(_parts(text, command))
        if any(isinstance(part, Place) and part.kind == "list" for part in word) and len(word) > 1:
            raise ToolError(
                f"the command {command!r}: a list must be a word of its own, not part of {text!r}"
            )
        inside = word[:1] and isinstance(word[0], str) and word[0]
        words.append(tuple(_allowed(part, bool(after_all_options or inside)) for part in word))
    if not words or not all(isinstance(part, str) for part in words[0]):
        raise ToolError(f"the command {command!r} does not begin with the name of a program")
    _check_kinds(words, command)
    return Template(tuple(words))


def script(command: str) -> Template:
    """A command for a shell, in which no place stands within quotes. Raises ToolError."""
    if not command.strip():
        raise ToolError("the command is empty")
    parts = tuple(_parts(command, command))
    before, made = "", []
    for part in parts:
        if isinstance(part, str):
            before += part
            made.append(part)
            continue
        if part.kind == "list":
            raise ToolError(f"the command {command!r}: a shell has no place for a list")
        if _within_quotes(before):
            raise ToolError(
                f"the command {command!r}: {{{part.name}}} stands within quotes; it is quoted anyway"
            )
        made.append(f'"${{{_VARIABLE}{part.name}}}"')
    _check_kinds([parts], command)
    return Template((parts,), "".join(made))


def _parts(text: str, command: str) -> list[str | Place]:
    parts: list[str | Place] = []
    at, plain = 0, ""
    for found in _PLACE.finditer(text):
        plain += text[at : found.start()]
        at = found.end()
        if found.group() in {"{{", "}}"}:
            plain += found.group()[0]
            continue
        named = _NAMED.fullmatch(found.group(1) or "")
        kind = (named.group(2) or "text") if named else ""
        if named is None or kind not in _SCHEMAS:
            kinds = ", ".join(kind for kind in _SCHEMAS if kind != "text")
            raise ToolError(
                f"the command {command!r}: {found.group()} is no place for an argument; that is {{name}} or "
                f"{{name:kind}} with a kind of {kinds}; a brace itself is written twice"
            )
        parts += [plain] if plain else []
        parts.append(Place(named.group(1), kind, kind == "any"))  # type: ignore[arg-type]  # checked above
        plain = ""
    plain += text[at:]
    return [*parts, plain] if plain or not parts else parts


def _allowed(part: str | Place, option: bool) -> str | Place:
    return Place(part.name, part.kind, True) if isinstance(part, Place) and option else part


def _check_kinds(words: list[Word], command: str) -> None:
    kinds: dict[str, str] = {}
    for part in (part for word in words for part in word if isinstance(part, Place)):
        if kinds.setdefault(part.name, part.kind) != part.kind:
            raise ToolError(f"the command {command!r}: {{{part.name}}} has two kinds")


def _put(place: Place, value: Json, files: dict[str, bytes]) -> list[str]:
    """What stands in a place. Raises Unfit."""
    if place.kind == "file":
        files[place.name] = str(value).encode("utf-8", "surrogatepass")
        return [place.name]
    texts = value if place.kind == "list" else [value if isinstance(value, str) else json.dumps(value)]
    for text in texts:
        if "\0" in text:
            raise Unfit(f"{place.name}: a command takes no NUL characters")
        if len(text) > 100_000:
            raise Unfit(f"{place.name}: is longer than the 100000 characters that a command takes")
        if text.startswith("-") and not place.option and place.kind in {"text", "list"}:
            raise Unfit(f"{place.name}: {text[:40]!r} begins with -, and would be taken for an option")
    return list(texts)


def _within_quotes(text: str) -> bool:
    quote, escaped = "", False
    for char in text:
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"`":
            quote = char
    return bool(quote)
