"""What agents report, and what becomes of an attempt that ended badly.

Saying a thing twice changes nothing; a report on an attempt that is over is refused,
once on record. A run that is ending still takes a result that comes before the
agent has acknowledged the order to stop.
"""

from __future__ import annotations

from typing import TypeVar, assert_never

from consort_orchestrator.core.advance import Advance
from consort_orchestrator.core.apply import DECLINED
from consort_orchestrator.core.context import conflict, written
from consort_orchestrator.core.planning import BAD_PLAN, refusal, value_of, wants_plan
from consort_orchestrator.core.said import Said
from consort_orchestrator.core.state import Node, Phase, Run, node_in_hand, node_of_task
from consort_shared.entries import Accepted, Failure, Noted, Refused
from consort_shared.messages import Declined, Done, Failed, Progress, Report
from consort_shared.usage import Usage

CONFLICT = "context-conflict"
F = TypeVar("F", Accepted, Failure, Refused)


def report(going: Advance, said: Said, told: Report) -> None:
    """Judge an agent's last word on an attempt."""
    run = going.run
    node = node_in_hand(run, told.task)
    if node is None:
        _late(going, said, told)
        return
    outcome = told.outcome
    match outcome:
        case Done():
            trouble = conflict(run, outcome.writes)
            if trouble:
                attempt_failed(going, node, CONFLICT, trouble, retry=True, usage=told.usage)
                return
            if wants_plan(node):
                value = value_of(going.view(node), outcome.output)
                trouble = refusal(run, node, value, tuple(going.world.cards()))
                if trouble:
                    attempt_failed(going, node, BAD_PLAN, trouble, retry=True, usage=told.usage)
                    return
            for write in outcome.writes:
                going.emit(written(run, node, write))
            accepted = Accepted(
                path=node.path,
                task=node.task,
                agent=node.agent,
                instance=told.instance,
                output=outcome.output,
                seconds=told.seconds,
            )
            going.end(_paid(accepted, told.usage), node.path)
        case Failed():
            retry = outcome.retry
            attempt_failed(going, node, outcome.kind, outcome.message, retry=retry, usage=told.usage)
        case Declined():
            again = node.agent in node.declined
            attempt_failed(going, node, DECLINED, outcome.why, retry=True, counts=again, usage=told.usage)
        case _:
            assert_never(outcome)


def progress(going: Advance, told: Progress) -> None:
    """Keep a milestone, once."""
    node = node_of_task(going.run, told.task)
    if node is None or (told.text, told.done, told.total) in node.noted:
        return
    going.emit(
        Noted(
            path=node.path,
            task=told.task,
            agent=node.agent,
            text=told.text,
            done=told.done,
            total=told.total,
        )
    )


def _late(going: Advance, said: Said, report: Report) -> None:
    """A report on an attempt that is over. Said again it is no news; otherwise it is refused, once on record."""
    run = going.run
    path = run.tasks.get(report.task)
    if path is None:
        going.refused.append((said, f"there is no task {report.task}"))
        return
    node = run.nodes[path]
    if report.task in run.late or _said_before(run, node, report):
        return
    if run.finished is None:
        why = "the step is done already" if node.phase is Phase.DONE else "the attempt is over"
    elif node.undoes in run.given_up and isinstance(report.outcome, Done):
        why = f"the end was forced before it came; but it says that `{node.undoes}` is undone after all"
    else:
        return
    going.emit(_paid(Refused(what="report", sender=said.sender, task=report.task, why=why), report.usage))


def _said_before(run: Run, node: Node, report: Report) -> bool:
    """Whether the attempt ended with just such a report."""
    how, outcome = run.failed.get(report.task), report.outcome
    match outcome:
        case Done():
            return node.output == outcome.output or (
                how is not None and how.startswith((f"{CONFLICT}: ", f"{BAD_PLAN}: "))
            )
        case Failed():
            return how == f"{outcome.kind}: {outcome.message}"
        case Declined():
            return how == f"{DECLINED}: {outcome.why}"
        case _:
            assert_never(outcome)


def _paid(fact: F, usage: Usage | None) -> F:
    """A fact with what was used, where anything was: that of an agent that computes bears nothing of it."""
    return fact.model_copy(update={"usage": usage}) if usage else fact


def attempt_failed(
    going: Advance,
    node: Node,
    kind: str,
    message: str,
    *,
    retry: bool,
    counts: bool = True,
    usage: Usage | None = None,
) -> None:
    """Decide whether another attempt follows, and when: at once when an agent declined and there is another."""
    assert node.spec is not None
    rule = node.spec.step.retry
    counted = node.counted + counts
    again = retry and counted < rule.attempts and node.phase is Phase.GRANTED
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
    failure = _paid(failure, usage)
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
