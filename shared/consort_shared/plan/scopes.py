"""Who stands where in a plan, and who comes before whom.

A scope is the steps of the plan or of one block. Within a scope a step comes
after what it needs, directly or through others; a step inside a block also comes
after whatever the block comes after. This module finds the places, that order,
and the cycles that make an order impossible. It knows nothing of expressions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from consort_shared.plan.model import Plan, Step

Path = tuple[str | int, ...]
Graph = Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False, slots=True)
class Scope:
    """The steps side by side in the plan or in one block, and what each comes after."""

    steps: Mapping[str, Step]
    owner: Place | None
    """the block, or None for the plan itself"""
    path: Path
    order: Mapping[str, int]
    before: Mapping[str, int]
    """for each step the set of those it comes after, as bits in the order of the scope"""

    def comes_after(self, step: str, other: str) -> bool:
        return other in self.order and bool(self.before[step] >> self.order[other] & 1)

    def place(self, name: str) -> Place:
        return Place(name, self.steps[name], self)


@dataclass(frozen=True, slots=True)
class Place:
    """One step where it stands."""

    name: str
    step: Step
    scope: Scope

    @property
    def path(self) -> Path:
        return (*self.scope.path, self.name)

    def outwards(self) -> Iterator[Place]:
        """This place, then the blocks around it, innermost first."""
        place: Place | None = self
        while place is not None:
            yield place
            place = place.scope.owner


def scopes(plan: Plan) -> Iterator[Scope]:
    """Every scope of the plan, outer before inner."""
    waiting: deque[tuple[Mapping[str, Step], Place | None, Path]] = deque([(plan.steps, None, ("steps",))])
    while waiting:
        steps, owner, path = waiting.popleft()
        order = {name: at for at, name in enumerate(steps)}
        scope = Scope(steps, owner, path, order, _before(graph(steps), order))
        yield scope
        for name, step in steps.items():
            if step.steps is not None:
                waiting.append((step.steps, scope.place(name), (*path, name, "steps")))


def graph(steps: Mapping[str, Step]) -> dict[str, list[str]]:
    """What each step of a scope needs there; needs that do not exist are left out."""
    return {
        name: [need for need in dict.fromkeys(step.needs) if need in steps] for name, step in steps.items()
    }


def layers(steps: Mapping[str, Step]) -> list[list[str]]:
    """The steps by their rank: one stands right of all that it needs. Steps in a cycle come last."""
    needs = graph(steps)
    rank: dict[str, int] = {}
    for name in _sorted(needs):
        rank[name] = max((rank[need] + 1 for need in needs[name]), default=0)
    columns: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for name in steps:
        if name in rank:
            columns[rank[name]].append(name)
    left = [name for name in steps if name not in rank]
    return [*columns, left] if left else columns


def size_and_depth(plan: Plan) -> tuple[int, int]:
    """How many steps a plan has, and how deep they are nested; a plan without blocks has depth 1."""
    size, depth, layer = 0, 0, [plan.steps]
    while layer:
        depth += 1
        size += sum(map(len, layer))
        layer = [step.steps for steps in layer for step in steps.values() if step.steps is not None]
    return size, depth


def cycles(needs: Graph) -> list[list[str]]:
    """One shortest cycle for each knot of steps that need each other; its first step stands at both ends."""
    found = []
    for knot in _knots(needs):
        inside = {name: [need for need in needs[name] if need in knot] for name in knot}
        start = next(name for name in needs if name in knot)
        found.append(_round_trip(inside, start))
    return found


def _sorted(needs: Graph) -> list[str]:
    """The steps in an order that respects the needs; those that no order can hold are left out."""
    waiting = {name: len(own) for name, own in needs.items()}
    dependants: dict[str, list[str]] = {name: [] for name in needs}
    for name, own in needs.items():
        for need in own:
            dependants[need].append(name)
    ready = deque(name for name, count in waiting.items() if count == 0)
    done = []
    while ready:
        name = ready.popleft()
        done.append(name)
        for dependant in dependants[name]:
            waiting[dependant] -= 1
            if waiting[dependant] == 0:
                ready.append(dependant)
    return done


def _before(needs: Graph, order: Mapping[str, int]) -> dict[str, int]:
    before: dict[str, int] = {}
    for name in _sorted(needs):
        bits = 0
        for need in needs[name]:
            bits |= before[need] | 1 << order[need]
        before[name] = bits
    # In and after a cycle everything counts as before: the cycle is the fault, not what follows from it.
    for name in needs:
        before.setdefault(name, ((1 << len(order)) - 1) & ~(1 << order[name]))
    return before


def _knots(needs: Graph) -> Iterator[set[str]]:
    """Strongly connected steps, by Tarjan's algorithm without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for root in needs:
        if root in index:
            continue
        work = [(root, iter(needs[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            name, rest = work[-1]
            need = next((n for n in rest if n not in index or n in on_stack), None)
            if need is not None and need not in index:
                index[need] = low[need] = len(index)
                stack.append(need)
                on_stack.add(need)
                work.append((need, iter(needs[need])))
            elif need is not None:
                low[name] = min(low[name], index[need])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    knot = {name}
                    while (last := stack.pop()) != name:
                        knot.add(last)
                    on_stack -= knot
                    if len(knot) > 1 or name in needs[name]:
                        yield knot


def _round_trip(needs: Graph, start: str) -> list[str]:
    """The shortest way from a step along the needs back to it."""
    came: dict[str, str] = {}
    waiting = deque([start])
    while waiting:
        name = waiting.popleft()
        for need in needs[name]:
            if need == start:
                way = [start, name] if name != start else [start]
                while way[-1] != start:
                    way.append(came[way[-1]])
                return [start, *reversed(way[1:-1]), start] if len(way) > 1 else [start, start]
            if need not in came:
                came[need] = name
                waiting.append(need)
    raise AssertionError("a knot has a way around")
