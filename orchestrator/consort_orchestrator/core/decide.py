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
from consort_orchestrator.core.apply import DECLINED
from consort_orchestrator.core.assign import Candidate
from consort_orchestrator.core.context import conflict, put, written
from consort_orchestrator.core.resolve import NeedArtefacts
from consort_orchestrator.core.state import Node, Phase, Run, node_of_task
from consort_shared.entries import Accepted, Fact, Failure, Finished, Noted, Refused, Submitted
from consort_shared.errors import PlanError
from consort_shared.messages import (
    Cancel,
    Declined,
    Done,
    Failed,
    Progress,
    Put,
    PutAnswer,
    Report,
    Submit,
    Wake,
)
from consort_shared.plan.check import check, check_inputs

CONFLICT = "context-conflict"

__all__ = ["Candidate", "Decision", "NeedArtefacts", "Said", "World", "decide"]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A submission that is no plan: it ends the run it names before it began."""

    why: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """A message on the run's log that no orchestrator wrote; it was set aside."""

    seq: int
    why: str


Message = Submit | Cancel | Report | Progress | Put | Wake | Unreadable | Foreign


@dataclass(frozen=True, slots=True)
class Said:
    """A message and who sent it, as `agent.writer` or `client.me`; `timer` for a wake-up."""

    sender: str
    message: Message


@dataclass(slots=True)
class Decision:
    """The facts of one entry, and what to tell whom; no facts means nothing to write."""

    facts: tuple[Fact, ...]
    answers: list[tuple[str, Put, PutAnswer]] = field(default_factory=list)
    """agents, what they asked to put, and what became of it"""
    stopped: list[tuple[str, str]] = field(default_factory=list)
    """agents and their tasks that are no longer wanted"""
    refused: list[tuple[Said, str]] = field(default_factory=list)
    """messages to set aside, with the reason"""


def decide(run: Run, messages: Sequence[Said], world: World) -> Decision:
    """Judge messages. Changes `run` as the facts say.

    Raises NeedArtefacts, after which the run must be folded anew.
    """
    going = Advance(run, world)
    decision = Decision(())
    for said in messages:
        _judge(going, decision, said)
        going.settle()
    if run.finished is None:
        _overdue(going)
    if run.waiting:
        going.wake()
    decision.facts = tuple(going.facts)
    decision.stopped = going.stopped
    return decision


def _judge(going: Advance, decision: Decision, said: Said) -> None:
    run, message = going.run, said.message
    match message:
        case Submit():
            _submit(going, decision, said, message)
        case Unreadable():
            if run.plan is None and run.finished is None:
                going.emit(Refused(what="submit", sender=said.sender, why=message.why))
                going.finish(Finished(state="failed", why=message.why))
            decision.refused.append((said, message.why))
        case Foreign():
            if message.seq not in run.set_aside:
                going.emit(Refused(what="log", sender=said.sender, seq=message.seq, why=message.why))
        case Cancel():
            if run.finished is not None:
                return
            if run.plan is not None and said.sender.startswith("client.") and said.sender != run.client:
                decision.refused.append(
                    (said, f"the run is {run.client}'s, only they or a reviewer may cancel it")
                )
            elif run.plan is not None:
                going.finish(Finished(state="cancelled", why=message.why or f"cancelled by {said.sender}"))
            else:
                decision.refused.append((said, "there is no such run"))
        case Wake():
            pass  # whatever it is about is looked at after every message
        case Report():
            _report(going, decision, said, message)
        case Progress():
            _progress(going, message)
        case Put():
            decision.answers.append(
                (said.sender.partition(".")[2], message, put(going, said.sender, message))
            )
        case _:
            assert_never(message)


# --- submissions


def _submit(going: Advance, decision: Decision, said: Said, message: Submit) -> None:
    run = going.run
    if run.plan is not None or run.finished is not None:
        if not _submitted_before(run, said, message):
            why = "the run exists already, with another plan or other inputs, or of another client"
            decision.refused.append((said, why))
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
    going.emit(Submitted(client=said.sender, plan=message.plan, inputs=inputs, goal=message.goal))
    if why:
        going.finish(Finished(state="failed", why=why))
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


# --- reports


