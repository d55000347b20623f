"""A plan for a goal, computed: from a recipe that is known, or from what is on offer.

`compute_plan` is a function of its arguments: no model, no clock, no I/O. Recipes
are plans that somebody wrote; one is taken when it has to do with the goal, all its
skills are on offer and all its inputs are at hand. Otherwise a plan is found
backwards from the skill that is nearest to the goal (`chaining`). Told why a plan
was refused, it leaves out what was refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from consort_agents.specialists.chaining import GOAL_NAMES, PERHAPS, Missing, Offer, chained
from consort_agents.specialists.relevance import overlap
from consort_shared.values import Json

__all__ = ["NEAR", "Missing", "compute_plan", "is_planning"]

NEAR = (2, 0.3)
"""A recipe has to do with a goal when it shares so many of its words, and that share of them."""

_REFUSED_PLAN = re.compile(r"the plan `([^`\n]+)` cannot be carried out")
_REFUSED_SKILL = re.compile(r"(?:no agent offers|skill) `([^`\n]+)`")


def compute_plan(
    goal: str,
    offers: Sequence[Offer],
    inputs: Mapping[str, Json],
    trouble: str = "",
    recipes: Sequence[Mapping[str, Json]] = (),
) -> dict[str, Json]:
    """A plan as plain values.

    `offers` as `consort_shared.offers` describes them; `inputs` are given by name; `trouble` says why the plan
    before was refused. Raises Missing, with a sentence that says what is missing.
    """
    refused = trouble if trouble.startswith("bad-plan") else ""
    avoid = set(_REFUSED_SKILL.findall(refused))
    offers = [offer for offer in offers if not is_planning(str(offer["skill"]))]
    there = {str(offer["skill"]) for offer in offers} - avoid
    given = {"goal", *inputs}
    why = ""
    for recipe in _near(goal, recipes):
        if recipe["name"] in _REFUSED_PLAN.findall(refused):
            continue
        lacks = _lacks(recipe, there, given)
        if not lacks:
            return _adapted(recipe, goal, given)
        why = why or f"the recipe `{recipe['name']}` cannot be used: {lacks}"
    try:
        return chained(goal, offers, inputs, avoid)
    except Missing as exc:
        raise Missing("; ".join(filter(None, [str(exc), why]))) from exc


def is_planning(skill: str) -> bool:
    """Whether a skill makes plans itself."""
    return skill == "plan" or skill.startswith("plan.")


def _near(goal: str, recipes: Sequence[Mapping[str, Json]]) -> list[Mapping[str, Json]]:
    """The recipes that have to do with a goal, the nearest first."""
    found = []
    for recipe in recipes:
        shared, share = overlap(goal, _told(recipe))
        if shared >= NEAR[0] and share >= NEAR[1]:
            found.append((-share, str(recipe["name"]), recipe))
    return [recipe for *_, recipe in sorted(found, key=lambda each: each[:2])]


def _told(recipe: Mapping[str, Json]) -> str:
    titles = [str(step.get("title", "")) for step in _steps(recipe["steps"])]
    texts = [str(spec.get("default", "")) for spec in (recipe.get("inputs") or {}).values()]
    parts = [recipe["name"], recipe.get("goal", ""), recipe.get("description", ""), *titles, *texts]
    return " ".join(str(part) for part in parts)


def _steps(steps: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    for step in steps.values():
        yield step
        yield from _steps(step.get("steps") or {})


def _lacks(recipe: Mapping[str, Json], there: set[str], given: set[str]) -> str:
    """What is missing to follow a recipe, or nothing."""
    skills = {str(step["skill"]) for step in _steps(recipe["steps"]) if step.get("skill")}
    skills |= {str(step["undo"]["skill"]) for step in _steps(recipe["steps"]) if step.get("undo")}
    wanted = [
        name
        for name, spec in (recipe.get("inputs") or {}).items()
        if name not in given and not _optional(spec) and name not in (*GOAL_NAMES, *PERHAPS)
    ]
    lacks = [f"no agent offers `{skill}`" for skill in sorted(skills - there)]
    lacks += [f"it wants the input `{name}`{_about(recipe['inputs'][name])}" for name in wanted]
    return ", ".join(lacks)


def _about(spec: Mapping[str, Json]) -> str:
    return f" ({spec['description']})" if spec.get("description") else ""


def _optional(spec: Mapping[str, Json]) -> bool:
    return "default" in spec or spec.get("required") is False


def _adapted(recipe: Mapping[str, Json], goal: str, given: set[str]) -> dict[str, Json]:
    """The recipe for this goal: a text input that is called so is the goal, if nobody gives another."""
    inputs = dict(recipe.get("inputs") or {})
    for name, spec in inputs.items():
        if (
            name in (*GOAL_NAMES, *PERHAPS)
            and name not in given
            and spec.get("type", "any") in ("string", "any")
        ):
            inputs[name] = {
                **{key: value for key, value in spec.items() if key != "required"},
                "default": goal,
            }
    made = {key: value for key, value in recipe.items() if key != "timeout"}
    return {**made, "goal": goal, "inputs": inputs}
