"""What follows from what was said.

`decide` judges the messages that wait for one run, together, and returns the
facts of one entry. Saying a thing twice changes nothing: a submission of a run
that exists, a report on a settled task, a wake-up with nothing due all lead to no
fact, or to one that says why it does not count. The senders are known: the shell
has checked every code and token before anything comes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from consort_orchestrator.core.advance import Advance, World
from consort_orchestrator.core.assign import Candidate
from consort_orchestrator.core.context import put
from consort_orchestrator.core.effects import effect
from consort_orchestrator.core.ending import overdue
from consort_orchestrator.core.moves import ripe
from consort_orchestrator.core.reports import attempt_failed, progress, report
from consort_orchestrator.core.resolve import NeedArtefacts
from consort_orchestrator.core.said import Foreign, Forged, Message, Said, Unreadable
from consort_orchestrator.core.state import RUN_ITSELF, Node, Phase, Run
from consort_orchestrator.core.steering import heed, steer
from consort_shared.entries import Extended, Fact, Finished, Redriven, Refused, Submitted
from consort_shared.errors import PlanError
from consort_shared.messages import (
    Answer,
    Cancel,
    Effect,
    EffectAnswer,
    Heed,
    Hold,
    Pause,
    Progress,
    Put,
    Report,
    Resolve,
    Resume,
    Retry,
    Stop,
    Submit,
    Wake,
)
from consort_shared.plan.check import check, check_inputs

FORGED_KEPT = 16
"""Forged messages of which a run keeps a record; whoever sends more cannot make its log grow."""
LEAST_EXTENSION = 1.0
"""Seconds that an attempt of a paused agent gets at least, before it is looked at again."""

__all__ = [
    "Candidate",
    "Decision",
    "Foreign",
    "Forged",
    "Message",
    "NeedArtefacts",
    "Said",
    "Unreadable",
    "World",
    "decide",
]


@dataclass(slots=True)
class Decision:
    """The facts of one entry, and what to tell whom; no facts means nothing to write."""

    facts: tuple[Fact, ...]
    orders: list[tuple[str, Stop | Answer | EffectAnswer | Hold]] = field(default_factory=list)
    """agents and what to tell them; an order may be given again, and nothing depends on one arriving"""
    refused: list[tuple[Said, str]] = field(default_factory=list)
    """messages to set aside, with the reason"""


def decide(run: Run, messages: Sequence[Said], world: World) -> Decision:
    """Judge messages. Changes `run` as the facts say.

    Raises NeedArtefacts, after which the run must be folded anew.
    """
    going = Advance(run, world)
    for said in _in_turn(run, messages):
        if not said.letter or _redriven(going, said):
            _judge(going, said)
            going.settle()
    if run.finished is None:
        _overdue(going)
    if run.waiting:
        going.wake()
    return Decision(tuple(going.facts), going.orders, going.refused)


def _in_turn(run: Run, messages: Sequence[Said]) -> Sequence[Said]:
    """As they were said. Whoever forces the end of a run comes first: the rest may want what cannot be had."""
    if run.plan is None:
        return messages
    return sorted(messages, key=lambda said: not (isinstance(said.message, Cancel) and said.message.force))


def _judge(going: Advance, said: Said) -> None:
    message = said.message
    match message:
        case Report():
            report(going, said, message)
        case Wake():
            pass  # whatever it is about is looked at after every message
        case Progress():
            progress(going, message)
        case Put():
            answer = Answer(
                run=going.run.id, task=message.task, id=message.id, answer=put(going, said.sender, message)
            )
            going.orders.append((said.sender.partition(".")[2], answer))
        case Effect():
            effect(going, said, message)
        case Heed():
            heed(going, said, message)
        case Submit():
            _submit(going, said, message)
        case Cancel() | Pause() | Resume() | Retry() | Resolve():
            steer(going, said, message)
        case Unreadable() | Foreign() | Forged():
            _set_aside(going, said, message)
        case _:
            assert_never(message)


def _redriven(going: Advance, said: Said) -> bool:
    """Put on record that a dead letter is judged again, once. Whether it is to be judged."""
    run = going.run
    if said.letter not in run.redriven:
        begins = isinstance(said.message, Submit | Unreadable)
        if begins or run.plan is not None or run.finished is not None:
            going.emit(Redriven(letter=said.letter, by=said.by, edited=said.edited))
        return True
    if said.letter not in run.redriven_twice:
        why = "redriven already"
        going.emit(Refused(what="redrive", sender=said.by, stream="DEAD", seq=said.letter, why=why))
    return False


def _set_aside(going: Advance, said: Said, message: Unreadable | Foreign | Forged) -> None:
    """Messages that do not count: on record, where there is a run to keep it."""
    run = going.run
    match message:
        case Unreadable():
            if run.plan is None and run.finished is None:
                going.emit(Refused(what="submit", sender=said.sender, why=message.why))
                going.emit(Finished(state="failed", why=message.why))
            going.refused.append((said, message.why))
        case Foreign():
            if run.plan is not None and message.seq not in run.set_aside:
                going.emit(
                    Refused(what="log", sender=said.sender, stream="LOG", seq=message.seq, why=message.why)
                )
        case Forged():
            known = message.seq in run.forged or len(run.forged) >= FORGED_KEPT
            if run.plan is not None and not known:
                going.emit(
                    Refused(
                        what="forged", sender=said.sender, stream="INBOX", seq=message.seq, why=message.why
                    )
                )
        case _:
            assert_never(message)


# --- submissions


def _submit(going: Advance, said: Said, message: Submit) -> None:
    run = going.run
    never_began = run.plan is None and (run.finished is None or said.letter > 0)
    if not never_began:
        if not _submitted_before(run, said, message):
            why = "the run exists already, with another plan or other inputs, or of another client"
            going.refused.append((said, why))
        return
    faults = check(message.plan)
    inputs = message.inputs
    why = ""
    if faults:
        why = str(PlanError(faults, f"plan `{message.plan.name}`"))
    else:
        try:
            inputs = check_inputs(message.plan, message.inputs)
        except PlanError as exc:
            why = str(exc)
    fact = Submitted(client=said.sender, plan=message.plan, inputs=inputs, goal=message.goal)
    known = {"handed_in": said.at, "caller": said.caller}
    going.emit(fact.model_copy(update={name: value for name, value in known.items() if value}))
    if why:
        going.emit(Finished(state="failed", why=why))
    else:
        going.begin()


def _submitted_before(run: Run, said: Said, message: Submit) -> bool:
    if run.client != said.sender or run.plan != message.plan:
        return False
    if run.goal != (message.goal or message.plan.goal):
        return False
    if run.inputs == message.inputs:
        return True
    try:
        return run.inputs == check_inputs(message.plan, message.inputs)
    except PlanError:
        return False


# --- time


def _overdue(going: Advance) -> None:
    """Attempts whose time is up have failed; those whose wait is over begin; the run itself may be late."""
    run, now = going.run, going.world.now
    for path in ripe(run, now):
        due = run.due.get(path)
        if run.finished is not None:
            break
        if path == RUN_ITSELF:
            overdue(going)
        elif due is not None and due <= now:
            _late(going, run.nodes[path])
    going.settle()


def _late(going: Advance, node: Node) -> None:
    assert node.spec is not None
    timeout = node.spec.step.timeout
    if node.phase is Phase.BACKOFF:
        going.grant(node)
    elif node.agent in going.world.paused:
        until = going.world.now + max(timeout, LEAST_EXTENSION)
        why = f"agent {node.agent} is paused"
        going.emit(Extended(path=node.path, task=node.task, deadline=until, why=why))
    else:
        going.orders.append((node.agent, Stop(run=going.run.id, task=node.task)))
        attempt_failed(going, node, "timeout", f"no report within {timeout:g} s", retry=True)
