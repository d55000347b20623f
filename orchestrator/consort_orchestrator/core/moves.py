"""Instances of steps: how they come into being, change their phase, and are due.

The phases of a run change here and nowhere else, with the counts of the scopes
around that follow from them. Knows no facts and decides nothing: `apply` says what
a fact moves. A move that is not legal raises `IllegalMove` and changes nothing.
"""

from __future__ import annotations

import heapq

from consort_orchestrator.core.needs import open_again
from consort_orchestrator.core.program import Spec
from consort_orchestrator.core.state import (
    LEGAL,
    REOPENS,
    RUN_ITSELF,
    STOP_AGAIN,
    STOP_WITHIN,
    IllegalMove,
    Node,
    Phase,
    Role,
    Run,
    child_path,
)

SPARE_ALARMS = 256
"""How many outdated alarms may pile up before they are cleared out."""
UNDO = "!undo"
"""What the path of a task that undoes a step ends in, behind the path of that step."""


# --- instances


def node_at(run: Run, path: str) -> Node:
    """The instance at a path; items, iterations and undoing tasks come into being, in order, when first named.

    Raises IllegalMove.
    """
    node = run.nodes.get(path)
    return node if node is not None else new_child(run, path)


def known(run: Run, path: str) -> Node:
    """Raises IllegalMove."""
    node = run.nodes.get(path)
    if node is None:
        raise IllegalMove(path, "there is no such step")
    return node


def new_child(run: Run, path: str, role: Role | None = None) -> Node:
    """A new item, iteration or undoing task; of the given role, when one is given. Raises IllegalMove."""
    if path.endswith(UNDO):
        return _undoing(run, path, role)
    outer, bracket, number = path.rpartition("[")
    parent = run.nodes.get(outer)
    if not bracket or parent is None or parent.spec is None or parent.phase is not Phase.OPEN:
        raise IllegalMove(path, "there is no such step, or it is not under way")
    index = int(number[:-1]) if number[:-1].isdecimal() else -1
    if parent.role is Role.EACH:
        follows, begun = index == parent.started < len(parent.items), index + 1
    else:
        follows, begun = parent.role is Role.LOOP and index == parent.started + 1, index
    if not follows:
        raise IllegalMove(path, f"does not follow {parent.started} begun before it")
    is_a = Role.BLOCK if parent.spec.is_block else Role.TASK
    if role is not None and role is not is_a:
        raise IllegalMove(path, f"is a {is_a.value}, not a {role.value}")
    node = Node(path, parent.spec, is_a, parent.path, index, scope=parent.spec.body)
    run.nodes[path] = node
    parent.started = begun
    parent.live += 1
    return node


def _undoing(run: Run, path: str, role: Role | None) -> Node:
    """Completed steps are undone when the run is ending and nothing is in hand any more, the last one first."""
    undoes = path.removesuffix(UNDO)
    if run.ending is None or run.stopping or run.finished is not None or role is Role.BLOCK:
        raise IllegalMove(path, "nothing is undone yet, or any more")
    if not run.undoable or run.undoable[-1] != undoes:
        raise IllegalMove(path, "is not the next to be undone")
    spec = run.nodes[undoes].spec
    assert spec is not None
    node = Node(path, spec.undo, Role.TASK, None, undoes=undoes)
    run.nodes[path] = node
    run.undone.append(path)
    return node


def task_at(run: Run, path: str) -> Node:
    """The task instance at a path, which may come into being. Raises IllegalMove."""
    node = run.nodes.get(path)
    if node is None:
        return new_child(run, path, Role.TASK)
    if node.role is not Role.TASK:
        raise IllegalMove(path, f"is a {node.role.value}, no agent does it")
    return node


def attempt(run: Run, path: str, task: str, *, stopping: bool = False) -> Node:
    """The instance whose attempt under way this is, or that was told to stop. Raises IllegalMove."""
    node = run.nodes.get(path)
    phases = (Phase.GRANTED, Phase.STOPPING) if stopping else (Phase.GRANTED,)
    if node is None or node.phase not in phases or node.task != task:
        raise IllegalMove(path, f"task {task} is not under way")
    return node


def role_of(spec: Spec) -> Role:
    if spec.step.for_each is not None:
        return Role.EACH
    if spec.step.repeat is not None:
        return Role.LOOP
    return Role.BLOCK if spec.is_block else Role.TASK


def populate(run: Run, block: Node) -> None:
    """A scope opens: all its steps come into being, pending."""
    assert block.scope is not None
    for name, spec in block.scope.specs.items():
        path = child_path(block, name)
        role = role_of(spec)
        run.nodes[path] = Node(path, spec, role, block.path, scope=spec.body if role is Role.BLOCK else None)
    block.live = len(block.scope.specs)


# --- phases


