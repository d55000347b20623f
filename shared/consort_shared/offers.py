"""What is on offer: the skills of agents' cards, as a check and as a planner want to know them.

Pure: the same cards give the same values, in the order of names, whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from consort_shared.card import AgentCard
from consort_shared.plan.contracts import SkillInfo
from consort_shared.values import Json


def skills_of(cards: Iterable[AgentCard]) -> dict[str, SkillInfo]:
    """The skills on offer with their schemas; where agents differ, those of the first."""
    skills: dict[str, SkillInfo] = {}
    for card in cards:
        for skill in card.skills:
            skills.setdefault(skill.name, SkillInfo(skill.input_schema, skill.output_schema))
    return skills


def offers_of(cards: Iterable[AgentCard]) -> list[Json]:
    """The skills on offer by name, as a task is told of them: what each takes and gives, and who offers it.

    Each is an object with `skill`, `description`, `input`, `output` (JSON Schemas, or null) and `agents`, a list of
    objects with `name`, `description` and, where the agent brings a profile, `role`. Where agents differ, the
    first by name is asked.
    """
    found: dict[str, dict[str, Any]] = {}
    for card in sorted(cards, key=lambda card: card.name):
        for skill in card.skills:
            offer = found.setdefault(
                skill.name,
                {
                    "skill": skill.name,
                    "description": skill.description,
                    "input": skill.input_schema,
                    "output": skill.output_schema,
                    "agents": [],
                },
            )
            offer["agents"].append(_agent(card))
    return [found[name] for name in sorted(found)]


def _agent(card: AgentCard) -> dict[str, Json]:
    told: dict[str, Json] = {"name": card.name, "description": card.description}
    if card.profile is not None and card.profile.role:
        told["role"] = card.profile.role
    return told
