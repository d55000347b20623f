"""What an orchestrator tells of its decisions, in its log and in its figures.

One line a fact, with the run, the step, the agent, and why; the facts themselves are on
the run's log, for ever and in full. What agents and people wrote (results, inputs,
reasons, error texts) is never in a line and never in a figure: those go to places that
many may read, and the run's log tells it to whoever may.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from consort_bus.letters import KINDS
from consort_orchestrator.core import Run
from consort_orchestrator.core.state import Phase, Role
from consort_orchestrator.shell.inbox import Incoming
from consort_shared.entries import (
    Accepted,
    Closed,
    Doubted,
    EffectBegun,
    EffectSettled,
    Ending,
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
from consort_shared.telemetry import metrics

NAMED = 5
"""Failed steps that are named when a run ends."""

log = logging.getLogger("consort.orchestrator")


def begin() -> None:
    """Figures that say something by being zero are there from the beginning."""
    metrics.run_started(0)
    for state in metrics.ENDS:
        metrics.run_ended(state, None, 0)
    metrics.fence_refused(0)
    metrics.came_again(metrics.INBOX, 0)
    for kind in KINDS:
        metrics.set_aside(kind, 0)


def taken(batch: Sequence[Incoming]) -> None:
    """Messages came for a run."""
    again = sum(incoming.delivery.delivered > 1 for incoming in batch)
    metrics.consumed(metrics.INBOX, len(batch), again)


def judged(seconds: float, error: str = "") -> None:
    metrics.processed(metrics.INBOX, seconds, error)


def decided(run: Run, facts: Sequence[Fact], batch: Sequence[Incoming], now: float, *, copies: bool) -> None:
    """An entry is stored: `now` is when, `copies` whether its tasks go out beside it."""
    _count(run, facts, batch, now, copies=copies)
    if log.isEnabledFor(logging.INFO):
        for fact in facts:
            line = _line(run, fact)
            about = {"run": run.id, "entry": run.n, "step": line.step, "task": line.task, "agent": line.agent}
            log.info("%s", line.text, extra={key: value for key, value in about.items() if value})


def _count(run: Run, facts: Sequence[Fact], batch: Sequence[Incoming], now: float, *, copies: bool) -> None:
    metrics.sent(metrics.ENTRIES)
    reported = [incoming.delivery.time for incoming in batch if incoming.subject.kind == "agent"]
    waited = now - min(reported).timestamp() if reported else None
    granted = 0
    for fact in facts:
        if isinstance(fact, (Accepted, Failure, Refused)) and fact.usage is not None:
            agent = fact.sender.partition(".")[2] if isinstance(fact, Refused) else fact.agent
            metrics.used(agent, fact.usage)
        if isinstance(fact, Granted):
            granted += 1
            metrics.task_granted(fact.agent, fact.skill, waited)
        elif isinstance(fact, Accepted):
            metrics.attempt_ended(fact.agent, _skill(run, fact.path), "done")
        elif isinstance(fact, Failure):
            outcome: metrics.Outcome = "declined" if fact.kind == "declined" else "failed"
            metrics.attempt_ended(fact.agent, _skill(run, fact.path), outcome, fact.kind)
        elif isinstance(fact, Doubted):
            metrics.attempt_ended(fact.agent, _skill(run, fact.path), "in-doubt")
        elif isinstance(fact, Heeded) and fact.order == "stop":
            metrics.attempt_ended(fact.agent, _skill(run, fact.path), "called-off")
        elif isinstance(fact, Submitted):
            metrics.run_started()
        elif isinstance(fact, Finished):
            _ended(run, fact, now)
    if copies and granted:
        metrics.sent(metrics.COPIES, granted)


def _ended(run: Run, fact: Finished, now: float) -> None:
    if run.plan is None:
        metrics.run_ended("refused", None)
    else:
        metrics.run_ended(fact.state, max(now - run.submitted_at, 0.0))


def _skill(run: Run, path: str) -> str:
    node = run.nodes.get(path)
    return (node.spec.step.skill or "") if node is not None and node.spec is not None else ""


@dataclass(frozen=True, slots=True)
class Line:
    """What is logged of one fact."""

    text: str
    step: str = ""
    agent: str = ""
    task: str = ""


def _line(run: Run, fact: Fact) -> Line:
    match fact:
        case Submitted():
            name = fact.plan.name
            return Line(f"taken up: run of plan {name}, handed in by {fact.client}")
        case Granted():
            attempt = "" if fact.attempt == 1 else f", attempt {fact.attempt}"
            attempt += f", profile {fact.profile}" if fact.profile else ""
            return Line(
                f"granted: {fact.path} to {fact.agent}{attempt}: {fact.why or 'chosen'}",
                fact.path,
                fact.agent,
                fact.task,
            )
        case Accepted():
            text = f"accepted: {fact.path} from {fact.agent} after {fact.seconds:.3f} s"
            return Line(text, fact.path, fact.agent, fact.task)
        case Failure():
            then = "the step has failed" if fact.retry_at is None else "another attempt follows"
            kind = fact.kind if fact.kind in metrics.KNOWN_KINDS else "a kind of its author's"
            text = f"failed: {fact.path} at {fact.agent}: {kind}; {then}"
            return Line(text, fact.path, fact.agent, fact.task)
        case Refused():
            text = f"refused: {fact.what} from {fact.sender}"
            return Line(text + _stands(fact), "", fact.sender.partition(".")[2], fact.task)
        case Doubted():
            text = f"in doubt: whether an effect of {fact.path} happened; a person is asked"
            return Line(text, fact.path, fact.agent, fact.task)
        case Heeded():
            text = f"heeded: {fact.agent} was told to {fact.order} {fact.path}: {fact.how}"
            return Line(text, fact.path, fact.agent, fact.task)
        case EffectBegun():
            return Line(f"effect begun: at {fact.path}", fact.path, fact.agent, fact.task)
        case EffectSettled():
            return Line(f"effect settled: at {fact.path}: {fact.verdict}", fact.path)
        case Noted():
            return Line(f"milestone: at {fact.path}", fact.path, fact.agent, fact.task)
        case Finished():
            return Line(f"finished: run is {fact.state}{_failed_steps(run, fact)}")
        case _:
            return _course(fact)


def _course(
    fact: Opened
    | Waiting
    | Held
    | Written
    | Skipped
    | Shared
    | Closed
    | Extended
    | Paused
    | Resumed
    | Ending
    | Forced
    | GivenUp
    | Redriven
    | Reopened,
) -> Line:
    """Of facts that are about no single attempt."""
    match fact:
        case Opened():
            items = "" if fact.items is None else f", {len(fact.items)} items"
            plan = "" if fact.plan is None else f", {len(fact.plan.steps)} steps of a plan"
            return Line(f"opened: {fact.path or 'the run'}{items}{plan}", fact.path)
        case Waiting():
            return Line(f"waiting: {fact.path}: nobody offers {fact.skill}", fact.path)
        case Held():
            return Line(f"held: {fact.path} waits for the result of {fact.source}", fact.path)
        case Shared():
            return Line(f"shared: {fact.path} takes the result of {fact.source}", fact.path)
        case Skipped():
            return Line(f"skipped: {fact.path}", fact.path)
        case Closed():
            return Line(f"closed: {fact.path}: {'done' if fact.done else 'failed'}", fact.path)
        case Written():
            text = f"written: context {fact.key}, revision {fact.revision}"
            return Line(text, "", fact.author.removeprefix("agent."), fact.task)
        case Extended():
            return Line(f"extended: {fact.path} has more time: {fact.why}", fact.path, "", fact.task)
        case Paused():
            return Line(f"paused: run, by {fact.by}")
        case Resumed():
            return Line(f"resumed: run, by {fact.by}")
        case Ending():
            by = f", by {fact.by}" if fact.by else ""
            return Line(f"ending: run is to be {fact.state}{by}")
        case Forced():
            return Line(f"forced: the end of the run, by {fact.by}")
        case GivenUp():
            return Line(f"given up: {fact.path} is not done, as {fact.by} wants it", fact.path)
        case Redriven():
            return Line(f"redriven: dead letter {fact.letter}, by {fact.by}")
        case Reopened():
            return Line(f"reopened: {fact.path}, by {fact.by}", fact.path)
        case _:
            assert_never(fact)


def _stands(fact: Refused) -> str:
    """Why, where the words are ours; where it is kept, if it was set aside."""
    kept = f", message {fact.seq} of {fact.stream}" if fact.seq else ""
    return kept + (f": {fact.why}" if fact.what in ("report", "forged", "redrive") else "")


def _failed_steps(run: Run, fact: Finished) -> str:
    if fact.state == "completed":
        return ""
    failed = [
        node.path for node in run.nodes.values() if node.phase is Phase.FAILED and node.role is Role.TASK
    ]
    more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    return f": {', '.join(failed[:NAMED])}{more} failed" if failed else ""
