"""Which agent gets a task.

Steps ask for skills, never for agents. Candidates are the live agents that offer
the skill. One that declined the step or failed twice at it is left out while
there is another. Among the rest the one with the most room wins; ties go by name,
so that two orchestrators that see the same choose the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consort_orchestrator.core.state import Node

FAILURES_BEFORE_ANOTHER = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A live agent: how many tasks all its processes take at a time, and how many it has.

    `profile` is the revision of its profile that counts now; 0 for the one that it brings itself.
    """

    name: str
    slots: int
    load: int = 0
    profile: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """The agent chosen and why, and the revision of its profile."""

    agent: str
    why: str
    profile: int = 0


def choose(node: Node, candidates: Sequence[Candidate], given: Mapping[str, int]) -> Choice | None:
    """One agent for one attempt, None when there is none.

    `given` counts by agent the tasks that this decision gave out already.
    """
    if not candidates:
        return None
    if len(candidates) == 1:
        return Choice(candidates[0].name, "only candidate", candidates[0].profile)
    willing = [c for c in candidates if c.name not in node.declined] or candidates
    fresh = [c for c in willing if node.failures.get(c.name, 0) < FAILURES_BEFORE_ANOTHER] or willing
    best = min(fresh, key=lambda c: (node.failures.get(c.name, 0), _fullness(c, given), c.name))
    why = f"least loaded of {len(candidates)}"
    if len(fresh) < len(candidates):
        why += f", {len(candidates) - len(fresh)} left out after failing or declining"
    return Choice(best.name, why, best.profile)


def _fullness(candidate: Candidate, given: Mapping[str, int]) -> float:
    return (candidate.load + given.get(candidate.name, 0)) / max(candidate.slots, 1)
