"""Every figure that a process of ours keeps: its name, its unit, and the words to record it with.

The one home of metric names. Those of the OpenTelemetry conventions for messaging and
generative AI are used where they fit; all others begin with `consort.`. Attributes come
from sets that do not grow with the work: agents, skills, outcomes; never a run, a task
or anything that a person or a model wrote.

Only OpenTelemetry's interface is used here, which does nothing until a provider is
there: that of one of our own processes (`metering`), or that of a program in which
agents run. Nothing here sets one up.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

SCOPE = "consort"
SYSTEM, OPERATION, TEMPLATE = (
    "messaging.system",
    "messaging.operation.name",
    "messaging.destination.template",
)
AGENT, GEN_AI_OPERATION, ERROR = "gen_ai.agent.name", "gen_ai.operation.name", "error.type"
SKILL, OUTCOME, STATE, REASON = "consort.skill", "consort.outcome", "consort.state", "consort.reason"
ROLE, NAME = "consort.role", "consort.name"
ENTRIES, COPIES, INBOX, TASKS = "log.{run}.entry", "log.{run}.copy", "in.{sender}.{run}", "log.{run}.{agent}"
"""Kinds of subjects that messages are sent under or taken from."""
OTHER = "_OTHER"
KNOWN_KINDS = frozenset(
    {"bad-input", "bad-output", "context-conflict", "died", "declined", "exception", "no-answer", "no-skill"}
    | {"not-done", "poison", "skill-error", "timeout", "unreadable-task"}
)
"""Kinds of failure that are ours. An author's own may be anything, so they count as one."""

Outcome: TypeAlias = Literal["done", "failed", "declined", "in-doubt", "called-off", "no-report"]
Ended: TypeAlias = Literal["completed", "failed", "cancelled", "refused"]
ENDS: tuple[Ended, ...] = ("completed", "failed", "cancelled", "refused")
"""How a run ends; `refused` is one that was never taken up."""

_WAITS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_WORKS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)

_meter = get_meter(SCOPE, importlib.metadata.version("consort-agents"))
_sent = _meter.create_counter(
    "messaging.client.sent.messages", "{message}", "Messages stored on the bus: entries, copies, reports."
)
_consumed = _meter.create_counter(
    "messaging.client.consumed.messages",
    "{message}",
    "Messages taken from the inbox, and tasks from the log.",
)
_processing = _meter.create_histogram(
    "messaging.process.duration",
    "s",
    "From taking messages to having them acknowledged.",
    explicit_bucket_boundaries_advisory=_WAITS,
)
_invocations = _meter.create_histogram(
    "gen_ai.invoke_agent.duration",
    "s",
    "What a skill took for one attempt.",
    explicit_bucket_boundaries_advisory=_WORKS,
)
_decisions = _meter.create_histogram(
    "consort.handoff.decision.duration",
    "s",
    "From a report being stored to the entry being stored that grants what follows.",
    explicit_bucket_boundaries_advisory=_WAITS,
)
_pickups = _meter.create_histogram(
    "consort.handoff.pickup.duration",
    "s",
    "From a task being stored to an agent beginning it.",
    explicit_bucket_boundaries_advisory=_WAITS,
)
_attempts = _meter.create_counter("consort.attempts", "{attempt}", "Attempts that ended, as decided.")
_granted = _meter.create_counter("consort.tasks.granted", "{task}", "Tasks that were given to agents.")
_started = _meter.create_counter("consort.runs.started", "{run}", "Runs that were taken up.")
_ended = _meter.create_counter("consort.runs.ended", "{run}", "Runs that ended, by how.")
_running = _meter.create_histogram(
    "consort.run.duration",
    "s",
    "From a run being taken up to its end.",
    explicit_bucket_boundaries_advisory=_WORKS,
)
_fenced = _meter.create_counter(
    "consort.fence.refusals", "{entry}", "Entries not stored because another writer came first."
)
_aside = _meter.create_counter("consort.dead_letters", "{message}", "Messages that were set aside.")
_again = _meter.create_counter("consort.redeliveries", "{message}", "Messages that came again.")


# --- messages


def sent(template: str, count: int = 1, error: str = "") -> None:
    """So many messages were stored."""
    _sent.add(count, _of(template, "publish", error))


def consumed(template: str, count: int, again: int = 0) -> None:
    """So many messages came, some of them again."""
    _consumed.add(count, _of(template, "fetch"))
    if again:
        came_again(template, again)


def came_again(template: str, count: int) -> None:
    _again.add(count, {TEMPLATE: template})


def processed(template: str, seconds: float, error: str = "") -> None:
    """What came together was seen to, or could not be because of `error`, the name of a class."""
    _processing.record(seconds, _of(template, "process", error))


