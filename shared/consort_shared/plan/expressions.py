"""Expressions: the text `${{ … }}` inside a plan.

What stands between the braces is CEL, the Common Expression Language: member
paths, arithmetic, comparisons, `&&`, `||`, `? :`, `in`, `has()`, `size()`,
`matches()`, `startsWith()`, `int()`, `double()`, `string()`, `timestamp()` and
the loops `map`, `filter`, `all`, `exists`, `exists_one`. A text that is one
expression and nothing else has that expression's value, with its type; in a
longer text the value is put in its place, strings as they are and everything
else as compact JSON. A literal `${{` is written `${{ "${{" }}`.

Numbers: CEL compares whole and broken numbers freely (`1 < 1.5`, `1 == 1.0`) but
does not mix them in arithmetic: `1 + 1.5` fails, and so does `score * 2.0` when
a score happens to be whole. Write `double(score) * 2.0`. `7 / 2` is 3. Whole
numbers have 64 bits; more is an error, never a wrong number.

A member that is missing is an error; `has(a.b)` asks first. A path through
`previous` gives null in the first iteration when it stands alone.

Evaluating is pure: no clock, no randomness, no I/O; a loop over a map takes its
keys in alphabetical order, and so does a map in a result. It is also bounded, because
the library cannot be interrupted and its `map` and `filter` take time quadratic
in the length of the list. An expression has at most `MAX_LENGTH` characters; the
limits on its loops and on what they run over are in `bounds`. One `map` over
4,000 items passes; longer lists go to a step, or to `for_each` by a plain path,
which costs nothing however long the list is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

from consort_shared.errors import InvalidInput
from consort_shared.plan.bounds import excess, misshape
from consort_shared.plan.tokens import TYPES, Reference, Shape, end_of, path_of, shape_of
from consort_shared.values import Json, NoSuchPath, pick

__all__ = [
    "ExpressionError",
    "Reference",
    "Template",
    "condition",
    "evaluate_tree",
    "parse",
    "templates_in",
    "truth",
]

Path: TypeAlias = tuple[str | int, ...]

OPEN = "${{"
MAX_LENGTH = 4_000
"""Characters of one expression."""
_FAILURES = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError)
_FUNCTIONS = frozenset({"contains", "double", "duration", "endsWith", "int", "matches", "size"}) | frozenset(
    {"bytes", "startsWith", "string", "timestamp", "uint"}
)
_HINT = re.compile(r"No such overload|CEL does not coerce|Cannot mix")


_COMPLAINT = re.compile(
    r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.*?)(?: expecting \{.*)?$", re.MULTILINE
)
_EACH = "_each"


class ExpressionError(InvalidInput):
    """An expression that is not one, or that has no value with the data it was given."""

    def __init__(self, source: str, why: str) -> None:
        shown = source if len(source) <= 200 else f"{source[:200]}…"
        super().__init__(f"expression `{shown}`: {why}")
        self.source = source
        self.why = why


@dataclass(frozen=True, eq=False)
class Expression:
    """One compiled expression; `Template` is what the rest of the program holds."""

    source: str
    program: Any
    shape: Shape
    path: Reference | None
    """set when the expression is a member path and nothing else"""

    def evaluate(self, names: Mapping[str, Json]) -> Json:
        if self.path is not None:
            return self._pick(self.path, names)
        import cel  # its command-line part makes this slow, so only who evaluates pays for it

        seen = self._seen(names)
        if why := excess(self.shape, seen, len(self.source)):
            raise ExpressionError(self.source, why)
        try:
            result = self.program.execute(cel.Context(variables=seen, functions={_EACH: _in_order}))
        except _FAILURES as exc:
            raise ExpressionError(self.source, self._cause(exc, names)) from exc
        return _plain(self.source, result)

    def _pick(self, path: Reference, names: Mapping[str, Json]) -> Json:
        if path.root not in names:
            raise ExpressionError(self.source, f"`{path.root}` is not known here")
        value = names[path.root]
        if path.root == "previous" and value is None:
            return None
        try:
            return pick(value, path.path)
        except NoSuchPath as exc:
            raise ExpressionError(self.source, str(exc)) from exc

    def _seen(self, names: Mapping[str, Json]) -> dict[str, Json]:
        """Of all that is known, what this expression reads: the library converts whatever it is given."""
        seen: dict[str, Json] = {}
        for reference in sorted(self.shape.references, key=lambda r: len(r.path)):
            if reference.root in names:
                _take(seen, names, (reference.root, *reference.path))
        return seen

    def _cause(self, exc: Exception, names: Mapping[str, Json]) -> str:
        text = str(exc).strip("'")
        if isinstance(exc, LookupError | TypeError):
            for reference in self.shape.references:
                if reference.root not in names:
                    continue
                try:
                    pick(names[reference.root], reference.path)
                except NoSuchPath as missing:
                    return f"`{reference}`: {missing}"
        if isinstance(exc, KeyError):
            return f"there is no `{text}`"
        if text.startswith("Undefined variable or function"):
            name = text.split("'")[1]
            if name in _FUNCTIONS:
                return f"`{name}` does not take such a value"
            return f"`{name}` is neither a name that is known here nor a function"
        if _HINT.search(text):
            return (
                "an operation does not fit its operands; whole and broken numbers do not mix, nor do numbers "
                "and text: convert with int(x), double(x) or string(x)"
            )
        return text.splitlines()[0] if text else type(exc).__name__


@dataclass(frozen=True, eq=False)
class Template:
    """A text of a plan: literal parts and expressions in their order."""

    text: str
    parts: tuple[str | Expression, ...]

    @cached_property
    def expression(self) -> Expression | None:
        """The expression, when the text is exactly one; space around it does not count."""
        found = [part for part in self.parts if isinstance(part, Expression)]
        rest = "".join(part for part in self.parts if isinstance(part, str))
        return found[0] if len(found) == 1 and not rest.strip() else None

    @property
    def reference(self) -> Reference | None:
        """The path, when the text is one expression and that is a member path and nothing else."""
        return self.expression.path if self.expression is not None else None

    @property
    def roots(self) -> frozenset[str]:
        """The variables it reads: `inputs`, `steps`, `item`, …"""
        return frozenset(reference.root for reference in self.references())

    def references(self) -> tuple[Reference, ...]:
        """Every path it reads, as far as it is written out: `steps[x].y` gives `steps` alone."""
        found: dict[Reference, None] = {}
        for part in self.parts:
            if isinstance(part, Expression):
                found.update(dict.fromkeys([part.path] if part.path else part.shape.references))
        return tuple(found)

    def evaluate(self, names: Mapping[str, Json]) -> Json:
        """Its value. Raises ExpressionError."""
        if self.expression is not None:
            return self.expression.evaluate(names)
        return "".join(p if isinstance(p, str) else _as_text(p.evaluate(names)) for p in self.parts)


@lru_cache(maxsize=4096)
def parse(text: str) -> Template:
    """Literal parts and expressions of a text. Raises ExpressionError."""
    parts: list[str | Expression] = []
    at = 0
    while (start := text.find(OPEN, at)) >= 0:
        end = end_of(text, start + len(OPEN))
        if end < 0:
            raise ExpressionError(text[start:], "`${{` is not closed by `}}`")
        if start > at:
            parts.append(text[at:start])
        parts.append(_compile(text[start + len(OPEN) : end].strip()))
        at = end + 2
    if at < len(text):
        parts.append(text[at:])
    return Template(text, tuple(parts))


def condition(text: str) -> Template:
    """The template of an `if`, `until` or `key`, where the braces may be left out. Raises ExpressionError."""
    return parse(text.strip()) if OPEN in text else parse(f"{OPEN} {text.strip()} }}}}")


def truth(value: Json) -> bool:
    """The value of a condition. Raises ExpressionError unless it is true or false."""
    if isinstance(value, bool):
        return value
    raise ExpressionError(_as_text(value), "a condition must be true or false; compare it with something")


def evaluate_tree(value: Json, names: Mapping[str, Json]) -> Json:
    """A value with every text in it evaluated; keys stay as they are. Raises ExpressionError."""
    if isinstance(value, str):
        return parse(value).evaluate(names) if OPEN in value else value
    if isinstance(value, Mapping):
        return {key: evaluate_tree(part, names) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [evaluate_tree(part, names) for part in value]
    return value


def templates_in(value: Json, at: Path = ()) -> Iterator[tuple[Path, Template]]:
    """Every text with an expression in a value, with its path. Raises ExpressionError at a bad one."""
    for path, text in texts_in(value, at):
        yield path, parse(text)


def texts_in(value: Json, at: Path = ()) -> Iterator[tuple[Path, str]]:
    """The same, not parsed yet."""
    if isinstance(value, str):
        if OPEN in value:
            yield at, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from texts_in(part, (*at, key))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from texts_in(part, (*at, index))


def _compile(source: str) -> Expression:
    if not source:
        raise ExpressionError(source, "nothing between the braces")
    if len(source) > MAX_LENGTH:
        raise ExpressionError(source, f"{len(source)} characters; at most {MAX_LENGTH} are allowed")
    import cel  # see `Expression.evaluate`

    shape = shape_of(source)
    if why := misshape(shape):
        raise ExpressionError(source, why)
    try:
        program = cel.compile(source)
        if shape.loops:
            program = cel.compile(_in_order_of(source, shape))
    except _FAILURES as exc:
        raise ExpressionError(source, _syntax(str(exc))) from exc
    # A name that the tokens did not give away counts as read whole.
    known = (
        {reference.root for reference in shape.references} | {loop.variable for loop in shape.loops} | TYPES
    )
    shape.references.extend(Reference(name) for name in program.variables() if name not in known)
    return Expression(source, program, shape, path_of(source))


def _in_order_of(source: str, shape: Shape) -> str:
    """The expression with every loop going through `_in_order`: the library walks a map in random order."""
    for at in sorted((loop.at for loop in shape.loops), reverse=True):
        source = f"{source[:at]}.{_EACH}(){source[at:]}"
    return source


def _in_order(value: Json) -> Json:
    """What a loop runs over: the keys of a map, sorted; anything else as it is."""
    return sorted(value) if isinstance(value, dict) else value


def _syntax(text: str) -> str:
    """CEL's complaint on one line: `syntax error at character 3: …`."""
    match = _COMPLAINT.search(text)
    if match is None:
        return text.splitlines()[0]
    row, column, what = match.groups()
    place = f"character {column}" if row == "1" else f"line {row}, character {column}"
    what = what.replace("mismatched input '<EOF>'", "it ends too early")
    return f"syntax error at {place}: {what}"


def _take(seen: dict[str, Json], names: Mapping[str, Json], path: tuple[str | int, ...]) -> None:
    """Copies the part of `names` at `path` into `seen`, shallow; what is missing stays missing."""
    into, source = seen, names
    for part in path[:-1]:
        if not isinstance(part, str) or part not in source or not isinstance(source[part], Mapping):
            break
        made = into.setdefault(part, _Part())
        if not isinstance(made, _Part):
            return  # a shorter path took the whole
        into, source = made, source[part]
    else:
        part = path[-1]
    if isinstance(part, str) and part in source:
        into[part] = source[part]


class _Part(dict[str, Json]):
    """A map of which only some members were copied."""


def _plain(source: str, value: object) -> Json:
    """A result of the library as JSON: instants become ISO 8601, durations seconds."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise ExpressionError(source, f"gives {value}, which is no number")
    if isinstance(value, list):
        return [_plain(source, part) for part in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ExpressionError(source, f"gives a map with the key {key!r}; keys must be text")
        return {key: _plain(source, value[key]) for key in sorted(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise ExpressionError(source, f"gives {type(value).__name__}, which is no JSON value")


def _as_text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
