"""Profiles on the bus: versions of who an agent is and how it works, one subject an agent.

A version is a revision of the agent's key, and the revision is its sequence in the
bucket. Whoever may make a request can have the server write an answer there too, so a
revision counts only if it was not forwarded by the server, decodes whole, and names
the agent under whose key it lies. What does not count is passed over: the version
before it stands. Reading needs no right but direct get.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from consort_bus import subjects
from consort_bus.envelope import CONTENT_TYPE
from consort_bus.errors import BusError
from consort_bus.reading import Stored, at_sequence, last, last_of, read
from consort_bus.runs import RunReader
from consort_bus.subjects import ProfileSubject
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, decode
from consort_shared.errors import DecodeError
from consort_shared.profile import ProfileVersion

__all__ = ["Kept", "ProfileAway", "ProfileReader", "newest_of", "standing", "version_at"]

LATE = 2.0
"""Seconds for which a revision is asked for that a replica may not have yet."""
_version: TypeAdapter[ProfileVersion] = TypeAdapter(ProfileVersion)


class ProfileAway(BusError):
    """A revision of an agent's profile that the bus does not hold, or that is none."""

    def __init__(self, agent: str, revision: int, why: str) -> None:
        super().__init__(
            f"profile of {agent}, revision {revision}: {why}; `consort profile history {agent}` names those there are"
        )
        self.agent = agent
        self.revision = revision


@dataclass(frozen=True, slots=True)
class Kept:
    """A version as the bus keeps it; `time` is when it was stored, UTC."""

    revision: int
    time: datetime
    version: ProfileVersion

    @property
    def counts_as(self) -> int:
        """What a task is granted under: the revision, or 0 where it gives the agent its own profile back."""
        return self.revision if self.version.profile is not None else 0


async def version_at(wire: Wire, agent: str, revision: int) -> ProfileVersion:
    """What stands at a revision. Raises ProfileAway, BusError."""
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + LATE, 0.01
    while (stored := await at_sequence(wire, subjects.PROFILES, revision)) is None:
        if loop.time() >= until:
            raise ProfileAway(agent, revision, "there is none")
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.25)
    found = believed(stored)
    if found is None or found.version.agent != agent:
        raise ProfileAway(agent, revision, "what stands there is no profile of this agent")
    return found.version


async def newest_of(wire: Wire, agent: str) -> Kept | None:
    """The version of an agent's profile that counts now, perhaps a moment old. Raises BusError."""
    subject = str(ProfileSubject(agent))
    stored = await last(wire, subjects.PROFILES, subject)
    if stored is None:
        return None
    return believed(stored) or _newest([kept async for kept in _history(wire, subject)])


async def standing(wire: Wire) -> dict[str, Kept]:
    """By agent, the version of its profile that counts now, perhaps a moment old. Raises BusError."""
    found: dict[str, Kept] = {}
    for stored in await last_of(wire, subjects.PROFILES, [subjects.PROFILES_FILTER]):
        where = ProfileSubject.parse(stored.subject)
        if where is None:
            continue
        kept = believed(stored) or await newest_of(wire, where.agent)
        if kept is not None:
            found[where.agent] = kept
    return found


def believed(stored: Stored) -> Kept | None:
    """The version that a stored message is; None for what nobody with the right to it has written."""
    where = ProfileSubject.parse(stored.subject)
    if where is None or stored.forwarded or "KV-Operation" in stored.headers:
        return None
    try:
        version = decode(_version, stored.data, stored.headers.get(CONTENT_TYPE, MSGPACK))
    except DecodeError:
        return None
    return Kept(stored.seq, stored.time, version) if version.agent == where.agent else None


async def _history(wire: Wire, subject: str) -> AsyncIterator[Kept]:
    async for stored in read(wire, subjects.PROFILES, subject):
        if (kept := believed(stored)) is not None:
            yield kept


def _newest(kept: Iterable[Kept]) -> Kept | None:
    return max(kept, key=lambda one: one.revision, default=None)


class ProfileReader:
    """Profiles as anybody with a reader's rights sees them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @classmethod
    def of(cls, reader: RunReader) -> ProfileReader:
        """Over the connection that somebody else has opened, and will close."""
        return cls(reader._wire)

    async def standing(self) -> dict[str, Kept]:
        """By agent, the version that counts now. Raises BusError."""
        return await standing(self._wire)

    async def newest(self, agent: str) -> Kept | None:
        """The version that counts now; None where nobody has set one. Raises BusError."""
        return await newest_of(self._wire, agent)

    async def history(self, agent: str) -> list[Kept]:
        """The versions that the bus still holds, oldest first. Raises BusError."""
        return [kept async for kept in _history(self._wire, str(ProfileSubject(agent)))]