def fence_refused(count: int = 1) -> None:
    _fenced.add(count)


def set_aside(kind: str, count: int = 1) -> None:
    """Messages became dead letters of a kind."""
    _aside.add(count, {REASON: kind})


# --- runs and tasks, as orchestrators decide


def run_started(count: int = 1) -> None:
    _started.add(count)


def run_ended(state: Ended, seconds: float | None, count: int = 1) -> None:
    """`seconds` since the run was taken up, if it was."""
    _ended.add(count, {STATE: state})
    if seconds is not None:
        _running.record(seconds, {STATE: state})


def task_granted(agent: str, skill: str, decided_in: float | None) -> None:
    """A task was given out; `decided_in` seconds after the report that led to it was stored, if one did."""
    about = {AGENT: agent, SKILL: skill}
    _granted.add(1, about)
    if decided_in is not None:
        _decisions.record(max(decided_in, 0.0), about)


def attempt_ended(agent: str, skill: str, outcome: Outcome, kind: str = "") -> None:
    _attempts.add(1, {AGENT: agent, SKILL: skill, OUTCOME: outcome} | _error(kind))


# --- tasks, as agents do them


def task_begun(agent: str, skill: str, waited: float) -> None:
    """A task was begun that had been stored `waited` seconds before."""
    _pickups.record(max(waited, 0.0), {AGENT: agent, SKILL: skill})


def skill_ended(agent: str, skill: str, outcome: Outcome, seconds: float, kind: str = "") -> None:
    about = {GEN_AI_OPERATION: "invoke_agent", AGENT: agent, SKILL: skill, OUTCOME: outcome}
    _invocations.record(seconds, about | _error(kind))


# --- what is looked up when somebody takes the figures


@dataclass(frozen=True, slots=True)
class Queue:
    """An agent's tasks on the log: not delivered, delivered and unfinished, and how old the first is, in seconds."""

    agent: str
    pending: int
    in_hand: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Whole:
    """The whole system, as one of the orchestrators sees it; without `open_runs` nobody counted them."""

    queues: tuple[Queue, ...] = ()
    open_runs: int | None = None


def observe_process(role: str, name: str, unready: Callable[[], str], reconnects: Callable[[], int]) -> None:
    """Figures of every process. Called once in it."""
    about = {ROLE: role, NAME: name}
    _gauge(
        "consort.process.ready",
        "1",
        "Whether the process does its part: 1 or 0.",
        lambda: [Observation(0 if unready() else 1, about)],
    )
    _meter.create_observable_counter(
        "consort.bus.reconnects",
        [lambda _: [Observation(reconnects(), about)]],
        "{connection}",
        "Times that the connection to the bus was lost and found again.",
    )


def observe_slots(agent: str, slots: Callable[[], int], busy: Callable[[], int]) -> None:
    """Figures of an agent's process. Called once in it."""
    about = {AGENT: agent}
    _gauge(
        "consort.agent.slots",
        "{task}",
        "Tasks that it takes at a time.",
        lambda: [Observation(slots(), about)],
    )
    _gauge("consort.agent.busy", "{task}", "Tasks that it has in hand.", lambda: [Observation(busy(), about)])


def observe_whole(look: Callable[[], Whole]) -> None:
    """Figures that one orchestrator gives for all; the others see nothing. Called once in a process."""
    _gauge(
        "consort.queue.depth",
        "{task}",
        "Tasks that no process of the agent has taken yet.",
        lambda: [Observation(queue.pending, {AGENT: queue.agent}) for queue in look().queues],
    )
    _gauge(
        "consort.queue.in_hand",
        "{task}",
        "Tasks that processes of the agent have taken and not finished.",
        lambda: [Observation(queue.in_hand, {AGENT: queue.agent}) for queue in look().queues],
    )
    _gauge(
        "consort.queue.age",
        "s",
        "How long the first task that nobody has taken yet has been waiting.",
        lambda: [Observation(queue.oldest, {AGENT: queue.agent}) for queue in look().queues],
    )
    _gauge(
        "consort.runs.open",
        "{run}",
        "Runs that have not ended.",
        lambda: [Observation(found)] if (found := look().open_runs) is not None else [],
    )


def _gauge(name: str, unit: str, description: str, observe: Callable[[], Iterable[Observation]]) -> None:
    def observed(_options: CallbackOptions) -> Iterable[Observation]:
        return observe()

    _meter.create_observable_gauge(name, [observed], unit, description)


def _of(template: str, operation: str, error: str = "") -> dict[str, str]:
    about = {SYSTEM: "nats", OPERATION: operation, TEMPLATE: template}
    if error:
        about[ERROR] = error
    return about


def _error(kind: str) -> dict[str, str]:
    return {ERROR: kind if kind in KNOWN_KINDS else OTHER} if kind else {}
