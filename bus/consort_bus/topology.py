"""The streams and consumers that must exist, as data, and how they come to.

Decides nothing about rights or messages. `ensure` is for the provisioner, `check`
and `require` for whoever starts and wants to know whether all is as it should be.

What is not obvious:

* LOG refuses new messages where other streams would drop old ones, per subject too:
  a run's first entries are its history.
* Rollup headers are off everywhere but on TIMERS: with them, whoever may write one
  key of a bucket could wipe the whole of it. Schedules cannot be had without them.
* TIMERS has no age limit, because the server would age schedules out before they are
  due. Fired timers go away by a time to live instead: whoever sets a timer sends
  `Nats-Schedule-TTL: FIRED_TIMER_TTL`. It is cancelled by overwriting it with an empty
  message that has a `Nats-TTL`. The INBOX must not allow message TTLs: a sourced message
  keeps that header, and a fired timer would expire before it is judged.
* The server honours fractions of a second in `@at`, but looks at new schedules a
  quarter of a second later at the soonest, and at those already due a second later.
* The inbox's window for message ids is as short as the server allows: ids are compared
  over the whole stream, so a guessed one would silence another sender.
* A cluster that lost a node looks smaller than it is, so the number of copies is never
  lowered unless somebody asks for it.
* Ages are set by whoever sets up and then left alone, see `retention`.
* The inbox has a bound by number, not by size: the server sets a size aside when the
  stream is made and refuses to make it where it does not fit.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from consort_bus import jetstream, subjects
from consort_bus.connection import Bus
from consort_bus.errors import BusUnsuitable, NoAnswer
from consort_bus.retention import DEAD_KEPT, LOG_KEPT, Keep, ages, kept, nanoseconds

Config: TypeAlias = Mapping[str, Any]
"""A stream's or consumer's configuration in the server's own JSON form; durations in nanoseconds."""

FIRED_TIMER_TTL = "24h"
PRIORITY_GROUP = "orchestrators"
ENTRIES_PER_SUBJECT = 100_000
CONTEXT_HISTORY = 16
PROFILE_HISTORY = 1000
"""Versions of a profile that are kept: one that a task was given must be there when the task comes again."""
TOOLBOX_HISTORY = 64
HOST_ACK_PENDING = 256
SHARD_ACK_WAIT = timedelta(seconds=2.5)
SHARD_PIN_TIMEOUT = timedelta(seconds=2)
SHARD_ACK_PENDING = 64
AGENT_PULL_EXPIRES = timedelta(seconds=60)
INBOX_MSGS = 100_000
"""Messages that may wait to be judged, where nobody set another limit; more are refused."""
CLUSTER_REPLICAS = 3
MEND = "set it up with `consort bus setup`"

