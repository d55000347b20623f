"""From a delivered message to a task that can be worked on.

Checks that the message is a genuine task for this agent and unlocks the attempt's
token; puts earlier results into the inputs. These are two acts, because an attempt
whose inputs cannot be had can still be reported on. Does not run anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from consort_agents.artefacts import Store
from consort_agents.context import Value
from consort_bus.envelope import CONTENT_TYPE, AgentSeal, body_of
from consort_bus.subjects import CopySubject, EntrySubject
from consort_shared.codec import unpack
from consort_shared.entries import Accepted, Granted, HandOff
from consort_shared.errors import DecodeError
from consort_shared.messages import Output
from consort_shared.upcast import read_delivery, read_entry
from consort_shared.values import Json, pick

_parsed = lru_cache(maxsize=4096)(EntrySubject.parse)  # a run's tasks for one agent come under one subject


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt at a step, as it was granted, and the token that proves it was received."""

    run: str
    granted: Granted
    token: bytes
    at_hand: Mapping[str, Output]
    """results that came in the same entry, by path"""

    @property
    def key(self) -> tuple[str, str]:
        return self.run, self.granted.task

    @property
    def handoff(self) -> HandOff:
        return self.granted.handoff


class NotATask(Exception):
    """A message on the agent's subjects that is no genuine task for it."""


async def read_task(
    subject: str, data: bytes, headers: Mapping[str, str] | None, agent: str, seal: AgentSeal, store: Store
) -> Task:
    """Read a delivered task. Raises NotATask, DecodeError, TooNew, BusError."""
    if headers is None or not seal.genuine_task(subject, data, headers):
        raise NotATask("its code does not prove that an orchestrator sent it to this agent")
    granted, run, at_hand = await _granted(subject, data, headers, agent, store)
    return Task(run, granted, seal.token(headers, run, granted.task, granted.nonce), at_hand)


async def inputs_of(task: Task, store: Store) -> dict[str, Json]:
    """The inputs with earlier results in their holes. Raises DecodeError, NoSuchPath, BusError."""
    if not task.granted.holes:
        return task.granted.inputs
    outputs = {prior.path: prior.output or task.at_hand.get(prior.path) for prior in task.handoff.priors}
    return await _filled(task.granted, outputs, store)


async def values_of(task: Task, store: Store) -> dict[str, Value]:
    """The context values that the step declares. Raises DecodeError, BusError."""
    values = {}
    for item in task.handoff.context:
        value = item.output.value if item.output.ref is None else unpack(await store.get(item.output.ref))
        values[item.key] = Value(value, item.revision, item.author, item.confidence)
    return values


async def _granted(
    subject: str, data: bytes, headers: Mapping[str, str], agent: str, store: Store
) -> tuple[Granted, str, dict[str, Output]]:
    body = await body_of(data, headers, store)
    if (copy := CopySubject.parse(subject)) is not None:
        delivery = read_delivery(body, headers.get(CONTENT_TYPE))
        if delivery.run != copy.run or delivery.granted.task != copy.task or copy.agent != agent:
            raise NotATask("its body is about another task than its subject")
        return delivery.granted, delivery.run, {}
    where = _parsed(subject)
    if where is None or where.agent != agent:
        raise NotATask(f"{subject} is not addressed to this agent")
    entry = read_entry(body, headers.get(CONTENT_TYPE))
    grants = [fact for fact in entry.facts if isinstance(fact, Granted)]
    if entry.run != where.run or len(grants) != 1 or grants[0].agent != agent:
        raise NotATask("an entry addressed to an agent gives it one task; this one does not")
    at_hand = {fact.path: fact.output for fact in entry.facts if isinstance(fact, Accepted)}
    return grants[0], entry.run, at_hand


async def _filled(granted: Granted, outputs: Mapping[str, Output | None], store: Store) -> dict[str, Json]:
    """The inputs with earlier results in their holes; each stored result is fetched once."""
    values: dict[str, Json] = {}
    wanted = {hole.prior for hole in granted.holes}
    for path in wanted:
        output = outputs.get(path)
        if output is None:
            raise DecodeError(b"", f"the hand-off lacks the result of {path}, which the inputs need")
        values[path] = output.value
    stored = [
        (path, out.ref) for path in wanted if (out := outputs[path]) is not None and out.ref is not None
    ]
    fetched = await asyncio.gather(*(store.get(ref) for _, ref in stored)) if stored else []
    for (path, _), raw in zip(stored, fetched, strict=True):
        values[path] = unpack(raw)
    root: Json = granted.inputs
    for hole in granted.holes:
        container = root
        for part in hole.at[:-1]:
            container = container[part]
        container[hole.at[-1]] = pick(values[hole.prior], hole.path)
    inputs: dict[str, Json] = root
    return inputs
