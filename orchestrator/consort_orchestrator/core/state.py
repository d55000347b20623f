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
from typing import Literal

from consort_orchestrator.core.program import Scope, Spec
from consort_shared.entries import Ending, Finished, Forced, GivenUp, Paused
from consort_shared.messages import Output, PutAnswer
from consort_shared.plan.model import Plan
from consort_shared.usage import NOTHING, Usage
from consort_shared.values import Json

RUN_ITSELF = ""
"""The path of the run: that of its outermost scope, and under which its own time is kept in `due`."""
STOP_AGAIN = (1.0, 2.0, 3.0, 4.0)
"""Seconds after an order to stop at which it is given again to those that have not acknowledged it."""
STOP_WITHIN = 5.0
"""Seconds after which whoever has not acknowledged an order to stop is taken for silent."""


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
    ASKING = "asking"
    """whether an effect of its last attempt happened is not known; a person is asked"""
    STOPPING = "stopping"
    """the run is ending; the agent that has the task was told to stop"""
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
    Phase.GRANTED: frozenset(
        {Phase.DONE, Phase.FAILED, Phase.BACKOFF, Phase.ASKING, Phase.STOPPING, Phase.CANCELLED}
    ),
    Phase.BACKOFF: frozenset({Phase.GRANTED, Phase.WAITING, Phase.FAILED, Phase.CANCELLED}),
    Phase.ASKING: frozenset({Phase.BACKOFF, Phase.CANCELLED}),
    Phase.STOPPING: frozenset({Phase.DONE, Phase.CANCELLED}),
    Phase.OPEN: frozenset({Phase.DONE, Phase.FAILED, Phase.CANCELLED}),
    Phase.DONE: frozenset(),
    Phase.FAILED: frozenset(),
    Phase.SKIPPED: frozenset(),
    Phase.CANCELLED: frozenset(),
}
REOPENS: dict[Phase, frozenset[Phase]] = {
    Phase.FAILED: frozenset({Phase.BACKOFF, Phase.HELD, Phase.OPEN}),
    Phase.SKIPPED: frozenset({Phase.PENDING}),
}
"""What only a person's order to try again does to instances that have ended: the task that failed, those that
shared its result, the blocks and loops around it, and the steps that were skipped because of it."""


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


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan that a block carries out, and the inputs that it was given."""

    plan: Plan
    inputs: dict[str, Json]


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
    usage: Usage = NOTHING
    """of all its attempts that reported"""
    inputs: dict[str, Json] | None = None
    """given by a person instead of those of the plan"""
    doubts: frozenset[str] = frozenset()
    """keys of its effects of which nobody knows whether they happened, and a person is asked"""
    undoes: str = ""
    """path of the completed step that this one takes back"""
    # a block, `for_each` or `repeat`
    scope: Scope | None = None
    planned: Planned | None = None
    """of a block whose steps are those of a plan that came while the run was going on"""
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
class Effected:
    """What is on record of one effect: who began it last, and what became of it."""

    id: str
    task: str
    agent: str
    instance: str
    verdict: Literal["", "done", "undone"] = ""
    """empty while nobody knows"""
    output: Output | None = None
    by: str = ""
    """the task or person that said so"""
    past: frozenset[str] = frozenset()
    """ids of the tries before this one"""

    @property
    def open(self) -> bool:
        return not self.verdict


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
    caller: str = ""
    """the span that it was handed in under, if there was one"""
    nodes: dict[str, Node] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    """every task there ever was, by id: the path it belongs to"""
    nonces: dict[str, str] = field(default_factory=dict)
    """by task: what its token is made from"""
    granted: dict[str, None] = field(default_factory=dict)
    """paths of the instances that are granted"""
    due: dict[str, float] = field(default_factory=dict)
    """by path: when an attempt is overdue, or the next one is to start; under the run's own path when the run is,
    or, once it is ending, when those that were told to stop are taken for silent"""
    alarms: list[tuple[float, str]] = field(default_factory=list, compare=False, repr=False)
    """what `due` ever said, as a heap; what it says no longer is dropped when it comes to the top"""
    waiting: dict[str, str] = field(default_factory=dict)
    """by path: the skill that nobody offers"""
    wanted: dict[str, int] = field(default_factory=dict)
    """by skill that nobody offers: how many wait for it"""
    keys: dict[str, str] = field(default_factory=dict)
    """by step key: the path that does the work"""
    held: dict[str, dict[str, str]] = field(default_factory=dict)
    """by path: those that wait for its result, with the key that they share"""
    usage: Usage = NOTHING
    """of all attempts that reported, also those whose report does not count"""
    context: dict[str, Kept] = field(default_factory=dict)
    puts: dict[str, PutAnswer] = field(default_factory=dict)
    set_aside: set[int] = field(default_factory=set)
    """stream sequences of foreign messages on the run's log that are on record"""
    forged: set[int] = field(default_factory=set)
    """the same of messages in the inbox that do not prove their sender; no more than some are put on record"""
    redriven: set[int] = field(default_factory=set)
    """dead letters that were judged again"""
    redriven_twice: set[int] = field(default_factory=set)
    """those of them that somebody wanted judged once more, which is on record"""
    failed: dict[str, str] = field(default_factory=dict)
    """by task: how an attempt failed, to know a report that is said again"""
    late: set[str] = field(default_factory=set)
    """tasks of which a late report is on record"""
    poisoned: list[str] = field(default_factory=list)
    """tasks that killed their process again and again"""
    effects: dict[tuple[str, str], Effected] = field(default_factory=dict)
    """by path and the author's key"""
    stray: set[str] = field(default_factory=set)
    """tasks of which a word on an effect that is no longer theirs is on record"""
    heeded: set[tuple[str, str, str]] = field(default_factory=set)
    """task, order and answer of every acknowledgement on record"""
    sharing: dict[str, dict[str, str]] = field(default_factory=dict)
    """by path of a failed task: those that share its failure, with the key"""
    reopened: dict[str, str] = field(default_factory=dict)
    """by path of a failed task that was to be done again: who wanted it"""
    paused: Paused | None = None
    paused_at: float = 0.0
    steered: float = 0.0
    """when the pause, or its end, that counts was asked for; what was asked earlier comes too late"""
    ending: Ending | None = None
    stopping: dict[str, None] = field(default_factory=dict)
    """paths of the instances whose agents were told to stop"""
    undoable: list[str] = field(default_factory=list)
    """completed tasks that can be undone, and are not yet, in the order in which they were completed"""
    undone: list[str] = field(default_factory=list)
    """paths of the tasks that undo others, as they began"""
    forced: Forced | None = None
    """somebody wants it to end without undoing anything more"""
    given_up: dict[str, GivenUp] = field(default_factory=dict)
    """by path of a completed step: that it is not undone because of that"""
    finished: Finished | None = None
    repairable: bool = False
    """it failed because its steps did, so they may be tried again"""

    @property
    def next_due(self) -> float | None:
        """The earliest instant at which something is to happen without anyone saying anything."""
        if self.paused is not None:
            return None
        while self.alarms:
            at, path = self.alarms[0]
            if self.rings(at, path):
                return at
            heapq.heappop(self.alarms)
        return None

    def rings(self, at: float, path: str) -> bool:
        """Whether an alarm still means anything: something is due then, or an order to stop is to be repeated."""
        due = self.due.get(path)
        return due == at or (path == RUN_ITSELF and due is not None and bool(self.stopping) and at < due)

    def scope_parent(self, node: Node) -> Node:
        """The block (or the run itself) whose step this instance belongs to."""
        at = node
        while True:
            assert at.parent is not None
            at = self.nodes[at.parent]
            if at.role is Role.BLOCK:
                return at