_NOT_FOUND = frozenset({10059, 10014})  # stream, consumer
_NO_JETSTREAM = frozenset({10039, 10076})
NOT_NOW = frozenset({10008, 10009, 10118})
"""Codes of a cluster without a leader, of a stream without one, and of one that is offline."""
_NO_PEERS = 10005
_NO_RESPONSE = 5.0
_NO_LEADER = 1.0
"""Seconds after which a question to a cluster is asked again: it is lost if there was no leader to hear it."""
PATIENCE = 20.0
"""Seconds for which servers that look for a leader are waited for."""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """A stream as it should be."""

    name: str
    config: Config = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConsumerPlan:
    """A durable consumer as it should be."""

    stream: str
    name: str
    config: Config = field(repr=False)

    @property
    def create_subject(self) -> str:
        only = self.config.get("filter_subject")
        return jetstream.consumer_create(self.stream, self.name, only)

    def create_request(self) -> bytes:
        """Creates the consumer, or brings an existing one of that name to this configuration."""
        return json.dumps({"stream_name": self.stream, "config": dict(self.config), "action": ""}).encode()


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything that must exist. Streams in the order of creation: sources before what sources them."""

    streams: tuple[StreamPlan, ...]
    consumers: tuple[ConsumerPlan, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What streams may hold, and for how long. What is None stays as it is; an inbox without a limit gets INBOX_MSGS.

    The server sets `log_bytes` aside for each copy when it is told, and refuses if it has not so much.
    """

    log_bytes: int | None = None
    inbox_msgs: int | None = None
    keep: Keep = field(default_factory=Keep)

    def of(self, stream: str, found: Config | None) -> Config:
        """The limits of a stream which is there already, or not yet."""
        if stream == subjects.LOG and self.log_bytes is not None:
            return {"max_bytes": self.log_bytes}
        if stream == subjects.INBOX:
            if self.inbox_msgs is not None:
                return {"max_msgs": self.inbox_msgs}
            if found is None or found.get("max_msgs", -1) <= 0:
                return {"max_msgs": INBOX_MSGS}
        return {}


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between what is there and what should be; `key` is "" when nothing is there at all.

    `mend` is what to do. A "warning" is not wrong yet, or could not be found out.
    """

    what: str
    key: str
    wanted: Any
    found: Any
    mend: str = MEND
    level: Literal["wrong", "warning"] = "wrong"

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.key} is {self.found!r}, not {self.wanted!r}"
            if self.key
            else f"{self.what} is missing"
        )


@dataclass(frozen=True, slots=True)
class Change:
    """Something `ensure` did."""

    what: str
    done: Literal["created", "updated"]
    because: tuple[Finding, ...]


def wanted(replicas: int = 1) -> Topology:
    """The topology with so many copies of everything: 1 on a single server, 3 or 5 on a cluster."""
    streams = tuple(StreamPlan(name, _stream(name, replicas, **extra)) for name, extra in _STREAMS.items())
    return Topology(streams, tuple(_shard_consumer(shard) for shard in range(subjects.SHARDS)))


def agent_consumer(
    name: str, ack_wait: timedelta = timedelta(seconds=30), max_ack_pending: int = 16
) -> ConsumerPlan:
    """An agent's durable consumer of the log: the tasks addressed to it, in entries and in copies.

    Orchestrators create it. One pull may ask for no more than may be unacknowledged at a time, so
    that one instance cannot hoard what others could do. It has several filters, so none stands in
    the subject of the request.
    """
    consumer = subjects.agent_consumer_name(name)
    config = {
        "name": consumer,
        "durable_name": consumer,
        "filter_subjects": list(subjects.agent_task_filters(name)),
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": nanoseconds(ack_wait),
        "max_deliver": -1,
        "max_ack_pending": max_ack_pending,
        "max_batch": max_ack_pending,
        "max_expires": nanoseconds(AGENT_PULL_EXPIRES),
    }
    return ConsumerPlan(subjects.LOG, consumer, config)


def host_consumer(name: str, ack_wait: timedelta = timedelta(seconds=10)) -> ConsumerPlan:
    """A tool host's durable consumer of the calls to it, shared by all its processes.

    The provisioner creates it when it approves the host's tools: hosts and orchestrators may not.
    """
    consumer = subjects.host_consumer_name(name)
    config = {
        "name": consumer,
        "durable_name": consumer,
        "filter_subject": subjects.tool_calls_to(name),
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": nanoseconds(ack_wait),
        "max_deliver": -1,
        "max_ack_pending": HOST_ACK_PENDING,
        "max_batch": HOST_ACK_PENDING,
        "max_expires": nanoseconds(AGENT_PULL_EXPIRES),
    }
    return ConsumerPlan(subjects.TOOLS, consumer, config)


async def ensure(bus: Bus, replicas: int | None = None, *, limits: Limits = Limits()) -> list[Change]:
    """Creates what is missing and mends what differs; what it did. Doing it again does nothing.

    Without `replicas` there are three copies of everything in a cluster of three or more, or as many
    as there were before if those were more. When it returns, everything has a leader and can be used.
    Raises AccessDenied for any role but the provisioner, NoAnswer while the cluster is without a
    leader, BusUnsuitable when the server refuses a configuration, as it does to change what a
    stream is at heart, and NotToBeKept.
    """
    existing = await _existing(bus, wanted())
    copies = replicas or default_replicas(bus)
    topology = _kept_as_found(wanted(copies), existing, limits.keep)
    changes: list[Change] = []
    for plan in topology.streams:
        found = existing[plan.name]
        wants = {**plan.config, **limits.of(plan.name, found)}
        if replicas is None and found is not None:
            wants["num_replicas"] = max(copies, found.get("num_replicas", 1))
        because = tuple(_differences(f"stream {plan.name}", wants, found))
        if not because:
            continue
        subject = jetstream.stream_create(plan.name) if found is None else jetstream.stream_update(plan.name)
        await _ask(bus, subject, json.dumps({**(found or {}), **wants}).encode())
        changes.append(Change(f"stream {plan.name}", "created" if found is None else "updated", because))
    todo = [
        (plan, because, existing[plan.name] is None)
        for plan in topology.consumers
        if (because := tuple(_differences(f"consumer {plan.name}", plan.config, existing[plan.name])))
    ]
    await asyncio.gather(*(_ask(bus, plan.create_subject, plan.create_request()) for plan, _, _ in todo))
    changes.extend(
        Change(f"consumer {plan.name}", "created" if new else "updated", because)
        for plan, because, new in todo
    )
    if changes:
        await _existing(bus, topology)  # only a leader answers
    return changes


def default_replicas(bus: Bus) -> int:
    """How many copies the servers are good for, as far as they can see each other now."""
    greeting = bus.greeting
    in_sight = len(greeting.get("connect_urls") or ())
    return CLUSTER_REPLICAS if greeting.get("cluster") and in_sight >= CLUSTER_REPLICAS else 1


async def create_consumer(bus: Bus, plan: ConsumerPlan) -> None:
    """Creates a consumer or brings it to the plan. Raises BusUnsuitable, AccessDenied, NoAnswer."""
    await _ask(bus, plan.create_subject, plan.create_request())


async def check(bus: Bus, replicas: int | None = None, *, patience: float = PATIENCE) -> list[Finding]:
    """What is missing or different; the number of copies is compared only if given.

    For orchestrators and the provisioner: others may not look. Of a cluster that looks for a leader
    an answer is waited for, `patience` seconds. Raises NoAnswer, BusUnsuitable, AccessDenied.
    """
    topology = wanted(replicas or 1)
    existing = await _existing(bus, topology, patience)
    topology = _kept_as_found(topology, existing, Keep())
    findings: list[Finding] = []
    for plan in topology.streams:
        findings.extend(_differences(f"stream {plan.name}", plan.config, existing[plan.name]))
    for consumer in topology.consumers:
        findings.extend(_differences(f"consumer {consumer.name}", consumer.config, existing[consumer.name]))
    return [finding for finding in findings if replicas is not None or finding.key != "num_replicas"]


async def keeps(bus: Bus, *, patience: float = PATIENCE) -> dict[str, timedelta]:
    """By stream that ages: how long it keeps what is on it. For whom and with what errors as `check`."""
    streams = Topology(tuple(plan for plan in wanted().streams if "max_age" in plan.config), ())
    return kept(await _existing(bus, streams, patience))


async def require(bus: Bus, replicas: int | None = None) -> None:
    """Raises BusUnsuitable, with the command that mends it, unless all is as it should be."""
    findings = await check(bus, replicas)
    if not findings:
        return
    shown = "; ".join(map(str, findings[:3])) + (
        f"; and {len(findings) - 3} more" if len(findings) > 3 else ""
    )
    raise BusUnsuitable(f"the bus at {bus.url} is not set up: {shown}", MEND)


def _kept_as_found(topology: Topology, existing: Mapping[str, Config | None], keep: Keep) -> Topology:
    """The topology with the ages that were set before, or are wanted now. Raises NotToBeKept."""
    usual = {plan.name: plan.config["max_age"] for plan in topology.streams if "max_age" in plan.config}
    set_to = ages(existing, usual, keep)
    streams = tuple(
        replace(plan, config={**plan.config, "max_age": set_to[plan.name]}) if plan.name in set_to else plan
        for plan in topology.streams
    )
    return replace(topology, streams=streams)


def _bucket(filter_subject: str, history: int, **extra: Any) -> dict[str, Any]:
    return {"subjects": [filter_subject], "max_msgs_per_subject": history, "deny_delete": True, **extra}


_STREAMS: dict[str, dict[str, Any]] = {
    subjects.LOG: {
        "subjects": [subjects.ENTRIES_FILTER, subjects.COPIES_FILTER],
        "discard_new_per_subject": True,
        "max_msgs_per_subject": ENTRIES_PER_SUBJECT,
        "max_age": nanoseconds(LOG_KEPT),
        "deny_delete": True,
        "deny_purge": True,
    },
    subjects.TIMERS: {
        "subjects": [subjects.TIMER_SET_FILTER, subjects.TIMER_FIRE_FILTER],
        "discard": "old",  # the server refuses schedules on a stream that refuses messages
        "max_msgs_per_subject": 1,
        "allow_msg_schedules": True,
        "allow_msg_ttl": True,
        "allow_rollup_hdrs": True,
    },
    subjects.INBOX: {
        "subjects": list(subjects.INCOMING_FILTERS),
        "retention": "workqueue",
        "duplicate_window": nanoseconds(timedelta(milliseconds=100)),
        "subject_transform": subjects.INCOMING_TRANSFORM,
        "sources": [{"name": subjects.TIMERS, "subject_transforms": [subjects.TIMER_TRANSFORM]}],
    },
    subjects.DEAD: {
        "subjects": [subjects.DEAD_FILTER],
        "max_age": nanoseconds(DEAD_KEPT),
        "deny_delete": True,
    },
    subjects.CONTEXT: _bucket(subjects.CONTEXT_FILTER, CONTEXT_HISTORY, max_age=nanoseconds(LOG_KEPT)),
    subjects.AGENTS: _bucket(subjects.AGENTS_FILTER, 1, allow_msg_ttl=True),
    subjects.WAITING: _bucket(subjects.WAITING_FILTER, 1, allow_msg_ttl=True),
    subjects.CONTROL: _bucket(subjects.CONTROL_FILTER, 1, allow_msg_ttl=True),
    subjects.ARTEFACTS: _bucket(subjects.ARTEFACTS_FILTER, 1, max_age=nanoseconds(LOG_KEPT)),
    subjects.JOURNAL: {
        "subjects": [subjects.JOURNAL_FILTER],
        "max_age": nanoseconds(LOG_KEPT),
        "deny_delete": True,
        "deny_purge": True,
    },
    subjects.TOOLS: {
        "subjects": [subjects.TOOL_CALLS_FILTER, subjects.TOOL_DONE_FILTER, subjects.TOOL_ANSWERS_FILTER],
        "max_age": nanoseconds(LOG_KEPT),
        "deny_delete": True,
    },
    subjects.TOOLBOX: _bucket(subjects.TOOLBOX_FILTER, TOOLBOX_HISTORY, allow_msg_ttl=True),
    subjects.PROFILES: _bucket(subjects.PROFILES_FILTER, PROFILE_HISTORY),
    subjects.RATES: _bucket(subjects.RATES_FILTER, 1, allow_msg_ttl=True),
}


def _stream(name: str, replicas: int, **extra: Any) -> Config:
    return {
        "name": name,
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "num_replicas": replicas,
        "allow_direct": True,
        "allow_rollup_hdrs": False,
        "allow_msg_ttl": False,
        **extra,
    }


def _shard_consumer(shard: int) -> ConsumerPlan:
    """One part of the inbox. Pinned to one orchestrator at a time, which saves work and fences nothing."""
    consumer = subjects.shard_consumer_name(shard)
    config = {
        "name": consumer,
        "durable_name": consumer,
        "filter_subject": subjects.shard_filter(shard),
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": nanoseconds(SHARD_ACK_WAIT),
        "max_deliver": -1,
        "max_ack_pending": SHARD_ACK_PENDING,
        "priority_policy": "pinned_client",
        "priority_groups": [PRIORITY_GROUP],
        "priority_timeout": nanoseconds(SHARD_PIN_TIMEOUT),
    }
    return ConsumerPlan(subjects.INBOX, consumer, config)


async def _existing(bus: Bus, topology: Topology, patience: float = PATIENCE) -> dict[str, Config | None]:
    """The configurations that are there, by name; None for what is not. All asked at once."""
    asked = {plan.name: jetstream.stream_info(plan.name) for plan in topology.streams}
    asked |= {plan.name: jetstream.consumer_info(plan.stream, plan.name) for plan in topology.consumers}
    answers = await asyncio.gather(
        *(_ask(bus, subject, b"", absent_is_fine=True, patience=patience) for subject in asked.values())
    )
    return {name: answer and answer["config"] for name, answer in zip(asked, answers, strict=True)}


async def _ask(
    bus: Bus, subject: str, body: bytes, *, absent_is_fine: bool = False, patience: float = PATIENCE
) -> dict[str, Any] | None:
    answer = await _patiently(bus, subject, body, patience)
    error = answer.get("error")
    if error is None:
        return answer
    if error.get("err_code") in _NOT_FOUND and absent_is_fine:
        return None
    if error.get("err_code") in _NO_JETSTREAM:
        raise BusUnsuitable(
            f"the account at {bus.url} may not use JetStream", "allow it in the account's limits"
        )
    what = f"the server refuses {subject.removeprefix('$JS.API.')}: {error.get('description')}"
    if error.get("err_code") in NOT_NOW:
        raise BusUnsuitable(what, "most of the servers must run; see `consort bus status`")
    if error.get("err_code") == _NO_PEERS:
        raise BusUnsuitable(what, "so many copies need as many servers with room; see `consort bus check`")
    raise BusUnsuitable(
        what, "see the server's log; a stream of another kind under this name must be removed first"
    )


async def _patiently(bus: Bus, subject: str, body: bytes, patience: float) -> dict[str, Any]:
    """The answer; asked again while the servers look for a leader. To ask all this twice does no harm."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    changing = ".CREATE." in subject or ".UPDATE." in subject
    wait = _NO_RESPONSE if changing or not bus.greeting.get("cluster") else _NO_LEADER
    while True:
        try:
            reply = await bus.request(subject, body, timeout=wait)
            answer: dict[str, Any] = json.loads(reply.data)
            code = answer.get("error", {}).get("err_code")
            in_time = loop.time() < until and bool(bus.greeting.get("cluster"))
            if not in_time or code not in (NOT_NOW | {_NO_PEERS}):
                return answer
        except NoAnswer as exc:
            if loop.time() >= until or not bus.greeting.get("cluster") or bus.nc.is_closed:
                if exc.reason != "no responders":
                    raise
                raise BusUnsuitable(
                    f"JetStream at {bus.url} does not answer", "switch it on, or wait for a leader"
                ) from exc
        await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: S311


def _differences(what: str, wants: Config, found: Config | None) -> Iterable[Finding]:
    if found is None:
        yield Finding(what, "", None, None)
        return
    for key, value in wants.items():
        if not _same(value, found.get(key)):
            yield Finding(what, key, value, found.get(key))


def _same(wants: Any, found: Any) -> bool:
    """Equal but for what the server adds of itself, and for what it leaves out because it is nothing."""
    if isinstance(wants, Mapping) and isinstance(found, Mapping):
        return all(_same(value, found.get(key)) for key, value in wants.items())
    if isinstance(wants, list) and isinstance(found, list):
        return len(wants) == len(found) and all(map(_same, wants, found))
    return bool(wants == found) or (not wants and not found)
