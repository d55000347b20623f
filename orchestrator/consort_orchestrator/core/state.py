"""The state of a run, derived from its facts and from nothing else.

A `Run` is an accumulator with one owner: `apply` changes it in place, and whoever
holds one that may not match the log throws it away and folds again. A `Node` is
one instance of a step: the step itself, an item of its `for_each`, or an
iteration of its `repeat`.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from enum import Enum

from consort_orchestrator.core.program import Scope, Spec
from consort_shared.entries import Finished
from consort_shared.messages import Output, PutAnswer
from consort_shared.plan.model import Plan
from consort_shared.values import Json


class Phase(Enum):
    """Where an instance of a step stands."""

    PENDING = "pending"
    """its needs are not met yet"""
    HELD = "held"
    """another step with the same key is at work"""
    WAITING = "waiting"
    """it could start, but no agent offers its skill"""
    GRANTED = "granted"
    """an agent has the task"""
    BACKOFF = "backoff"
    """an attempt failed, the next one is due later"""
    OPEN = "open"
    """a block or loop whose steps are under way"""
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in ENDED


ENDED = frozenset({Phase.DONE, Phase.FAILED, Phase.SKIPPED, Phase.CANCELLED})

_STARTS = {Phase.GRANTED, Phase.WAITING, Phase.HELD, Phase.OPEN, Phase.SKIPPED, Phase.DONE, Phase.FAILED}
LEGAL: dict[Phase, frozenset[Phase]] = {
    Phase.PENDING: frozenset(_STARTS | {Phase.CANCELLED}),
    Phase.HELD: frozenset({Phase.DONE, Phase.FAILED, Phase.CANCELLED}),
    Phase.WAITING: frozenset({Phase.GRANTED, Phase.FAILED, Phase.CANCELLED}),
    Phase.GRANTED: frozenset({Phase.DONE, Phase.FAILED, Phase.BACKOFF, Phase.CANCELLED}),
    Phase.BACKOFF: frozenset({Phase.GRANTED, Phase.WAITING, Phase.FAILED, Phase.CANCELLED}),
    Phase.OPEN: frozenset({Phase.DONE, Phase.FAILED, Phase.CANCELLED}),
    Phase.DONE: frozenset(),
    Phase.FAILED: frozenset(),
    Phase.SKIPPED: frozenset(),
    Phase.CANCELLED: frozenset(),
}


class Role(Enum):
    """What an instance of a step is."""

    TASK = "task"
    BLOCK = "block"
    EACH = "each"
    LOOP = "loop"


class IllegalMove(Exception):
    """A fact that the state machine does not allow where the run stands; it has changed nothing."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path or 'the run'}: {why}")


@dataclass(slots=True)
class Node:
    """One instance of a step."""

    path: str
    spec: Spec | None
    role: Role
    parent: str | None
    index: int = -1
    """which item (from 0) or iteration (from 1) of the parent; -1 for neither"""
    phase: Phase = Phase.PENDING
    why: str = ""
    needs_ended: int = 0
    needs_done: int = 0
    # a task
    attempts: int = 0
    counted: int = 0
    """attempts that count against the retry limit"""
    task: str = ""
    agent: str = ""
    deadline: float = 0.0
    trouble: str = ""
    failures: dict[str, int] = field(default_factory=dict)
    """failed attempts by agent"""
    declined: frozenset[str] = frozenset()
    noted: set[tuple[str, float | None, float | None]] = field(default_factory=set)
    """milestones of the attempt under way"""
    output: Output | None = None
    # a block, `for_each` or `repeat`
    scope: Scope | None = None
    items: tuple[Json, ...] = ()
    started: int = 0
    """children begun (`for_each`), or the current iteration (`repeat`)"""
    live: int = 0
    """children that have not ended"""
    lost: int = 0
    """children that failed"""
    digest: str = field(default="", compare=False)
    """of all results inside, once it is done and somebody asked"""


@dataclass(slots=True)
class Kept:
    """A context key: its newest value and who wrote it."""

    revision: int
    author: str
    task: str
    output: Output
    confidence: float


@dataclass(slots=True)
class Run:
    """One goal being pursued."""

    id: str
    n: int = 0
    """entries so far"""
    chain: str = ""
    """digest of the last entry's body"""
    client: str = ""
    plan: Plan | None = None
    goal: str = ""
    inputs: dict[str, Json] = field(default_factory=dict)
    submitted_at: float = 0.0
    nodes: dict[str, Node] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    """every task there ever was, by id: the path it belongs to"""
    nonces: dict[str, str] = field(default_factory=dict)
    """by task: what its token is made from"""
    due: dict[str, float] = field(default_factory=dict)
    """by path: when an attempt is overdue, or the next one is to start"""
    alarms: list[tuple[float, str]] = field(default_factory=list, compare=False, repr=False)
    """what `due` ever said, as a heap; what it says no longer is dropped when it comes to the top"""
    waiting: dict[str, str] = field(default_factory=dict)
    """by path: the skill that nobody offers"""
    keys: dict[str, str] = field(default_factory=dict)
    """by step key: the path that does the work"""
    held: dict[str, dict[str, str]] = field(default_factory=dict)
    """by path: those that wait for its result, with the key that they share"""
    context: dict[str, Kept] = field(default_factory=dict)
    puts: dict[str, PutAnswer] = field(default_factory=dict)
    set_aside: set[int] = field(default_factory=set)
    """stream sequences of foreign messages on the run's log that are on record"""
    failed: dict[str, str] = field(default_factory=dict)
    """by task: how an attempt failed, to know a report that is said again"""
    late: set[str] = field(default_factory=set)
    """tasks of which a late report is on record"""
    finished: Finished | None = None

    @property
    def next_due(self) -> float | None:
        """The earliest instant at which something is to happen without anyone saying anything."""
        while self.alarms:
            at, path = self.alarms[0]
            if self.due.get(path) == at:
                return at
            heapq.heappop(self.alarms)
        return None

    def scope_parent(self, node: Node) -> Node:
        """The block (or the run itself) whose step this instance belongs to."""
        at = node
        while True:
            assert at.parent is not None
            at = self.nodes[at.parent]
            if at.role is Role.BLOCK:
                return at


def child_path(scope: Node, name: str) -> str:
    return f"{scope.path}.{name}" if scope.path else name


def node_of_task(run: Run, task: str) -> Node | None:
    """The instance whose attempt under way this is; None when the task is over, or never was."""
    path = run.tasks.get(task)
    if path is None or run.finished is not None:
        return None
    node = run.nodes[path]
    return node if node.phase is Phase.GRANTED and node.task == task else None


def in_hand(run: Run) -> list[Node]:
    """The instances whose task an agent should have in hand."""
    return [node for node in run.nodes.values() if node.phase is Phase.GRANTED]


def outstanding(run: Run) -> set[str]:
    """Tasks that agents should have in hand."""
    return {node.task for node in in_hand(run)}
