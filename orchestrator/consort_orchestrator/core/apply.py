"""The only code that changes a run: one fact at a time.

Both a decision and a fold go through here, so what was decided and what a later
reader derives cannot differ. A fact that the table of legal moves forbids raises
`IllegalMove` and means that the log was not written by this state machine.
"""

from __future__ import annotations

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


def fold(run: Run, entries: Iterable[tuple[Entry, str]]) -> Run:
    """Apply entries, each with the digest of its body, in order. Raises IllegalMove or ValueError on a gap."""
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
    match fact:
        case Submitted():
            _submitted(run, fact, at)
        case Opened():
            _opened(run, fact)
        case Granted():
            _granted(run, fact)
        case Waiting():
            _waiting(run, fact)
        case Held():
            node = node_at(run, fact.path)
            _move(run, node, Phase.HELD)
            run.held.setdefault(fact.source, []).append(fact.path)
        case Accepted():
            node = node_at(run, fact.path)
            node.output = fact.output
            _settle_task(run, node)
            _move(run, node, Phase.DONE)
        case Failure():
            _failure(run, fact)
        case Skipped():
            node = node_at(run, fact.path)
            node.why = fact.why
            _move(run, node, Phase.SKIPPED)
        case Shared():
            _shared(run, fact)
        case Closed():
            node = node_at(run, fact.path)
            node.why = fact.why
            _move(run, node, Phase.DONE if fact.done else Phase.FAILED)
        case Written():
            run.context[fact.key] = Kept(fact.revision, fact.author, fact.task, fact.output, fact.confidence)
            if fact.put:
                run.puts[fact.put] = PutAnswer(accepted=True, revision=fact.revision)
        case Refused():
            if fact.seq:
                run.set_aside.add(fact.seq)
            if fact.put:
                run.puts[fact.put] = PutAnswer(accepted=False, revision=0, why=fact.why)
        case Noted():
            pass
        case Finished():
            _finished(run, fact)
        case _:
            assert_never(fact)


def node_at(run: Run, path: str) -> Node:
    """The instance at a path; items and iterations come into being when first named."""
    node = run.nodes.get(path)
    if node is not None:
        return node
    parent = run.nodes[path[: path.rindex("[")]]
    index = int(path[path.rindex("[") + 1 : -1])
    assert parent.spec is not None
    role = Role.BLOCK if parent.spec.body is not None else Role.TASK
    node = Node(path, parent.spec, role, parent.path, index, scope=parent.spec.body)
    run.nodes[path] = node
    parent.started = index + 1 if parent.role is Role.EACH else index
    parent.live += 1
    return node


def _move(run: Run, node: Node, to: Phase) -> None:
    if to not in LEGAL[node.phase]:
        raise IllegalMove(node.path, node.phase, to)
    node.phase = to
    run.waiting.pop(node.path, None)
    if to.ended:
        run.due.pop(node.path, None)
        if node.parent is not None:
            parent = run.nodes[node.parent]
            parent.live -= 1
            if to is Phase.FAILED:
                parent.lost += 1


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
    run.client = fact.client
    run.plan = fact.plan
    run.goal = fact.goal or fact.plan.goal
    run.inputs = dict(fact.inputs)
    run.submitted_at = at
    try:
        scope = program(fact.plan)
    except KeyError:
        return  # a plan that the same entry refuses
    root = Node("", None, Role.BLOCK, None, phase=Phase.OPEN, scope=scope)
    run.nodes[""] = root
    _populate(run, root)


def _opened(run: Run, fact: Opened) -> None:
    node = node_at(run, fact.path)
    _move(run, node, Phase.OPEN)
    if node.role is Role.EACH:
        node.items = fact.items or ()
    elif node.role is Role.BLOCK:
        _populate(run, node)


def _granted(run: Run, fact: Granted) -> None:
    node = node_at(run, fact.path)
    _move(run, node, Phase.GRANTED)
    node.attempts = fact.attempt
    node.task = fact.task
    node.agent = fact.agent
    node.deadline = fact.deadline
    run.tasks[fact.task] = fact.path
    run.nonces[fact.task] = fact.nonce
    run.due[fact.path] = fact.deadline
    if fact.key:
        run.keys[fact.key] = fact.path


def _waiting(run: Run, fact: Waiting) -> None:
    node = node_at(run, fact.path)
    _move(run, node, Phase.WAITING)
    run.due.pop(fact.path, None)
    run.waiting[fact.path] = fact.skill
    if fact.key:
        run.keys[fact.key] = fact.path


def _settle_task(run: Run, node: Node) -> None:
    run.due.pop(node.path, None)


def _failure(run: Run, fact: Failure) -> None:
    node = node_at(run, fact.path)
    _settle_task(run, node)
    node.trouble = f"{fact.kind}: {fact.message}"
    if fact.kind == "declined":
        node.declined = node.declined | {fact.agent}
    else:
        node.failures[fact.agent] = node.failures.get(fact.agent, 0) + 1
    node.counted += fact.counts
    if fact.retry_at is None:
        node.why = node.trouble
        _move(run, node, Phase.FAILED)
    else:
        _move(run, node, Phase.BACKOFF)
        run.due[fact.path] = fact.retry_at


def _shared(run: Run, fact: Shared) -> None:
    node = node_at(run, fact.path)
    source = run.nodes[fact.source]
    node.output = source.output
    node.agent = source.agent
    node.task = source.task
    node.why = f"shares the result of {fact.source}" + (f", which failed: {source.why}" if source.why else "")
    _move(run, node, Phase.DONE if source.phase is Phase.DONE else Phase.FAILED)


def _finished(run: Run, fact: Finished) -> None:
    run.finished = fact
    run.due.clear()
    run.waiting.clear()
    run.held.clear()
    for node in run.nodes.values():
        if not node.phase.ended and node.path:
            node.phase = Phase.CANCELLED
            node.why = fact.why
    root = run.nodes.get("")
    if root is not None:
        root.phase = {"completed": Phase.DONE, "failed": Phase.FAILED, "cancelled": Phase.CANCELLED}[
            fact.state
        ]