def planning_depth(run: Run, node: Node) -> int:
    """How many plans that came while the run was going on an instance is inside of, itself counted."""
    depth, at = 0, node
    while True:
        depth += at.planned is not None
        if at.parent is None:
            return depth
        at = run.nodes[at.parent]


def child_path(scope: Node, name: str) -> str:
    return f"{scope.path}.{name}" if scope.path else name


def node_of_task(run: Run, task: str) -> Node | None:
    """The instance whose attempt under way this is; None when the task is over, or never was."""
    node = node_in_hand(run, task)
    return node if node is not None and node.phase is Phase.GRANTED else None


def node_in_hand(run: Run, task: str) -> Node | None:
    """The same, also of an attempt that was told to stop and may still report."""
    path = run.tasks.get(task)
    if path is None or run.finished is not None:
        return None
    node = run.nodes.get(path)
    if node is None or node.task != task:
        return None
    return node if node.phase in (Phase.GRANTED, Phase.STOPPING) else None


def in_hand(run: Run) -> list[Node]:
    """The instances whose task an agent should have in hand; not those that were told to stop."""
    return [run.nodes[path] for path in run.granted]


def outstanding(run: Run) -> set[str]:
    """Tasks that agents should have in hand."""
    return {node.task for node in in_hand(run)}