def move(run: Run, node: Node, to: Phase) -> None:
    """The one place where a phase changes as a run goes on. Raises IllegalMove."""
    before = node.phase
    if to not in LEGAL[before]:
        raise IllegalMove(node.path, f"{before.value} cannot become {to.value}")
    if before is Phase.GRANTED:
        del run.granted[node.path]
    elif before is Phase.WAITING:
        _waits_no_more(run, node.path)
    elif before is Phase.STOPPING:
        del run.stopping[node.path]
        if not run.stopping:
            run.due.pop(RUN_ITSELF, None)
    node.phase = to
    if to is Phase.GRANTED:
        run.granted[node.path] = None
    if to.ended:
        _ended(run, node, to)


def _ended(run: Run, node: Node, how: Phase) -> None:
    run.due.pop(node.path, None)
    node.noted.clear()
    if node.undoes and how is not Phase.CANCELLED:
        run.undoable.pop()  # of one that was called off it is yet to be said that it is given up
    if node.parent is None:
        return
    parent = run.nodes[node.parent]
    parent.live -= 1
    parent.lost += how is Phase.FAILED
    if parent.role is Role.BLOCK and node.spec is not None:
        for name in node.spec.dependents:
            dependent = run.nodes[child_path(parent, name)]
            dependent.needs_ended += 1
            dependent.needs_done += how is Phase.DONE


def reopen(run: Run, node: Node, to: Phase) -> None:
    """Take back that an instance ended badly: the scopes around it are open again, and what it kept from starting."""
    before = node.phase
    if to not in REOPENS.get(before, ()):
        raise IllegalMove(node.path, f"{before.value} cannot become {to.value} again")
    node.phase = to
    node.why = ""
    if node.parent is None:
        return
    parent = run.nodes[node.parent]
    parent.live += 1
    parent.lost -= before is Phase.FAILED
    if parent.role is Role.BLOCK and node.spec is not None:
        for name in node.spec.dependents:
            dependent = run.nodes[child_path(parent, name)]
            dependent.needs_ended -= 1
            if dependent.phase is Phase.SKIPPED and open_again(dependent):
                reopen(run, dependent, Phase.PENDING)
    if parent.phase is Phase.FAILED:
        reopen(run, parent, Phase.OPEN)


def call_off_undoing(run: Run, at: float) -> None:
    """No undoing goes on; of one that an agent has in hand it is waited for what that agent says to the order."""
    for path in list(run.granted):
        move(run, run.nodes[path], Phase.STOPPING)
        run.stopping[path] = None
        run.due.pop(path, None)
        set_stop_due(run, at)


def cut_off(run: Run, why: str, *, stopping: bool) -> None:
    """Nothing goes on but, when `stopping`, the tasks in hand, until somebody acknowledges the order to stop."""
    run.waiting.clear()
    run.wanted.clear()
    run.held.clear()
    run.due.clear()
    run.alarms.clear()
    for node in run.nodes.values():
        if node.phase.ended or node.path == RUN_ITSELF:
            continue
        if stopping and node.phase is Phase.GRANTED:
            node.phase = Phase.STOPPING
            run.stopping[node.path] = None
        else:
            node.phase = Phase.CANCELLED
            node.why = why
    run.granted.clear()


# --- time


def set_due(run: Run, path: str, at: float) -> None:
    run.due[path] = at
    heapq.heappush(run.alarms, (at, path))
    if len(run.alarms) > 2 * len(run.due) + SPARE_ALARMS:
        run.alarms = sorted({alarm for alarm in run.alarms if run.rings(*alarm)})


def set_stop_due(run: Run, at: float) -> None:
    """Orders to stop were given: they are repeated, and at last whoever has not answered is taken for silent."""
    run.due[RUN_ITSELF] = at + STOP_WITHIN
    run.alarms = [(at + wait, RUN_ITSELF) for wait in (*STOP_AGAIN, STOP_WITHIN)]


def ripe(run: Run, now: float) -> list[str]:
    """Paths whose time has come, the longest overdue first. Their alarms are gone: whoever asks has to act."""
    found: dict[str, None] = {}
    while True:
        due = run.next_due
        if due is None or due > now:
            return list(found)
        found[heapq.heappop(run.alarms)[1]] = None


# --- waiting


def wait_for(run: Run, node: Node, skill: str) -> None:
    """Raises IllegalMove."""
    move(run, node, Phase.WAITING)
    run.due.pop(node.path, None)
    run.waiting[node.path] = skill
    run.wanted[skill] = run.wanted.get(skill, 0) + 1


def _waits_no_more(run: Run, path: str) -> None:
    skill = run.waiting.pop(path)
    run.wanted[skill] -= 1
    if not run.wanted[skill]:
        del run.wanted[skill]
