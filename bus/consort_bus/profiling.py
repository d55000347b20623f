"""Setting profiles of agents: versions in a bucket, and the word to orchestrators to look at them.

A version holds whether or not an orchestrator is there; the word only saves waiting
for their next look. Every write is fenced by the revision that its author saw: of two
that set a profile at once one is told what the other has done.
"""

from __future__ import annotations

from dataclasses import dataclass

from consort_bus import subjects
from consort_bus.buckets import Bucket
from consort_bus.connection import Bus
from consort_bus.envelope import CONTENT_TYPE
from consort_bus.errors import NoAnswer
from consort_bus.leading import leader_last, read_whole
from consort_bus.pausing import Applied, Pausing
from consort_bus.profiles import Kept, believed, version_at
from consort_bus.publish import WrongLastSequence
from consort_bus.refusals import OperatorError, UnknownAgent
from consort_bus.subjects import ProfileSubject
from consort_bus.wire import Wire
from consort_shared.codec import MSGPACK, encode
from consort_shared.profile import Profile, ProfileVersion

__all__ = ["ProfileMoved", "ProfileSet", "Profiling"]


class ProfileMoved(OperatorError):
    """Somebody else has set the profile meanwhile; nothing was changed."""

    def __init__(self, agent: str, expected: int, stands: Kept | None) -> None:
        by = f", set by {stands.version.by}" if stands is not None and stands.version.by else ""
        now = f"revision {stands.revision}{by}" if stands is not None else "no revision at all"
        super().__init__(
            f"the profile of {agent} is not at revision {expected} but at {now}; nothing was changed: "
            f"look at it with `consort profile show {agent}` and set yours again"
        )
        self.agent = agent
        self.expected = expected
        self.stands = stands


@dataclass(frozen=True, slots=True)
class ProfileSet:
    """A new version, and which orchestrators give it to tasks from now on."""

    revision: int
    applied: Applied
    same: bool = False
    """whether it says what stood before, so that nothing was changed"""


class Profiling(Pausing):
    """What an operator does to profiles."""

    def __init__(self, bus: Bus, wire: Wire) -> None:
        super().__init__(bus, wire)
        self._profiles = Bucket(wire, self._publisher, subjects.PROFILES)

    async def profile_of(self, agent: str) -> Kept | None:
        """The version that counts, no older than what the bus's leader has. Raises BusError."""
        return (await self._stands(agent))[1]

    async def set_profile(
        self,
        agent: str,
        profile: Profile | None,
        *,
        why: str = "",
        expect: int | None = None,
        back_to: int = 0,
    ) -> ProfileSet:
        """Store a version that counts from the next tasks on; None gives the agent back the one it brings itself.

        `expect` is the revision that it builds on, 0 for none; without it whatever stands is replaced, unless
        somebody replaces it at the same time. Raises ProfileMoved, BusError.
        """
        version = ProfileVersion(agent=agent, profile=profile, by=self.speaks_as, why=why, back_to=back_to)
        newest, stands = await self._stands(agent)
        seen = 0 if stands is None else stands.revision
        if expect is not None and expect != seen:
            raise ProfileMoved(agent, expect, stands)
        before = None if stands is None else stands.version.profile
        if profile == before and (stands is not None or profile is None):
            return ProfileSet(seen, Applied(), same=True)
        revision = await self._stored(agent, version, newest, seen)
        return ProfileSet(revision, await self._apply())

    async def profile_at(self, agent: str, revision: int) -> Profile | None:
        """What an earlier revision says; 0 stands for the profile that the agent brings itself.

        Raises ProfileAway, BusError.
        """
        return (await version_at(self._wire, agent, revision)).profile if revision else None

    async def knows_agent(self, agent: str) -> bool:
        """Whether an agent of that name is on this bus, or ever was. Raises BusError."""
        try:
            await self._require_agent(agent)
        except UnknownAgent:
            return False
        return True

    async def _stands(self, agent: str) -> tuple[int, Kept | None]:
        """The sequence of what lies last under the agent's key, and the version that counts."""
        subject = str(ProfileSubject(agent))
        newest = await leader_last(self._wire, subjects.PROFILES, subject)
        if newest is None:
            return 0, None
        found = believed(newest)
        if found is None:  # nobody's word: what was said before it stands
            async for stored in read_whole(self._wire, subjects.PROFILES, subject):
                found = believed(stored) or found
        return newest.seq, found

    async def _stored(self, agent: str, version: ProfileVersion, newest: int, seen: int) -> int:
        """Store a version behind what was last there; its revision."""
        key, body = str(ProfileSubject(agent)), encode(version)
        headers = {CONTENT_TYPE: MSGPACK}
        try:
            return await self._profiles.put(key, body, headers=headers, expected_revision=newest, timeout=5.0)
        except (WrongLastSequence, NoAnswer) as exc:
            _, stands = await self._stands(agent)
            if stands is not None and stands.revision > newest and stands.version == version:
                return stands.revision  # it was stored, only its receipt was lost
            if isinstance(exc, NoAnswer):
                raise
            raise ProfileMoved(agent, seen, stands) from exc
