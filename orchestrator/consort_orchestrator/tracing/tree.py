"""A trace as a tree: what hangs below what, and which spans the run's length depends on.

Takes spans from anywhere; the same span from two places counts once, one whose parent
is missing hangs below nothing. The critical path is found from the end: of what ended
last, what ended last within it, and so on back to the beginning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from consort_shared.telemetry import names
from consort_shared.telemetry.records import SpanRecord

NOTHING = 50_000
"""Nanoseconds: shorter spans are moments, and no part of a critical path."""


@dataclass(slots=True)
class Branch:
    """A span and what hangs below it, by time."""

    span: SpanRecord
    children: list[Branch] = field(default_factory=list)
    critical: bool = False

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Branch]]:
        """This branch and all below it, from the top."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


@dataclass(frozen=True, slots=True)
class Tree:
    """The trace of a run."""

    root: Branch | None
    lost: tuple[Branch, ...]
    """spans whose parent is missing, and other roots"""

    @property
    def branches(self) -> Iterator[tuple[int, Branch]]:
        for top in ([self.root] if self.root is not None else []) + list(self.lost):
            yield from top.walk()

    @property
    def begin(self) -> int:
        return min((branch.span.start for _, branch in self.branches), default=0)

    @property
    def end(self) -> int:
        return max((branch.span.end for _, branch in self.branches), default=0)


def once(spans: Iterable[SpanRecord]) -> list[SpanRecord]:
    """Each span once, by time: a span that was exported twice is one."""
    found = {span.span: span for span in spans}
    return sorted(found.values(), key=lambda span: (span.start, -span.end, span.span))


def tree_of(spans: Iterable[SpanRecord], root: str) -> Tree:
    """The tree of a run's spans; `root` is the id that its root span has, or is going to have."""
    single = once(spans)
    branches = {span.span: Branch(span) for span in single}
    below: dict[str, list[Branch]] = defaultdict(list)
    lost = []
    for span in single:
        branch = branches[span.span]
        if span.parent in branches and span.parent != span.span:
            below[span.parent].append(branch)
        elif span.span != root:
            lost.append(branch)
    for parent, children in below.items():
        branches[parent].children = children
    top = branches.get(root)
    found = Tree(top, tuple(lost))
    for branch in [top] if top is not None else found.lost:
        _mark(branch)
    return found


def _mark(branch: Branch) -> None:
    """Mark what the length of a span depends on."""
    branch.critical = True
    until = branch.span.end
    for child in sorted(branch.children, key=lambda child: (child.span.end, child.span.start), reverse=True):
        if child.span.end - child.span.start <= NOTHING:
            continue
        if child.span.end <= until + NOTHING:
            _mark(child)
            until = child.span.start


def skews(tree: Tree) -> dict[str, float]:
    """By host, or instance where the host is not known: seconds by which its clock is behind that of the bus, at least.

    A task cannot begin before it was given out.
    """
    found: dict[str, float] = {}
    for _, branch in tree.branches:
        for child in branch.children:
            early = (branch.span.start - child.span.start) / 1e9
            told = child.span.attributes.get(names.CLOCK_SKEW)
            behind = max(early, -float(told) if isinstance(told, float | int) else 0.0)
            if child.span.kind == "consumer" and behind > 0.005:
                where = child.span.host or child.span.instance
                found[where] = max(found.get(where, 0.0), behind)
    return found
