"""A value with holes in it, which earlier results fill when the task starts.

Knows no runs: `resolve` makes such values, the worker fills them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from consort_shared.entries import Hole
from consort_shared.plan.expressions import Reference, Template, parse
from consort_shared.values import ArtefactRef, Json

Path = tuple[str | int, ...]

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")


class NeedArtefacts(Exception):
    """Values stored out of line that this decision depends on."""

    def __init__(self, refs: Iterable[ArtefactRef]) -> None:
        self.refs = tuple(refs)
        super().__init__(", ".join(ref.artefact for ref in self.refs))


@dataclass(slots=True)
class Bound:
    """A value with holes in it, and which results fill the holes."""

    value: Json
    holes: list[Hole] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    """paths of the steps that the value was made from, other than by holes"""

    def put(self, key: str | int, inner: Bound) -> None:
        """Take another value in as a member."""
        if isinstance(self.value, list):
            self.value.append(inner.value)
        else:
            self.value[key] = inner.value
        self.holes += inner.holes
        self.sources += inner.sources


def filled(value: Json, at: Path, filling: Json) -> Json:
    """A value with one place filled in; the containers on the way are changed in place."""
    if not at:
        return filling
    container = value
    for part in at[:-1]:
        container = container[part]
    container[at[-1]] = filling
    return value


def each(pairs: Iterable[tuple[K, V]], make: Callable[[K, V], R]) -> list[tuple[K, R]]:
    """Something made of every pair. Stored values that are missing are all asked for at once."""
    made: list[tuple[K, R]] = []
    missing: dict[ArtefactRef, None] = {}
    for key, value in pairs:
        try:
            made.append((key, make(key, value)))
        except NeedArtefacts as exc:
            missing.update(dict.fromkeys(exc.refs))
    if missing:
        raise NeedArtefacts(missing)
    return made


@lru_cache(maxsize=4096)
def read(text: str) -> tuple[Template, Reference | None, tuple[Reference, ...]]:
    """A text of a plan, the reference that it is if it is just that, and all that it refers to."""
    template = parse(text)
    return template, template.reference, template.references()
