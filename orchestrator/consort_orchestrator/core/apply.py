"""The only code that changes a run: one fact at a time.

Both a decision and a fold go through here, so what was decided and what a later
reader derives cannot differ. A fact that does not fit where the run stands raises
`IllegalMove`, changes nothing, and means that the log was not written by this
state machine.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import assert_never

from consort_orchestrator.core.program import Spec, program
from consort_orchestrator.core.state import LEGAL, IllegalMove, Kept, Node, Phase, Role, Run, child_path
from consort_shared.entries import (
    Accepted,
    Closed,
    Entry,
    Fact,
    Failure,
    Finished,
    Granted,
    Held,
    Noted,
    Opened,
    Refused,
    Shared,
    Skipped,
    Submitted,
    Waiting,
    Written,
)
from consort_shared.messages import PutAnswer
from consort_shared.plan.check import MAX_DEPTH
from consort_shared.plan.scopes import size_and_depth

SPARE_ALARMS = 256
"""How many outdated alarms may pile up before they are cleared out."""

DECLINED = "declined"
"""The kind of failure that is an agent's no; the first of an agent does not count against the retry limit."""

_END = {"completed": Phase.DONE, "failed": Phase.FAILED, "cancelled": Phase.CANCELLED}


def fold(run: Run, entries: Iterable[tuple[Entry, str]]) -> Run:
    """Apply entries, each with the digest of its body, in order.

    Raises IllegalMove, and ValueError on a gap.
    """
    for entry, digest in entries:
        if entry.n != run.n + 1 or entry.prev != run.chain:
            raise ValueError(f"entry {entry.n} does not follow entry {run.n}")
        for fact in entry.facts:
            apply(run, fact, entry.at)
        run.n = entry.n
        run.chain = digest
    return run


def apply(run: Run, fact: Fact, at: float) -> None:
    """Change the run by one fact; `at` is the time of its entry. Raises IllegalMove."""
    if run.finished is not None and not isinstance(fact, Refused):
        raise IllegalMove("", f"is over, `{fact.fact}` cannot follow")
    match fact:
        case Accepted():
            _accepted(run, fact)
        case Granted():
            _granted(run, fact)
        case Opened():
            _opened(run, fact)
        case Closed():
            _closed(run, fact)
        case Skipped():
            node = _known(run, fact.path)
            _move(run, node, Phase.SKIPPED)
            node.why = fact.why
        case Failure():
            _failure(run, fact)
        case Waiting():
            _waiting(run, fact)
        case Held():
            _move(run, _task_at(run, fact.path), Phase.HELD)
            run.held.setdefault(fact.source, {})[fact.path] = fact.key
        case Shared():
            _shared(run, fact)
        case Written():
            _written(run, fact)
        case Refused():
            _refused(run, fact)
        case Noted():
            _attempt(run, fact.path, fact.task).noted.add((fact.text, fact.done, fact.total))
        case Submitted():
            _submitted(run, fact, at)
        case Finished():
            _finished(run, fact)
        case _:
            assert_never(fact)


# --- instances


def node_at(run: Run, path: str) -> Node:
    """The instance at a path; items and iterations come into being, in order, when first named.

    Raises IllegalMove.
    """
    node = run.nodes.get(path)
    return node if node is not None else _child(run, path)


def _known(run: Run, path: str) -> Node:
    node = run.nodes.get(path)
    if node is None:
        raise IllegalMove(path, "there is no such step")
    return node


def _child(run: Run, path: str, role: Role | None = None) -> Node:
    """A new item or iteration; of the given role, when one is given."""
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
    is_a = Role.BLOCK if parent.spec.body is not None else Role.TASK
    if role is not None and role is not is_a:
        raise IllegalMove(path, f"is a {is_a.value}, not a {role.value}")
    node = Node(path, parent.spec, is_a, parent.path, index, scope=parent.spec.body)
    run.nodes[path] = node
    parent.started = begun
    parent.live += 1
    return node


def _task_at(run: Run, path: str) -> Node:
    node = run.nodes.get(path)
    if node is None:
        return _child(run, path, Role.TASK)
    if node.role is not Role.TASK:
        raise IllegalMove(path, f"is a {node.role.value}, no agent does it")
    return node


def _attempt(run: Run, path: str, task: str) -> Node:
    """The instance whose attempt under way is this task. Raises IllegalMove."""
    node = run.nodes.get(path)
    if node is None or node.phase is not Phase.GRANTED or node.task != task:
        raise IllegalMove(path, f"task {task} is not under way")
    return node


def _move(run: Run, node: Node, to: Phase) -> None:
    """The one place where a phase changes. Raises IllegalMove."""
    if to not in LEGAL[node.phase]:
        raise IllegalMove(node.path, f"{node.phase.value} cannot become {to.value}")
    if node.phase is Phase.WAITING:
        del run.waiting[node.path]
    node.phase = to
    if not to.ended:
        return
    run.due.pop(node.path, None)
    node.noted.clear()
    if node.parent is None:
        return
    parent = run.nodes[node.parent]
    parent.live -= 1
    parent.lost += to is Phase.FAILED
    if parent.role is Role.BLOCK and node.spec is not None:
        for name in node.spec.dependents:
            dependent = run.nodes[child_path(parent, name)]
            dependent.needs_ended += 1
            dependent.needs_done += to is Phase.DONE


def _set_due(run: Run, path: str, at: float) -> None:
    run.due[path] = at
    heapq.heappush(run.alarms, (at, path))
    if len(run.alarms) > 2 * len(run.due) + SPARE_ALARMS:
        run.alarms = [(due, where) for where, due in run.due.items()]
        heapq.heapify(run.alarms)


