"""A plan from what is on offer, found backwards: from the skill that a goal wants to what that needs.

An input of a skill is filled from the given inputs by its name, from the goal itself
where it is a text that is called so, or from another skill whose result fits. No
skill is used to make what it needs itself. The same goal and offers give the same plan.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consort_agents.specialists.fitting import Part, fits, holds, parts_of, telling
from consort_agents.specialists.relevance import scores
from consort_shared.values import Json

GOAL_NAMES = ("goal", "question", "topic", "query", "prompt")
"""What a text input is called that is the goal itself, where nobody gives another."""
PERHAPS = ("text", "task", "subject")
"""And one that may be the goal, where no other skill gives such a text either."""
TRIES = 2_000
"""Ways to fill an input that are looked at, in all."""
NEARLY = 0.5
"""A skill is taken instead of the nearest one if it is at least so near to the goal."""
MOST = 30
"""Steps of a plan that is made here."""

Offer = Mapping[str, Any]
"""As `consort_shared.offers` describes it."""


class Missing(Exception):
    """No plan can be made; the text says for want of what."""


@dataclass(slots=True)
class _Making:
    """A plan in the making."""

    offers: Mapping[str, Offer]
    given: Mapping[str, Json]
    steps: dict[str, dict[str, Json]] = field(default_factory=dict)
    step_of: dict[str, str] = field(default_factory=dict)
    """by skill: its step"""
    used: dict[str, None] = field(default_factory=dict)
    """given inputs that are used"""
    tries: int = 0
    """ways to fill an input that were looked at, for this skill and those before it"""


def chained(
    goal: str, offers: Sequence[Offer], given: Mapping[str, Json], avoid: Collection[str]
) -> dict[str, Json]:
    """A plan for a goal as plain values. Raises Missing."""
    usable = {str(offer["skill"]): offer for offer in offers if offer["skill"] not in avoid}
    if not usable:
        raise Missing("nothing is on offer to plan with")
    found = scores(goal, {skill: _described(offer) for skill, offer in usable.items()})
    ranked = sorted((skill for skill in usable if found[skill] > 0), key=lambda skill: (-found[skill], skill))
    if not ranked:
        raise Missing(f"nothing that is on offer has to do with the goal; there are {_named(sorted(usable))}")
    why, tries = "", 0
    for skill in (skill for skill in ranked if found[skill] >= NEARLY * found[ranked[0]]):
        making = _Making(usable, given, tries=tries)
        try:
            target = _add(making, skill, ())
        except Missing as exc:
            tries = making.tries
            why = why or f"`{skill}` is nearest to the goal, but {exc}"
            continue
        return _plan(goal, making, skill, target)
    raise Missing(why)


def _described(offer: Offer) -> str:
    """What a skill is about: its name, its words, and the names of what it gives."""
    output = Part.of(offer.get("output")).resolved()
    parts = [str(offer["skill"]), str(offer.get("description") or ""), " ".join(output.properties())]
    parts += [str(agent.get("description") or "") for agent in offer.get("agents") or ()]
    return re.sub(r"[._-]", " ", " ".join(parts))


def _add(making: _Making, skill: str, below: tuple[str, ...]) -> str:
    """The name of the step for a skill, with all that it needs before it. Raises Missing."""
    if skill in making.step_of:
        return making.step_of[skill]
    if len(making.steps) + len(below) >= MOST:
        raise Missing(f"a plan with it has more than {MOST} steps")
    taken = Part.of(making.offers[skill].get("input")).resolved()
    required = taken.required()
    given: dict[str, Json] = {}
    needs: dict[str, None] = {}
    for name, part in taken.properties().items():
        kept = making.steps.copy(), making.step_of.copy(), making.used.copy()
        try:
            value, need = _filled(making, skill, name, part, name in required, (*below, skill))
        except Missing:
            making.steps, making.step_of, making.used = kept
            if name in required:
                raise
            continue
        if value is not None:
            given[name] = value
        if need:
            needs[need] = None
    step: dict[str, Json] = {"skill": skill}
    if needs:
        step["needs"] = list(needs)
    if given:
        step["with"] = given
    name = _step_name(skill, making.steps)
    making.steps[name] = step
    making.step_of[skill] = name
    return name


def _filled(
    making: _Making, skill: str, name: str, part: Part, required: bool, below: tuple[str, ...]
) -> tuple[str | None, str]:
    """What goes into one input, and the step that is needed for it. Raises Missing for one that must be there."""
    if name in making.given and holds(making.given[name], part):
        making.used[name] = None
        return f"${{{{ inputs.{name} }}}}", ""
    is_text = part.resolved().type in ("string", "")
    if name in GOAL_NAMES and is_text:
        return "${{ inputs.goal }}", ""
    if not required and not telling(part):
        return None, ""
    why = ""
    for other, path in _sources(making, name, part, below):
        making.tries += 1
        if making.tries > TRIES:
            raise Missing(f"none was found after {TRIES} tries")
        kept = making.steps.copy(), making.step_of.copy(), making.used.copy()
        try:
            step = _add(making, other, below)
        except Missing as exc:
            making.steps, making.step_of, making.used = kept
            why = why or f"`{other}` would give it, but {exc}"
            continue
        return f"${{{{ {'.'.join(('steps', step, 'output', *path))} }}}}", step
    if name in PERHAPS and is_text:
        return "${{ inputs.goal }}", ""
    if not required:
        return None, ""
    unfit = f"what was handed in as `{name}` does not fit its schema" if name in making.given else ""
    told = (
        unfit
        or why
        or "no other skill gives it and it was not handed in: it can be given as an input of that name"
    )
    raise Missing(f"`{skill}` needs the input `{name}`: {told}")


def _sources(
    making: _Making, name: str, part: Part, below: tuple[str, ...]
) -> list[tuple[str, tuple[str, ...]]]:
    """Skills whose result, or a part of it, fits an input: those of that name first, then those in use already."""
    found = []
    for skill, offer in making.offers.items():
        if skill in below:
            continue
        for path, called, given in parts_of(offer.get("output"), skill.rpartition(".")[2]):
            same = called == name
            if (same or telling(part)) and fits(given, part):
                found.append((not same, skill not in making.step_of, skill, path))
                break
    return [(skill, path) for *_, skill, path in sorted(found)]


def _plan(goal: str, making: _Making, skill: str, target: str) -> dict[str, Json]:
    inputs: dict[str, Json] = {"goal": {"type": "string", "default": goal}}
    inputs |= {name: {} for name in making.used if name != "goal"}
    return {
        "name": f"towards {skill}"[:80],
        "goal": goal,
        "inputs": inputs,
        "steps": making.steps,
        "output": f"${{{{ steps.{target}.output }}}}",
    }


def _step_name(skill: str, taken: Collection[str]) -> str:
    """The last word of a skill as a name; all of it where that is taken, or a word that the language keeps."""
    short, whole = (re.sub(r"[^a-z0-9_]", "_", text) for text in (skill.rpartition(".")[2], skill))
    for name in (short, whole):
        if re.fullmatch(r"[a-z][a-z0-9_]{0,47}", name) and name not in {
            *taken,
            "true",
            "false",
            "null",
            "in",
        }:
            return name
    return f"step_{len(taken) + 1}"


def _named(skills: Sequence[str]) -> str:
    shown = ", ".join(f"`{skill}`" for skill in skills[:12])
    return f"{shown} and {len(skills) - 12} more" if len(skills) > 12 else shown
