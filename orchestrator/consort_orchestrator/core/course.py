"""What facts about the run as a whole change: its beginning, pauses, ending, end, and being opened again.

Raises `IllegalMove`, as `apply` does.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

from consort_orchestrator.core.moves import (
    UNDO,
    call_off_undoing,
    cut_off,
    known,
    move,
    populate,
    reopen,
    set_due,
    set_stop_due,
    task_at,
)
from consort_orchestrator.core.program import program
from consort_orchestrator.core.state import (
    RUN_ITSELF,
    STOP_WITHIN,
    IllegalMove,
    Node,
    Phase,
    Role,
    Run,
)
from consort_shared.entries import (
    Ending,
    Finished,
    Forced,
    GivenUp,
    Heeded,
    Paused,
    Redriven,
    Reopened,
    Resumed,
    Submitted,
)
from consort_shared.plan.check import MAX_DEPTH
from consort_shared.plan.scopes import size_and_depth

Course: TypeAlias = (
    Submitted | Paused | Resumed | Heeded | Ending | Forced | GivenUp | Redriven | Reopened | Finished
)

_END = {"completed": Phase.DONE, "failed": Phase.FAILED, "cancelled": Phase.CANCELLED}
_HEEDED = {
    "stopped": "interrupted",
    "dropped": "had not begun",
    "cannot": "cannot be interrupted; its result does not count",
    "silent": f"no acknowledgement within {STOP_WITHIN:g} s",
}


def apply(run: Run, fact: Course, at: float) -> None:
    """Raises IllegalMove."""
    match fact:
        case Submitted():
            _submitted(run, fact, at)
        case Paused():
            if run.paused is not None or run.ending is not None:
                raise IllegalMove("", "is paused already, or ending")
            run.paused = fact
            run.paused_at = at
            run.steered = max(run.steered, fact.asked)
        case Resumed():
            _resumed(run, fact, at)
        case Heeded():
            _heeded(run, fact)
        case Ending():
            _ending(run, fact, at)
        case Forced():
            if run.ending is None or run.forced is not None:
                raise IllegalMove("", "is not ending, or somebody has forced its end before")
            run.forced = fact
            call_off_undoing(run, at)
        case GivenUp():
            _given_up(run, fact)
        case Redriven():
            if fact.letter in run.redriven:
                raise IllegalMove("", f"dead letter {fact.letter} was judged again before")
            run.redriven.add(fact.letter)
        case Reopened():
            _reopened(run, fact, at)
        case Finished():
            _finished(run, fact)
        case _:
            assert_never(fact)


def stops(how: str) -> bool:
    """Whether this is an answer to an order to stop."""
    return how in _HEEDED


def _submitted(run: Run, fact: Submitted, at: float) -> None:
    if run.plan is not None:
        raise IllegalMove("", "was submitted before")
    run.finished = None  # it may have ended with a submission that could not be read
    run.client = fact.client
    run.plan = fact.plan
    run.goal = fact.goal or fact.plan.goal
    run.inputs = dict(fact.inputs)
    run.submitted_at = at
    run.caller = fact.caller
    if size_and_depth(fact.plan)[1] > MAX_DEPTH:
        return  # a plan that the same entry refuses
    try:
        scope = program(fact.plan)
    except KeyError:
        return  # likewise
    root = Node(RUN_ITSELF, None, Role.BLOCK, None, phase=Phase.OPEN, scope=scope)
    run.nodes[RUN_ITSELF] = root
    populate(run, root)
    _set_time(run, at)


def _set_time(run: Run, at: float) -> None:
    """The run's own time begins."""
    assert run.plan is not None
    if run.plan.timeout is not None:
        set_due(run, RUN_ITSELF, at + run.plan.timeout)


def _resumed(run: Run, fact: Resumed, at: float) -> None:
    """What was under way has so much more time as the pause lasted; a wait before a new attempt went on."""
    if run.paused is None:
        if fact.asked <= run.steered:
            raise IllegalMove("", "is not paused")
        run.steered = fact.asked
        return
    run.steered = max(run.steered, fact.asked)
    length = max(0.0, at - run.paused_at)
    run.paused = None
    run.paused_at = 0.0
    for path in run.granted:
        node = run.nodes[path]
        node.deadline += length
        set_due(run, path, node.deadline)
    due = run.due.get(RUN_ITSELF)
    if due is not None:
        set_due(run, RUN_ITSELF, due + length)


