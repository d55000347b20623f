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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from opentelemetry.metrics import CallbackOptions, Histogram, Observation, get_meter

from consort_shared.usage import NANO, Usage

SCOPE = "consort"
SYSTEM, OPERATION, TEMPLATE = (
    "messaging.system",
    "messaging.operation.name",
    "messaging.destination.template",
)
AGENT, GEN_AI_OPERATION, ERROR = "gen_ai.agent.name", "gen_ai.operation.name", "error.type"
HOST, TOOL = "consort.tool.host", "gen_ai.tool.name"
SKILL, OUTCOME, STATE, REASON = "consort.skill", "consort.outcome", "consort.state", "consort.reason"
ROLE_OF_TOKENS = "gen_ai.token.type"
ROLE, NAME, KEY = "consort.role", "consort.name", "consort.limits.key"
ENTRIES, COPIES, INBOX, TASKS = "log.{run}.entry", "log.{run}.copy", "in.{sender}.{run}", "log.{run}.{agent}"
"""Kinds of subjects that messages are sent under or taken from."""
OTHER = "_OTHER"
KNOWN_KINDS = frozenset(
    {
        "bad-input",
        "bad-output",
        "bad-plan",
        "context-conflict",
        "died",
        "declined",
        "exception",
        "no-answer",
        "no-skill",
    }
    | {"not-done", "poison", "skill-error", "timeout", "unreadable-task"}
    | {"no-model", "no-tool", "tool-failed", "unknown-tool", "journal-diverged", "replay-drift"}
    | {f"model-{kind}" for kind in ("error", "unusable", "request", "context", "limited", "overloaded")}
    | {f"model-{kind}" for kind in ("unreachable", "timeout", "cut", "misfit", "refused")}
    | {f"limit-{kind}" for kind in ("turns", "calls", "tool-calls", "tokens", "dollars", "seconds")}
    | {f"loop-{kind}" for kind in ("same", "pingpong", "stuck")}
)
"""Kinds of failure that are ours. An author's own may be anything, so they count as one."""

Outcome: TypeAlias = Literal["done", "failed", "declined", "in-doubt", "called-off", "no-report"]
Ended: TypeAlias = Literal["completed", "failed", "cancelled", "refused"]
ENDS: tuple[Ended, ...] = ("completed", "failed", "cancelled", "refused")
"""How a run ends; `refused` is one that was never taken up."""

_WAITS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_WORKS: Final = (
    0.001,
    0.005,
    0.01,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    120,
    300,
    600,
    1800,
    3600,
    14400,
)

_meter = get_meter(SCOPE, importlib.metadata.version("consort-agents"))


class _Count:
    """A counter that costs next to nothing until somebody takes the figures; added to by one thread.

    `names` are the attributes that it is kept by; one with an empty value is left out.
    """

    def __init__(self, name: str, unit: str, description: str, *names: str, parts: int = 1) -> None:
        """`parts` is how many of what is counted make one of the unit."""
        self._names = names
        self._parts = parts
        self._counts: dict[tuple[str, ...], int] = {}
        _meter.create_observable_counter(name, [self._observed], unit, description)

    def add(self, count: int, *values: str) -> None:
        self._counts[values] = self._counts.get(values, 0) + count

    def _observed(self, _options: CallbackOptions) -> list[Observation]:
        return [
            Observation(
                count if self._parts == 1 else count / self._parts,
                {name: value for name, value in zip(self._names, values, strict=True) if value},
            )
            for values, count in list(self._counts.items())
        ]


def _times(name: str, bounds: tuple[float, ...], description: str) -> Histogram:
    return _meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=bounds)


_sent = _Count(
    "messaging.client.sent.messages",
    "{message}",
    "Messages stored on the bus: entries, copies, reports.",
    *(SYSTEM, OPERATION, TEMPLATE),
)
_consumed = _Count(
    "messaging.client.consumed.messages",
    "{message}",
    "Messages taken from the inbox, and tasks from the log.",
    *(SYSTEM, OPERATION, TEMPLATE),
)
_processing = _times(
    "messaging.process.duration", _WAITS, "From taking messages of a run to having them acknowledged."
)
_invocations = _times("gen_ai.invoke_agent.duration", _WORKS, "What a skill took for one attempt.")
_decisions = _times(
    "consort.handoff.decision.duration",
    _WAITS,
    "From a report being stored to the entry being stored that grants what follows.",
)
_pickups = _times(
    "consort.handoff.pickup.duration", _WAITS, "From a task being stored to an agent beginning it."
)
_running = _times("consort.run.duration", _WORKS, "From a run being taken up to its end.")
_attempts = _Count(
    "consort.attempts", "{attempt}", "Attempts that ended, as decided.", AGENT, SKILL, OUTCOME, ERROR
)
_granted = _Count("consort.tasks.granted", "{task}", "Tasks that were given to agents.", AGENT, SKILL)
_cost = _Count(
    "consort.cost",
    "{USD}",
    "What attempts that reported have cost, as far as prices are known.",
    AGENT,
    parts=NANO,
)
_tokens = _Count(
    "consort.tokens",
    "{token}",
    "Tokens that attempts which reported have used, by kind.",
    AGENT,
    ROLE_OF_TOKENS,
)
_calls = _Count(
    "consort.model.calls",
    "{call}",
    "Requests to models of attempts that reported: answered, replayed from a journal, of unknown price.",
    AGENT,
    OUTCOME,
)
_started = _Count("consort.runs.started", "{run}", "Runs that were taken up.")
_ended = _Count("consort.runs.ended", "{run}", "Runs that ended, by how.", STATE)
_fenced = _Count("consort.fence.refusals", "{entry}", "Entries not stored because another writer came first.")
_aside = _Count("consort.dead_letters", "{message}", "Messages that were set aside.", REASON)
_hosted = _Count("consort.tool.calls", "{call}", "Calls that a tool host answered.", HOST, TOOL, OUTCOME)
_hosted_for = _times("consort.tool.duration", _WORKS, "What a call of a shared tool took on its host.")
_again = _Count("consort.redeliveries", "{message}", "Messages that came again.", TEMPLATE)
_rate_waits = _times(
    "consort.limits.wait.duration", _WAITS, "What calls waited for their turn under shared limits."
)
_rate_refusals = _Count(
    "consort.limits.refusals",
    "{refusal}",
    "Refusals for the rate that made everybody with the key wait.",
    KEY,
)
_openings = _Count("consort.limits.breaker.openings", "{opening}", "Times that a breaker was opened.", KEY)


