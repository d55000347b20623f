"""Who is there, and what was put down for others: signs of life, pauses, the waiting list, dead letters.

Read by direct get, so nobody notices. An operator holds no key, so who wrote a sign of
life is not checked here as orchestrators do: it is what somebody says of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pydantic import TypeAdapter

from consort_bus import jetstream, subjects
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE
from consort_bus.health import ask, subjects_of
from consort_bus.letters import Letter, letter_of
from consort_bus.reading import Stored, last_of, read
from consort_bus.subjects import (
    AgentSubject,
    DeadSubject,
    OrchestratorSubject,
    PauseSubject,
    SettledSubject,
    WaitingSubject,
)
from consort_bus.wire import Wire
from consort_shared.card import Presence
from consort_shared.codec import decode
from consort_shared.control import OrchestratorPresence, PauseMark
from consort_shared.errors import DecodeError

__all__ = [
    "EVERYTHING",
    "Letters",
    "Waiter",
    "agents_there",
    "letters_kept",
    "orchestrators_there",
    "pauses_on",
    "waiting_list",
]

T = TypeVar("T")
EVERYTHING = ""
"""Stands for all agents where the name of one that is paused would stand."""
PATIENCE = 3.0
"""Seconds; a bucket that does not exist does not answer."""


@dataclass(frozen=True, slots=True)
class Waiter:
    """A run on the waiting list for a skill."""

    skill: str
    run: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Letters:
    """What was set aside: how many letters are unsettled and settled.

    `looked_at` is how many of the newest letters were read; `newest` has those of them that are unsettled.
    """

    unsettled: int
    settled: int
    looked_at: int
    newest: tuple[Letter, ...]


async def agents_there(wire: Wire) -> list[Presence]:
    """The agents' processes that have shown a sign of life lately. Raises BusError."""
    adapter: TypeAdapter[Presence] = TypeAdapter(Presence)
    found = await _values(wire, subjects.AGENTS, subjects.AGENTS_FILTER)
    there = (_decoded(adapter, stored) for stored in found if AgentSubject.parse(stored.subject) is not None)
    return sorted((one for one in there if one is not None), key=lambda one: (one.card.name, one.started))


async def orchestrators_there(wire: Wire) -> list[OrchestratorPresence]:
    """The orchestrators that have shown a sign of life lately. Raises BusError."""
    adapter: TypeAdapter[OrchestratorPresence] = TypeAdapter(OrchestratorPresence)
    found = await _values(wire, subjects.CONTROL, subjects.ORCHESTRATORS_FILTER)
    there = (_decoded(adapter, one) for one in found if OrchestratorSubject.parse(one.subject) is not None)
    return sorted((one for one in there if one is not None), key=lambda one: (one.name, one.started))


async def pauses_on(wire: Wire) -> dict[str, PauseMark]:
    """What is paused, by agent, with `EVERYTHING` for all of them. Raises BusError."""
    adapter: TypeAdapter[PauseMark] = TypeAdapter(PauseMark)
    marks: dict[str, PauseMark] = {}
    for stored in await _values(wire, subjects.CONTROL, subjects.PAUSES_FILTER):
        where, mark = PauseSubject.parse(stored.subject), _decoded(adapter, stored)
        if where is not None and mark is not None:
            marks[where.agent or EVERYTHING] = mark
    return marks


async def waiting_list(wire: Wire) -> list[Waiter]:
    """The runs that wait for a skill, those that wait longest first. Raises BusError."""
    found = []
    async for stored in read(wire, subjects.WAITING, subjects.WAITING_FILTER, patience=PATIENCE):
        where = WaitingSubject.parse(stored.subject)
        if where is not None and not _deleted(stored):
            found.append(Waiter(where.skill, where.run, stored.time))
    return found


async def letters_kept(bus: Bus, wire: Wire, newest: int) -> Letters:
    """The letters of the stream; of those among its so many newest messages it is told what they are.

    Raises BusError.
    """
    state = (await ask(bus, jetstream.stream_info(subjects.DEAD))).get("state", {})
    first, last = state.get("first_seq", 0), state.get("last_seq", 0)
    held = await subjects_of(bus, subjects.DEAD, subjects.DEAD_FILTER)
    total = sum(count for subject, count in held.items() if DeadSubject.parse(subject) is not None)
    marks = (SettledSubject.parse(subject) for subject in held)
    settled = {mark.letter for mark in marks if mark is not None and mark.letter >= first}
    recent: list[Letter] = []
    if total:
        start = max(last - newest + 1, first)
        async for stored in read(wire, subjects.DEAD, subjects.DEAD_FILTER, start, patience=PATIENCE):
            if (letter := letter_of(stored)) is not None:
                recent.append(letter)
    left = tuple(letter for letter in recent if letter.id not in settled)
    return Letters(max(total - len(settled), len(left)), len(settled), len(recent), left)


async def _values(wire: Wire, stream: str, subject_filter: str) -> list[Stored]:
    found = await last_of(wire, stream, [subject_filter], patience=PATIENCE)
    return [stored for stored in found if not _deleted(stored)]


def _deleted(stored: Stored) -> bool:
    headers: Mapping[str, str] = stored.headers
    return "KV-Operation" in headers or "Nats-Marker-Reason" in headers


def _decoded(adapter: TypeAdapter[T], stored: Stored) -> T | None:
    try:
        return decode(adapter, stored.data, stored.headers.get(CONTENT_TYPE))
    except DecodeError:
        return None
