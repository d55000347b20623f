"""Which profile a task is done under: the revision that its entry names, or the agent's own.

What the entry names was decided when the task was granted, so a task that comes again
has the same profile, whatever was set meanwhile. A revision that cannot be read is
never replaced by another: the task goes back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from consort_bus.profiles import ProfileAway, version_at
from consort_bus.wire import Wire
from consort_shared.entries import Granted
from consort_shared.profile import Profile
from consort_shared.profiles_file import own_version

REMEMBERED = 64
"""Revisions that a process keeps at hand; they never change."""


@dataclass(frozen=True, slots=True)
class InForce:
    """A profile, and its version: `file:` and a digest for the agent's own, a revision of the bucket otherwise."""

    profile: Profile
    version: str


class Profiles:
    """The profiles of one agent, for one process. `own` is the one that it brings itself, if it does."""

    def __init__(self, wire: Wire, agent: str, own: Profile | None) -> None:
        self._wire = wire
        self._agent = agent
        self._own = InForce(own or Profile(), "" if own is None else own_version(own))
        self._known: OrderedDict[int, InForce] = OrderedDict()

    async def of(self, granted: Granted) -> InForce:
        """The profile of a task. Raises ProfileAway, BusError."""
        revision = granted.profile
        if not revision:
            return self._own
        known = self._known.get(revision)
        if known is None:
            version = await version_at(self._wire, self._agent, revision)
            if version.profile is None:
                raise ProfileAway(self._agent, revision, "it names no profile")
            known = self._known[revision] = InForce(version.profile, str(revision))
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known
