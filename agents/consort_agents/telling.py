"""What an agent's process tells of each task, in its log and in its figures.

One line when a task is begun and one when it is over, with how long it took. What a
skill was given and what it returned or raised is never in a line and never in a figure;
it is on the run's log, for those who may read that. Everything that is logged while a
task is worked on, also by the author's own code, says which task that was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import assert_never

from consort_agents.heeding import InHand
from consort_agents.tasks import Task
from consort_bus.connection import Bus
from consort_bus.pull import Delivery
from consort_shared.card import AgentCard
from consort_shared.messages import Declined, Done, Failed, Outcome
from consort_shared.telemetry import metrics
from consort_shared.telemetry.logs import About, set_about

log = logging.getLogger("consort.agent")
_skill_log = logging.getLogger("consort.skill")


def observe(card: AgentCard, bus: Bus, unready: Callable[[], str], busy: Callable[[], int]) -> None:
    """Keep the figures of the process that are looked up when somebody takes them. Called once in it."""
    metrics.came_again(metrics.TASKS, 0)  # says something by being zero
    metrics.observe_process("agent", card.name, unready, lambda: bus.reconnects)
    metrics.observe_slots(card.name, lambda: card.slots, busy)


def delivered(delivery: Delivery) -> None:
    metrics.consumed(metrics.TASKS, 1, int(delivery.delivered > 1))


def about(task: Task) -> None:
    """From here on, what is logged in this context is about a task."""
    granted = task.granted
    set_about(About(task.run, granted.path, granted.task, granted.skill, granted.agent))


def logger(task: Task) -> logging.LoggerAdapter[logging.Logger]:
    """What a skill logs with: it names the task also from threads that it starts itself."""
    granted = task.granted
    told = {"run": task.run, "task": granted.task, "step": granted.path, "skill": granted.skill}
    return logging.LoggerAdapter(_skill_log, told)


def begun(held: InHand, now: float) -> None:
    """A skill is about to be called. `now` is the bus's time."""
    granted = held.task.granted
    held.began = time.monotonic()
    waited = now - held.delivery.time.timestamp()
    if held.delivery.delivered == 1:
        metrics.task_begun(granted.agent, granted.skill, waited)
    attempt = "" if granted.attempt == 1 else f", attempt {granted.attempt}"
    log.info("begun: %s%s", granted.path, attempt)


def reported(held: InHand, outcome: Outcome, seconds: float) -> None:
    """The last word on an attempt is stored."""
    granted = held.task.granted
    metrics.sent(metrics.INBOX)
    how: metrics.Outcome
    kind = ""
    match outcome:
        case Done():
            how = "done"
            log.info("done: %s after %.3f s", granted.path, seconds)
        case Failed():
            how, kind = "failed", outcome.kind
            named = kind if kind in metrics.KNOWN_KINDS else "a kind of its author's"
            log.warning("failed: %s after %.3f s: %s", granted.path, seconds, named)
        case Declined():
            how, kind = "declined", "declined"
            log.info("declined: %s", granted.path)
        case _:
            assert_never(outcome)
    if held.began:
        metrics.skill_ended(granted.agent, granted.skill, how, seconds, kind)
    held.began = 0.0


def left(held: InHand) -> None:
    """A task is not in hand any more. One that was begun and not reported on was called off, or goes back."""
    if not held.began:
        return
    granted, seconds = held.task.granted, time.monotonic() - held.began
    how: metrics.Outcome = "called-off" if held.off else "no-report"
    metrics.skill_ended(granted.agent, granted.skill, how, seconds)
    log.info("%s: %s after %.3f s", "called off" if held.off else "given up here", granted.path, seconds)
