"""The only code that changes a run: one fact at a time.

Both a decision and a fold go through here, so what was decided and what a later
reader derives cannot differ. A fact that does not fit where the run stands raises
`IllegalMove`, changes nothing, and means that the log was not written by this
state machine. Facts about the run as a whole are in `course`, those about effects
in `ledger`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from consort_orchestrator.core import course, ledger
from consort_orchestrator.core.moves import (
    attempt,
    known,
    move,
    new_child,
    node_at,
    populate,
    set_due,
    task_at,
    wait_for,
)
from consort_orchestrator.core.program import Scope, program
from consort_orchestrator.core.state import RUN_ITSELF, IllegalMove, Kept, Node, Phase, Planned, Role, Run
from consort_shared.entries import (
    Accepted,
    Closed,
    Doubted,
    EffectBegun,
    EffectSettled,
    Ending,
    Entry,
    Extended,
    Fact,
    Failure,
    Finished,
    Forced,
    GivenUp,
    Granted,
    Heeded,
    Held,
    Noted,
    Opened,
    Paused,
    Redriven,
    Refused,
    Reopened,
    Resumed,
    Shared,
    Skipped,
    Submitted,
    Waiting,
    Written,
)
from consort_shared.messages import POISON, PutAnswer
from consort_shared.plan.model import Plan
from consort_shared.usage import Usage

DECLINED = "declined"
"""The kind of failure that is an agent's no; the first of an agent does not count against the retry limit."""

AFTER_THE_END = (Refused, Redriven, Reopened, EffectSettled, Heeded)
"""Facts that a run which has ended may still have; and a submission, when it ended before there was one."""


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
    if run.finished is not None and not isinstance(fact, AFTER_THE_END):
        begins = isinstance(fact, Submitted) and run.plan is None
        if not begins:
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
            node = known(run, fact.path)
            move(run, node, Phase.SKIPPED)
            node.why = fact.why
        case Failure():
            _failure(run, fact)
        case Waiting():
            _waiting(run, fact)
        case Held():
            move(run, task_at(run, fact.path), Phase.HELD)
            run.held.setdefault(fact.source, {})[fact.path] = fact.key
        case Shared():
            _shared(run, fact)
        case Written():
            _written(run, fact)
        case Refused():
            _refused(run, fact)
        case Noted():
            attempt(run, fact.path, fact.task).noted.add((fact.text, fact.done, fact.total))
        case Extended():
            attempt(run, fact.path, fact.task).deadline = fact.deadline
            set_due(run, fact.path, fact.deadline)
        case EffectBegun() | EffectSettled() | Doubted():
            ledger.apply(run, fact, at)
        case (
            Submitted()
            | Paused()
            | Resumed()
            | Heeded()
            | Ending()
            | Forced()
            | GivenUp()
            | Redriven()
            | Reopened()
            | Finished()
        ):
            course.apply(run, fact, at)
        case _:
            assert_never(fact)


# --- steps


def _opened(run: Run, fact: Opened) -> None:
    node = run.nodes.get(fact.path)
    if node is not None and node.role is Role.TASK:
        raise IllegalMove(fact.path, "is a task, nothing in it can open")
    scope = None if fact.plan is None else _scope_of(fact.path, fact.plan)
    if _brings_its_plan(run, fact.path) is not (scope is not None):
        raise IllegalMove(fact.path, "opens without its plan, or with one that it does not have")
    if node is None:
        node = new_child(run, fact.path, Role.BLOCK)
    move(run, node, Phase.OPEN)
    if fact.plan is not None:
        node.planned = Planned(fact.plan, dict(fact.inputs or {}))
        node.scope = scope
    if node.role is Role.EACH:
        node.items = fact.items or ()
    elif node.role is Role.BLOCK:
        populate(run, node)


def _brings_its_plan(run: Run, path: str) -> bool:
    """Whether a block's steps are known only as it opens; of an item or iteration its parent's step tells."""
    node = run.nodes.get(path)
    known = node if node is not None else run.nodes.get(path.rpartition("[")[0])
    is_block = node is None or node.role is Role.BLOCK
    return is_block and known is not None and known.spec is not None and known.spec.step.plan is not None