def _role(spec: Spec) -> Role:
    if spec.step.for_each is not None:
        return Role.EACH
    if spec.step.repeat is not None:
        return Role.LOOP
    return Role.TASK if spec.body is None else Role.BLOCK


def _populate(run: Run, block: Node) -> None:
    """A scope opens: all its steps come into being, pending."""
    assert block.scope is not None
    for name, spec in block.scope.specs.items():
        path = child_path(block, name)
        role = _role(spec)
        run.nodes[path] = Node(path, spec, role, block.path, scope=spec.body if role is Role.BLOCK else None)
    block.live = len(block.scope.specs)


def _submitted(run: Run, fact: Submitted, at: float) -> None:
    if run.plan is not None:
        raise IllegalMove("", "was submitted before")
    run.client = fact.client
    run.plan = fact.plan
    run.goal = fact.goal or fact.plan.goal
    run.inputs = dict(fact.inputs)
    run.submitted_at = at
    if size_and_depth(fact.plan)[1] > MAX_DEPTH:
        return  # a plan that the same entry refuses
    try:
        scope = program(fact.plan)
    except KeyError:
        return  # likewise
    root = Node("", None, Role.BLOCK, None, phase=Phase.OPEN, scope=scope)
    run.nodes[""] = root
    _populate(run, root)


def _finished(run: Run, fact: Finished) -> None:
    run.finished = fact
    run.due.clear()
    run.alarms.clear()
    run.waiting.clear()
    run.held.clear()
    for node in run.nodes.values():
        if not node.phase.ended:
            node.phase = Phase.CANCELLED
            node.why = fact.why
    root = run.nodes.get("")
    if root is not None:
        root.phase = _END[fact.state]


# --- steps


def _opened(run: Run, fact: Opened) -> None:
    node = run.nodes.get(fact.path)
    if node is None:
        node = _child(run, fact.path, Role.BLOCK)
    elif node.role is Role.TASK:
        raise IllegalMove(fact.path, "is a task, nothing in it can open")
    _move(run, node, Phase.OPEN)
    if node.role is Role.EACH:
        node.items = fact.items or ()
    elif node.role is Role.BLOCK:
        _populate(run, node)


def _closed(run: Run, fact: Closed) -> None:
    node = _known(run, fact.path) if fact.done else node_at(run, fact.path)
    if fact.done and node.role is Role.TASK:
        raise IllegalMove(fact.path, "is a task and has no result")
    _move(run, node, Phase.DONE if fact.done else Phase.FAILED)
    node.why = fact.why


def _granted(run: Run, fact: Granted) -> None:
    node = _task_at(run, fact.path)
    _move(run, node, Phase.GRANTED)
    node.attempts = fact.attempt
    node.task = fact.task
    node.agent = fact.agent
    node.deadline = fact.deadline
    run.tasks[fact.task] = fact.path
    run.nonces[fact.task] = fact.nonce
    _set_due(run, fact.path, fact.deadline)
    if fact.key:
        run.keys[fact.key] = fact.path


def _waiting(run: Run, fact: Waiting) -> None:
    _move(run, _task_at(run, fact.path), Phase.WAITING)
    run.due.pop(fact.path, None)
    run.waiting[fact.path] = fact.skill
    if fact.key:
        run.keys[fact.key] = fact.path


def _accepted(run: Run, fact: Accepted) -> None:
    node = _attempt(run, fact.path, fact.task)
    _move(run, node, Phase.DONE)
    node.output = fact.output


def _failure(run: Run, fact: Failure) -> None:
    node = _attempt(run, fact.path, fact.task)
    trouble = f"{fact.kind}: {fact.message}"
    if fact.retry_at is None:
        _move(run, node, Phase.FAILED)
        node.why = trouble
    else:
        _move(run, node, Phase.BACKOFF)
        _set_due(run, fact.path, fact.retry_at)
        node.noted.clear()
    node.trouble = trouble
    run.failed[fact.task] = trouble
    if fact.kind == DECLINED:
        node.declined = node.declined | {fact.agent}
    if fact.counts:
        node.counted += 1
        node.failures[fact.agent] = node.failures.get(fact.agent, 0) + 1


def _shared(run: Run, fact: Shared) -> None:
    source = _known(run, fact.source)
    if source.phase not in (Phase.DONE, Phase.FAILED) or source.role is not Role.TASK:
        raise IllegalMove(fact.path, f"{fact.source} has no result to share")
    node = _task_at(run, fact.path)
    _move(run, node, source.phase)
    node.output = source.output
    node.agent = source.agent
    node.task = source.task
    node.why = f"shares the result of {fact.source}" + (f", which failed: {source.why}" if source.why else "")
    held = run.held.get(fact.source)
    if held is not None:
        held.pop(fact.path, None)
        if not held:
            del run.held[fact.source]


# --- context and refusals


def _written(run: Run, fact: Written) -> None:
    run.context[fact.key] = Kept(fact.revision, fact.author, fact.task, fact.output, fact.confidence)
    if fact.put:
        run.puts[fact.put] = PutAnswer(accepted=True, revision=fact.revision)


def _refused(run: Run, fact: Refused) -> None:
    if fact.seq:
        run.set_aside.add(fact.seq)
    if fact.put:
        run.puts[fact.put] = PutAnswer(accepted=False, revision=0, why=fact.why)
    if fact.what == "report":
        run.late.add(fact.task)
