"""How a figure was counted, in a form that a person can read and a machine can count again.

Every entry in a report's list of sources holds such expressions:

    count([system] = "LangGraph", [support] = "yes")
    percent
    top(3, [package], value([download_rank]), low)

An expression is a call with arguments: other calls, columns in square brackets,
conditions on columns, texts and whole numbers. This module knows how expressions
look, in both directions; what they mean is told in `recount`, which counts them
again, and nowhere else. The calls:

    count(conditions)                    rows that meet all conditions
    distinct([c], conditions)            different texts in a column
    groups([c], count(…), n, conditions) how many texts of [c] there are for which the count is n
    which([c], count(…), n, conditions)  the names of these texts
    sum, mean, median, lowest, highest, value ([c], conditions)
    share(count(…), count(…))            part, whole and per cent: three figures
    percent                              the first of the two figures before in per cent of the second
    change(measure, measure)             by how many per cent the second is above the first
    top(n, [c], measure, high|low, conditions)   the first n texts of [c] with their figures, in order
    portion(n, [c], [quantity], conditions)      per cent of the whole that the n largest hold
    herfindahl([c], [quantity], conditions)      sum of squared per cents, 0 to 10,000
    each([c], measures…, conditions)     a table: a row per text of [c], the measures of that row
    stated("…")                          a threshold that the sentence names
    quote, note(n)                       the cited words; the n-th note on the sources
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, Union

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
_OPERATORS: tuple[Operator, ...] = ("!=", "<=", ">=", "=", "<", ">")
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Col:
    """A column by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on a column. Several texts after `=` mean any of them, after `!=` none of them."""

    column: str
    operator: Operator
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A named count of something."""

    name: str
    arguments: tuple[Argument, ...] = ()


Argument: TypeAlias = Union[Call, Col, Where, str, int]  # noqa: UP007  # refers to itself through Call


class BasisError(ValueError):
    """An expression that cannot be read, or asks for something that cannot be counted."""


def call(name: str, *arguments: Argument) -> Call:
    """`call("count", is_("system", "LangGraph"))`."""
    return Call(name, arguments)


def is_(column: str, *texts: str) -> Where:
    """The cell is one of these texts."""
    return Where(column, "=", texts)


def is_not(column: str, *texts: str) -> Where:
    """The cell is none of these texts."""
    return Where(column, "!=", texts)


def written(expression: Argument) -> str:
    """An expression as text; `parsed` reads it back."""
    match expression:
        case Call(name, arguments):
            return f"{name}({', '.join(map(written, arguments))})" if arguments else name
        case Col(name):
            return f"[{name}]"
        case Where(column, operator, texts):
            return f"[{column}] {operator} {' | '.join(map(_literal, texts))}"
        case str():
            return _literal(expression)
        case int():
            return str(expression)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("`", "\\u0060")


_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|\[(?P<column>[^\]]*)\]|(?P<number>\d+)|(?P<word>[a-z]+)'
    r"|(?P<sign>!=|<=|>=|[=<>(),|;]))"
)


def parsed(text: str) -> Call:
    """The call that a text says. Raises BasisError."""
    reader = _Reader(text)
    expression = reader.argument()
    reader.end()
    if not isinstance(expression, Call):
        raise BasisError(f"not a count: {text}")
    return expression


class _Reader:
    """Reads an expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def argument(self, depth: int = 0) -> Argument:
        if depth > _DEEPEST:
            raise BasisError(f"nested too deeply: {self._text}")
        token = self._next()
        if token["text"] is not None:
            return self._string(token["text"])
        if token["number"] is not None:
            return int(token["number"])
        if token["column"] is not None:
            return self._condition(token["column"])
        if token["word"] is not None:
            return Call(token["word"], self._arguments(depth) if self._took("(") else ())
        raise BasisError(f"unexpected {token['sign']!r} in: {self._text}")

    def end(self) -> None:
        if self._text[self._at :].strip():
            raise BasisError(f"something after the end of: {self._text}")

    def _arguments(self, depth: int) -> tuple[Argument, ...]:
        if self._took(")"):
            return ()
        found = [self.argument(depth + 1)]
        while self._took(","):
            found.append(self.argument(depth + 1))
        if not self._took(")"):
            raise BasisError(f"a bracket does not close in: {self._text}")
        return tuple(found)

    def _condition(self, column: str) -> Col | Where:
        for operator in _OPERATORS:
            if self._took(operator):
                texts = [self._literal_text()]
                while self._took("|"):
                    texts.append(self._literal_text())
                return Where(column, operator, tuple(texts))
        return Col(column)

    def _literal_text(self) -> str:
        token = self._next()
        if token["text"] is None:
            raise BasisError(f"a text in quotation marks is missing in: {self._text}")
        return self._string(token["text"])

    def _string(self, raw: str) -> str:
        try:
            return str(json.loads(raw))
        except ValueError as exc:
            raise BasisError(f"unreadable text {raw} in: {self._text}") from exc

    def _took(self, sign: str) -> bool:
        found = _TOKEN.match(self._text, self._at)
        if found is None or found["sign"] != sign:
            return False
        self._at = found.end()
        return True

    def _next(self) -> re.Match[str]:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise BasisError(f"unreadable from {self._text[self._at : self._at + 20]!r} in: {self._text}")
        self._at = found.end()
        return found