def _scope_of(path: str, plan: Plan) -> Scope:
    try:
        return program(plan)
    except KeyError as exc:
        raise IllegalMove(path, f"its plan needs a step {exc} that it does not have") from exc


def _closed(run: Run, fact: Closed) -> None:
    node = known(run, fact.path) if fact.done else node_at(run, fact.path)
    if fact.done and node.role is Role.TASK:
        raise IllegalMove(fact.path, "is a task and has no result")
    move(run, node, Phase.DONE if fact.done else Phase.FAILED)
    node.why = fact.why


def _granted(run: Run, fact: Granted) -> None:
    if run.paused is not None or run.forced is not None:
        raise IllegalMove(fact.path, "the run is paused, or its end is forced")
    node = task_at(run, fact.path)
    move(run, node, Phase.GRANTED)
    node.attempts = fact.attempt
    node.task = fact.task
    node.agent = fact.agent
    node.deadline = fact.deadline
    run.tasks[fact.task] = fact.path
    run.nonces[fact.task] = fact.nonce
    set_due(run, fact.path, fact.deadline)
    if fact.key:
        run.keys[fact.key] = fact.path


def _waiting(run: Run, fact: Waiting) -> None:
    if run.forced is not None:
        raise IllegalMove(fact.path, "the end of the run is forced")
    wait_for(run, task_at(run, fact.path), fact.skill)
    if fact.key:
        run.keys[fact.key] = fact.path


def _accepted(run: Run, fact: Accepted) -> None:
    node = attempt(run, fact.path, fact.task, stopping=True)
    move(run, node, Phase.DONE)
    node.output = fact.output
    if fact.usage is not None:
        _used(run, node, fact.usage)
    if node.spec is not None and node.spec.undo is not None:
        run.undoable.append(node.path)


def _failure(run: Run, fact: Failure) -> None:
    node = attempt(run, fact.path, fact.task, stopping=True)
    trouble = f"{fact.kind}: {fact.message}"
    if fact.retry_at is None:
        move(run, node, Phase.CANCELLED if node.phase is Phase.STOPPING else Phase.FAILED)
        node.why = trouble
    else:
        move(run, node, Phase.BACKOFF)
        set_due(run, fact.path, fact.retry_at)
        node.noted.clear()
    node.trouble = trouble
    run.failed[fact.task] = trouble
    if fact.usage is not None:
        _used(run, node, fact.usage)
    if fact.kind == POISON:
        run.poisoned.append(fact.task)
    if fact.kind == DECLINED:
        node.declined = node.declined | {fact.agent}
    if fact.counts:
        node.counted += 1
        node.failures[fact.agent] = node.failures.get(fact.agent, 0) + 1


def _used(run: Run, node: Node | None, usage: Usage) -> None:
    run.usage += usage
    if node is not None:
        node.usage += usage


def _shared(run: Run, fact: Shared) -> None:
    source = known(run, fact.source)
    if source.phase not in (Phase.DONE, Phase.FAILED) or source.role is not Role.TASK:
        raise IllegalMove(fact.path, f"{fact.source} has no result to share")
    node = task_at(run, fact.path)
    move(run, node, source.phase)
    node.output = source.output
    node.agent = source.agent
    node.task = source.task
    node.why = f"shares the result of {fact.source}" + (f", which failed: {source.why}" if source.why else "")
    if source.phase is Phase.FAILED:
        run.sharing.setdefault(fact.source, {})[fact.path] = fact.key
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
        places = {"INBOX": run.forged, "DEAD": run.redriven_twice}
        places.get(fact.stream, run.set_aside).add(fact.seq)
    if fact.put:
        run.puts[fact.put] = PutAnswer(accepted=False, revision=0, why=fact.why)
    if fact.what == "report":
        run.late.add(fact.task)
        if fact.usage is not None:
            _used(run, run.nodes.get(run.tasks.get(fact.task, RUN_ITSELF)), fact.usage)
    elif fact.what == "effect":
        run.stray.add(fact.task)