def _report(going: Advance, decision: Decision, said: Said, report: Report) -> None:
    run = going.run
    node = node_of_task(run, report.task)
    if node is None:
        _late(going, decision, said, report)
        return
    outcome = report.outcome
    match outcome:
        case Done():
            trouble = conflict(run, outcome.writes)
            if trouble:
                _attempt_failed(going, node, CONFLICT, trouble, retry=True)
                return
            for write in outcome.writes:
                going.emit(written(run, node, write))
            going.end(
                Accepted(
                    path=node.path,
                    task=node.task,
                    agent=node.agent,
                    instance=report.instance,
                    output=outcome.output,
                    seconds=report.seconds,
                ),
                node.path,
            )
        case Failed():
            _attempt_failed(going, node, outcome.kind, outcome.message, retry=outcome.retry)
        case Declined():
            again = node.agent in node.declined
            _attempt_failed(going, node, DECLINED, outcome.why, retry=True, counts=again)
        case _:
            assert_never(outcome)


def _progress(going: Advance, progress: Progress) -> None:
    node = node_of_task(going.run, progress.task)
    if node is None or (progress.text, progress.done, progress.total) in node.noted:
        return
    going.emit(
        Noted(
            path=node.path,
            task=progress.task,
            agent=node.agent,
            text=progress.text,
            done=progress.done,
            total=progress.total,
        )
    )


def _late(going: Advance, decision: Decision, said: Said, report: Report) -> None:
    """A report on an attempt that is over. Said again it is no news; otherwise it is refused, once on record."""
    run = going.run
    path = run.tasks.get(report.task)
    if path is None:
        decision.refused.append((said, f"there is no task {report.task}"))
        return
    node = run.nodes[path]
    if run.finished is None and report.task not in run.late and not _said_before(run, node, report):
        why = "the step is done already" if node.phase is Phase.DONE else "the attempt is over"
        going.emit(Refused(what="report", sender=said.sender, task=report.task, why=why))


def _said_before(run: Run, node: Node, report: Report) -> bool:
    """Whether the attempt ended with just such a report."""
    how, outcome = run.failed.get(report.task), report.outcome
    match outcome:
        case Done():
            return node.output == outcome.output or (how is not None and how.startswith(f"{CONFLICT}: "))
        case Failed():
            return how == f"{outcome.kind}: {outcome.message}"
        case Declined():
            return how == f"{DECLINED}: {outcome.why}"
        case _:
            assert_never(outcome)


def _attempt_failed(
    going: Advance, node: Node, kind: str, message: str, *, retry: bool, counts: bool = True
) -> None:
    """Decide whether another attempt follows, and when: at once when an agent declined and there is another."""
    assert node.spec is not None
    rule = node.spec.step.retry
    counted = node.counted + counts
    again = retry and counted < rule.attempts
    wait = min(rule.wait * rule.factor ** max(counted - 1, 0), rule.longest)
    if not counts and _has_another(going, node):
        wait = 0.0
    going_on = going.world.now + wait if again else None
    path = node.path
    failure = Failure(
        path=path,
        task=node.task,
        agent=node.agent,
        kind=kind,
        message=message,
        retry_at=going_on,
        counts=counts,
    )
    if not again:
        going.end(failure, path)
        return
    going.emit(failure)
    if wait == 0:
        going.grant(node)


def _has_another(going: Advance, node: Node) -> bool:
    assert node.spec is not None
    assert node.spec.step.skill is not None
    asked = node.declined | {node.agent}
    return any(candidate.name not in asked for candidate in going.world.candidates(node.spec.step.skill))


def _overdue(going: Advance) -> None:
    """Attempts whose time is up have failed; those whose wait is over begin."""
    run, now = going.run, going.world.now
    if run.next_due is None or run.next_due > now:
        return
    for path, due in list(run.due.items()):
        node = run.nodes[path]
        if due > now or run.finished is not None:
            continue
        if node.phase is Phase.GRANTED and node.task:
            going.stopped.append((node.agent, node.task))
            assert node.spec is not None
            _attempt_failed(
                going, node, "timeout", f"no report within {node.spec.step.timeout:g} s", retry=True
            )
        elif node.phase is Phase.BACKOFF:
            going.grant(node)
    going.settle()
