"""The words of an expression: where it ends, what it refers to, how much work it may be.

CEL itself is the library's business; it tells neither where `}}` closes a
template nor which step an expression uses. Both follow from the tokens alone,
with strings, comments and the variables of `map` and its kin told apart. The
third thing read here is the shape of the loops, because the library cannot be
interrupted: `expressions` refuses what would take too long before it starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

LOOPS = frozenset({"map", "filter", "all", "exists", "exists_one"})
WORDS = frozenset({"true", "false", "null", "in"})
"""Words CEL keeps for itself even after a dot: no step and no input may be called so."""
TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
"""Names CEL gives to types, as in `type(x) == int`; they refer to nothing."""

_STRING = r"""
    [bB]?[rR][bB]?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')
  | [bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
"""
_TOKEN = re.compile(
    rf"""
    (?P<space>\s+|//(?:(?!\}}\}})[^\n])*)
  | (?P<string>{_STRING})
  | (?P<number>0[xX][0-9a-fA-F]+[uU]?|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[uU]?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<mark>&&|\|\||[=!<>]=|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_PATH = re.compile(
    r"""[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[[0-9]+\]|\["[^"\\\n]*"\]|\['[^'\\\n]*'\])*""", re.ASCII
)
_STEP = re.compile(r"""\.?([A-Za-z_]\w*)|\[([0-9]+)\]|\["([^"]*)"\]|\['([^']*)'\]""", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """A path into what an expression may see: `steps.gather.output[0]` is `steps` and `gather, output, 0`."""

    root: str
    path: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return self.root + "".join(
            f"[{p}]" if isinstance(p, int) else f".{p}" if p.isidentifier() else f'["{p}"]' for p in self.path
        )


@dataclass(slots=True)
class Loop:
    """One `map`, `filter`, `all`, … of an expression, and what its body does."""

    kind: str
    variable: str
    at: int
    """where the `.` before its name stands in the source"""
    inside: tuple[Loop, ...]
    """the loops around it, outermost first"""
    words: int = 0
    pluses: int = 0
    commas: int = 0
    patterns: int = 0
    """calls of `matches`"""
    outside: bool = False
    """the body reads something else than this loop's own variable"""
    nested: bool = False
    """runs over a member of the variable of a loop around it"""


@dataclass(slots=True)
class Shape:
    """What the tokens of one expression tell."""

    references: list[Reference] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    pluses: int = 0
    commas: int = 0
    lists: bool = False
    """it writes lists of its own: `[a, b]`"""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def path_of(source: str) -> Reference | None:
    """The reference that an expression is, when it is a member path and nothing else."""
    text = source.strip()
    if not _PATH.fullmatch(text):
        return None
    parts: list[str | int] = []
    for name, number, double, single in _STEP.findall(text):
        parts.append(int(number) if number else name or double or single)
    root, *path = parts
    return None if root in WORDS else Reference(str(root), tuple(path))


def end_of(text: str, start: int) -> int:
    """Where the `}}` of an expression that begins at `start` stands, or -1; strings and maps may hold one."""
    depth = 0
    for match in _TOKEN.finditer(text, start):
        word = match.group()
        if word == "{":
            depth += 1
        elif word == "}" and depth:
            depth -= 1
        elif word == "}" and text.startswith("}}", match.start()):
            return match.start()
    return -1


def shape_of(source: str) -> Shape:
    """What an expression refers to and how it loops. Never fails: bad syntax is CEL's to refuse."""
    return _Reader(source).read()


def _tokens(source: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(source):
        if match.lastgroup != "space":
            yield _Token(match.lastgroup or "mark", match.group(), match.start())


class _Reader:
    """One pass over the tokens, with the loops that are open at the moment."""

    def __init__(self, source: str) -> None:
        self.tokens = list(_tokens(source))
        self.shape = Shape()
        self.open: list[Loop | None] = []

    def read(self) -> Shape:
        at = 0
        while at < len(self.tokens):
            at = self._token(at)
        return self.shape

    def _text(self, at: int) -> str:
        return self.tokens[at].text if 0 <= at < len(self.tokens) else ""

    def _kind(self, at: int) -> str:
        return self.tokens[at].kind if 0 <= at < len(self.tokens) else ""

    def _around(self) -> tuple[Loop, ...]:
        return tuple(loop for loop in self.open if loop is not None)

    def _token(self, at: int) -> int:
        """Takes in the token at `at`, and those that belong to it; gives the place of the next."""
        kind, text = self._kind(at), self._text(at)
        around = self._around()
        for loop in around:
            loop.words += 1
        counted = around[-1] if around else self.shape
        if kind == "name":
            return self._name(at)
        if kind == "mark":
            if text in "([{":
                self.open.append(None)
                self.shape.lists |= text == "[" and not self._ends_a_value(at - 1)
            elif text in ")]}" and self.open:
                self.open.pop()
            elif text == "+":
                counted.pluses += 1
            elif text == ",":
                counted.commas += 1
        return at + 1

    def _name(self, at: int) -> int:
        text, member, called = self._text(at), self._is_member(at), self._text(at + 1) == "("
        if member and called and text in LOOPS and self._kind(at + 2) == "name" and self._text(at + 3) == ",":
            around = self._around()
            nested = self._owner(at) in {outer.variable for outer in around}
            loop = Loop(text, self._text(at + 2), self.tokens[at - 1].at, around, nested=nested)
            self.shape.loops.append(loop)
            self.open.append(loop)
            return at + 4
        if called and text == "matches":
            for loop in self._around():
                loop.patterns += 1
        if member or called or text in WORDS | TYPES:
            return at + 1
        return self._variable(at)

    def _is_member(self, at: int) -> bool:
        return self._text(at - 1) == "." and self._ends_a_value(at - 2)

    def _ends_a_value(self, at: int) -> bool:
        return self._kind(at) in {"name", "string", "number"} or self._text(at) in {")", "]", "}"}

    def _owner(self, at: int) -> str:
        """The first name of the plain path `a.b.c` that the member at `at` belongs to, or nothing."""
        while self._text(at - 1) == "." and self._kind(at - 2) == "name":
            at -= 2
        return self._text(at) if self._text(at - 1) != "." else ""

    def _variable(self, at: int) -> int:
        """A variable and the member path behind it."""
        name = self._text(at)
        inner: list[Loop] = []
        bound = False
        for loop in reversed(self._around()):
            if loop.variable == name:
                bound = True
                break
            inner.append(loop)
        for loop in inner:
            loop.outside = True
        if bound:
            return at + 1
        path: list[str | int] = []
        at += 1
        while (part := self._member(at)) is not None:
            path.append(part[0])
            at += part[1]
        self.shape.references.append(Reference(name, tuple(path)))
        return at

    def _member(self, at: int) -> tuple[str | int, int] | None:
        """A `.name`, `[3]` or `["name"]` at `at` and how many tokens it takes."""
        if self._text(at) == "." and self._kind(at + 1) == "name" and self._text(at + 2) != "(":
            return self._text(at + 1), 2
        if self._text(at) == "[" and self._text(at + 2) == "]":
            text = self._text(at + 1)
            if self._kind(at + 1) == "number" and text.isdigit():
                return int(text), 3
            if (
                self._kind(at + 1) == "string"
                and text[0] in "\"'"
                and text[1:2] != text[0]
                and "\\" not in text
            ):
                return text[1:-1], 3
        return None
