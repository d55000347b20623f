"""How a run ends when it is not simply done: agents are called off, completed steps undone, the end is put in words.

First everything that is not in hand ends; each agent with a task is told to stop,
and again each second, until it acknowledges or is taken for silent. Then what was
completed and can be undone is undone, the last one first, one at a time; one that
cannot be undone is no reason not to try the next. With nothing in hand and nothing
to undo the run ends at once.

Somebody may force the end of a run whose steps cannot be undone, or not now. Then
nothing more is undone, an undoing in hand is called off as any task is, and what is
not undone is on record, step by step, for whoever has to do it by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from consort_orchestrator.core.ledger import unsettled
from consort_orchestrator.core.moves import UNDO, node_at
from consort_orchestrator.core.state import RUN_ITSELF, Node, Phase, Run, in_hand
from consort_shared.entries import Ending, Finished, Forced, GivenUp, Heeded
from consort_shared.messages import Hold, Stop
from consort_shared.plan.wording import listed

if TYPE_CHECKING:
    from consort_orchestrator.core.advance import Advance

TIMER = "timer"
"""Who ends a run whose time is up."""
NAMED = 20
"""Steps that the last words name when they are not undone; each of them has a fact of its own."""


def end_run(
    going: Advance,
    state: Literal["failed", "cancelled"],
    why: str,
    by: str = "",
    *,
    forced: Forced | None = None,
) -> None:
    """Begin to end the run; it is over at once when nothing is in hand and nothing to be undone."""
    run = going.run
    at_work = in_hand(run)
    if not at_work and not run.undoable:
        going.emit(Finished(state=state, why="; ".join([why, *_open_effects(run)])))
        return
    if run.paused is not None:
        hold(going, on=False)
    going.emit(Ending(state=state, why=why, by=by))
    for node in at_work:
        tell_to_stop(going, node)
    if forced is not None:
        going.emit(forced)
    wind_up(going)


def force_end(going: Advance, forced: Forced) -> None:
    """Let a run that is ending undo nothing more; what an agent has in hand of that is called off first."""
    undoing = in_hand(going.run)
    going.emit(forced)
    for node in undoing:
        tell_to_stop(going, node)
    wind_up(going)


def wind_up(going: Advance) -> None:
    """Undo the next step once nothing is in hand, or give up all, and finish when none is left."""
    run = going.run
    while run.finished is None and not run.stopping:
        if run.forced is not None:
            _give_up(going, run.forced)
        if not run.undoable:
            assert run.ending is not None
            going.emit(Finished(state=run.ending.state, why=_in_words(run)))
            return
        path = f"{run.undoable[-1]}{UNDO}"
        if path in run.nodes:
            return  # under way
        going.grant(node_at(run, path))


def _give_up(going: Advance, forced: Forced) -> None:
    run = going.run
    for step in reversed(list(run.undoable)):
        path = f"{step}{UNDO}"
        going.emit(GivenUp(path=path, by=forced.by, why=forced.why, stood=_stood(run, path)))


def _stood(run: Run, path: str) -> str:
    """How far the undoing of a step is that goes no further, for whoever does it by hand."""
    node = run.nodes.get(path)
    if node is None:
        return "it was not begun"
    match node.phase:
        case Phase.WAITING:
            stood = f"no agent offered {run.waiting[path]}"
        case Phase.ASKING:
            stood = "a person was asked"
        case _:
            stood = node.why or node.trouble
    doubtful = [key for where, key in unsettled(run) if where == path]
    doubt = f"it is not known whether {listed(doubtful)} happened" if doubtful else ""
    tried = f"attempt {node.attempts} at {node.agent}" if node.agent else ""
    return "; ".join(filter(None, [tried, stood, doubt]))


def overdue(going: Advance) -> None:
    """The run's own time is up: it fails; or, while it is ending, those told to stop are told again or given up."""
    run, now = going.run, going.world.now
    due = run.due.get(RUN_ITSELF)
    if due is None:
        return
    if run.ending is None:
        if due <= now:
            assert run.plan is not None
            assert run.plan.timeout is not None
            end_run(going, "failed", f"the run was not done within {run.plan.timeout:g} s", TIMER)
        return
    for path in list(run.stopping):
        node = run.nodes[path]
        if due > now:
            tell_to_stop(going, node)
        else:
            going.end(Heeded(path=path, task=node.task, agent=node.agent, order="stop", how="silent"), path)
    going.settle()


def tell_to_stop(going: Advance, node: Node) -> None:
    going.orders.append((node.agent, Stop(run=going.run.id, task=node.task)))


def hold(going: Advance, *, on: bool) -> None:
    """Tell every agent that has a task of the run in hand that the run is paused, or goes on.

    That it goes on is told to all that ever had one: the task they had when it was paused may be done by now.
    """
    nodes = in_hand(going.run) if on else going.run.nodes.values()
    for agent in dict.fromkeys(node.agent for node in nodes if node.agent):
        going.orders.append((agent, Hold(run=going.run.id, on=on)))


def _in_words(run: Run) -> str:
    assert run.ending is not None
    parts = [run.ending.why]
    undoing = [run.nodes[path] for path in run.undone]
    done = sum(node.phase is Phase.DONE for node in undoing)
    if done:
        parts.append(f"{done} step{'s' if done > 1 else ''} undone")
    parts += [
        f"`{node.undoes}` could not be undone: {node.why}" for node in undoing if node.phase is Phase.FAILED
    ]
    if run.forced is not None:
        parts.append(_forced_in_words(run, run.forced))
    return "; ".join([*parts, *_open_effects(run)])


def _forced_in_words(run: Run, forced: Forced) -> str:
    what = (
        f"not undone: {listed(list(run.given_up), NAMED)}, as"
        if run.given_up
        else "nothing was to be undone when"
    )
    return f"{what} {forced.by} forced the end" + (f": {forced.why}" if forced.why else "")


def _open_effects(run: Run) -> list[str]:
    found = [f"{key} of {path}" for path, key in unsettled(run)]
    return [f"it is not known whether these effects happened: {listed(found)}"] if found else []