# --- messages


def sent(template: str, count: int = 1) -> None:
    """So many messages were stored."""
    _sent.add(count, "nats", "publish", template)


def consumed(template: str, count: int, again: int = 0) -> None:
    """So many messages came, some of them again."""
    _consumed.add(count, "nats", "fetch", template)
    if again:
        came_again(template, again)


def came_again(template: str, count: int) -> None:
    _again.add(count, template)


def processed(template: str, seconds: float, error: str = "") -> None:
    """What came together was seen to, or could not be because of `error`, the name of a class."""
    about = {SYSTEM: "nats", OPERATION: "process", TEMPLATE: template}
    if error:
        about[ERROR] = error
    _processing.record(seconds, about)


def fence_refused(count: int = 1) -> None:
    _fenced.add(count)


def set_aside(kind: str, count: int = 1) -> None:
    """Messages became dead letters of a kind."""
    _aside.add(count, kind)


# --- runs and tasks, as orchestrators decide


def run_started(count: int = 1) -> None:
    _started.add(count)


def run_ended(state: Ended, seconds: float | None, count: int = 1) -> None:
    """`seconds` since the run was taken up, if it was."""
    _ended.add(count, state)
    if seconds is not None:
        _running.record(seconds, {STATE: state})


def task_granted(agent: str, skill: str, decided_in: float | None) -> None:
    """A task was given out; `decided_in` seconds after the report that led to it was stored, if one did."""
    _granted.add(1, agent, skill)
    if decided_in is not None:
        _decisions.record(max(decided_in, 0.0), {AGENT: agent, SKILL: skill})


def attempt_ended(agent: str, skill: str, outcome: Outcome, kind: str = "") -> None:
    _attempts.add(1, agent, skill, outcome, _known(kind))


def used(agent: str, usage: Usage) -> None:
    """An attempt has reported what it used. What an agent's own process counts (`gen_ai.client.*`) is not this."""
    if usage.cost:
        _cost.add(usage.cost, agent)
    for kind, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
        if tokens:
            _tokens.add(tokens, agent, kind)
    calls = (("answered", usage.calls), ("replayed", usage.replayed), ("unpriced", usage.unpriced))
    for outcome, number in calls:
        if number:
            _calls.add(number, agent, outcome)


# --- tasks, as agents do them


def task_begun(agent: str, skill: str, waited: float) -> None:
    """A task was begun that had been stored `waited` seconds before."""
    _pickups.record(max(waited, 0.0), {AGENT: agent, SKILL: skill})


def skill_ended(agent: str, skill: str, outcome: Outcome, seconds: float, kind: str = "") -> None:
    about = {GEN_AI_OPERATION: "invoke_agent", AGENT: agent, SKILL: skill, OUTCOME: outcome}
    if kind:
        about[ERROR] = _known(kind)
    _invocations.record(seconds, about)


# --- shared tools, as their hosts do them


def tool_answered(host: str, tool: str, outcome: str, seconds: float | None) -> None:
    """A call was answered: done, saved, refused, late, in-doubt. `seconds` that the tool took, if it was called."""
    _hosted.add(1, host, tool, outcome)
    if seconds is not None:
        _hosted_for.record(seconds, {HOST: host, TOOL: tool})


# --- limits that processes share


def call_waited(key: str, seconds: float) -> None:
    """A call under shared limits came to its turn."""
    _rate_waits.record(max(seconds, 0.0), {KEY: key})


def rate_refused(key: str) -> None:
    _rate_refusals.add(1, key)


def breaker_opened(key: str) -> None:
    _openings.add(1, key)


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


def observe_breakers(look: Callable[[], Mapping[str, bool]]) -> None:
    """Whether breakers are open, as a process knows. Called once in it."""
    _gauge(
        "consort.limits.breaker.open",
        "1",
        "Whether calls under shared limits are held back because of trouble with the provider: 1 or 0.",
        lambda: [Observation(int(is_open), {KEY: key}) for key, is_open in look().items()],
    )


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


def _known(kind: str) -> str:
    return kind if kind in KNOWN_KINDS or not kind else OTHER
