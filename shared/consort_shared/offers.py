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
    objects with `name` and `description`, and `role` and `goal` of whoever has a profile that says them. Where
    agents differ, the first by name is asked.
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
            offer["agents"].append({"name": card.name, "description": card.description, **_who(card)})
    return [found[name] for name in sorted(found)]


def _who(card: AgentCard) -> dict[str, Json]:
    if card.profile is None:
        return {}
    told = {"role": card.profile.role, "goal": card.profile.goal}
    return {name: text for name, text in told.items() if text}