def _heeded(run: Run, fact: Heeded) -> None:
    node = known(run, fact.path)
    if fact.task not in run.tasks or (fact.task, fact.order, fact.how) in run.heeded:
        raise IllegalMove(fact.path, f"there is no task {fact.task}, or it has said so before")
    if fact.order == "stop" and node.phase is Phase.STOPPING and node.task == fact.task:
        move(run, node, Phase.CANCELLED)
        node.why = _HEEDED.get(fact.how, fact.how)
    run.heeded.add((fact.task, fact.order, fact.how))


def _ending(run: Run, fact: Ending, at: float) -> None:
    if run.plan is None or run.ending is not None:
        raise IllegalMove("", "was not submitted, or is ending already")
    run.ending = fact
    run.paused = None
    run.paused_at = 0.0
    cut_off(run, fact.why, stopping=True)
    if run.stopping:
        set_stop_due(run, at)


def _given_up(run: Run, fact: GivenUp) -> None:
    step = fact.path.removesuffix(UNDO)
    if run.forced is None or run.stopping or run.undoable[-1:] != [step]:
        raise IllegalMove(fact.path, "is not to be given up, or not yet")
    node = task_at(run, fact.path)
    if not node.phase.ended:
        move(run, node, Phase.CANCELLED)
    node.why = f"given up: {fact.stood}" if fact.stood else "given up"
    run.undoable.pop()
    run.given_up[step] = fact


def _finished(run: Run, fact: Finished) -> None:
    root = run.nodes.get(RUN_ITSELF)
    failed = fact.state == "failed" and root is not None
    if run.ending is None:
        run.repairable = failed and root is not None and not root.live
    else:
        run.repairable = failed and not run.ending.by and run.forced is None
    run.finished = fact
    run.paused = None
    run.paused_at = 0.0
    run.stopping.clear()
    cut_off(run, fact.why, stopping=False)
    if root is not None:
        root.phase = _END[fact.state]


# --- being opened again


def irreparable(run: Run) -> str:
    """Why nothing of the run may be tried again, or nothing."""
    ending, finished = run.ending, run.finished
    if ending is not None and ending.state == "cancelled":
        return "the run was cancelled"
    if ending is not None and ending.by:
        return f"the run was ended: {ending.why}"
    if run.forced is not None:
        return f"the end of the run was forced by {run.forced.by}"
    if any(run.nodes[path].attempts for path in run.undone):
        return "the run's completed steps are being undone, or were"
    if finished is not None and not run.repairable:
        return f"the run has ended: {finished.state}" + (f", {finished.why}" if finished.why else "")
    return ""


def went_on_without(run: Run, node: Node) -> str:
    """The path of what is around an instance and is done in spite of it, or nothing."""
    at = node
    while at.parent is not None:
        at = run.nodes[at.parent]
        if at.phase is not Phase.OPEN and at.phase is not Phase.FAILED:
            return at.path
    return ""


def _reopened(run: Run, fact: Reopened, at: float) -> None:
    node = known(run, fact.path)
    if node.role is not Role.TASK or node.phase is not Phase.FAILED or node.undoes:
        raise IllegalMove(fact.path, "is no task that failed")
    why = irreparable(run) or went_on_without(run, node)
    if why:
        raise IllegalMove(fact.path, f"cannot be tried again: {why}")
    over = run.finished is not None or run.ending is not None
    if over:
        _forget_the_end(run)
    reopen(run, node, Phase.BACKOFF)
    node.counted = 0
    node.failures = {}
    node.declined = frozenset()
    node.inputs = fact.inputs
    run.reopened[fact.path] = fact.by
    set_due(run, fact.path, at)
    _hold_again(run, fact.path)
    if over:
        _set_time(run, at)


def _hold_again(run: Run, source: str) -> None:
    """Those that shared the failure wait again for the result."""
    sharing = run.sharing.get(source, {})
    for path, key in list(sharing.items()):
        node = run.nodes[path]
        if not went_on_without(run, node):
            reopen(run, node, Phase.HELD)
            run.held.setdefault(source, {})[path] = key
            del sharing[path]
    if not sharing:
        run.sharing.pop(source, None)


def _forget_the_end(run: Run) -> None:
    """Take back the end of a run of which nothing has been undone yet."""
    for path in reversed(run.undone):
        node = run.nodes.pop(path)
        if node.phase.ended:
            run.undoable.append(node.undoes)
    if run.ending is not None:
        run.waiting.clear()  # what was to be undone, and had nobody to do it
        run.wanted.clear()
    run.undone.clear()
    run.finished = None
    run.ending = None
    run.repairable = False
