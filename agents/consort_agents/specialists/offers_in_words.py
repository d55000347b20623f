"""What is on offer, in few words: the skills, what they take and give, and who offers them.

JSON Schemas of whole results run to thousands of lines; a plan needs the names of fields, what
they are and which must be there. Of a field that is an object its own fields are named, no
more. Pure; says nothing of any value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consort_agents.specialists.chaining import Offer
from consort_agents.specialists.fitting import Part
from consort_agents.specialists.wording import clip
from consort_shared.values import Json

LONGEST = 300
"""Characters of a description."""
_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
}


def in_words(offers: Sequence[Offer]) -> list[Json]:
    """Every offer, as a model is told of it."""
    return [
        {
            "skill": offer["skill"],
            "about": clip(str(offer.get("description") or ""), LONGEST),
            "agents": [_agent(agent) for agent in offer.get("agents") or ()],
            "takes": _fields(Part.of(offer.get("input")).resolved()),
            "gives": _gives(Part.of(offer.get("output")).resolved()),
        }
        for offer in offers
    ]


def _agent(agent: Mapping[str, Json]) -> dict[str, Json]:
    told = {name: agent.get(name) for name in ("name", "role", "goal", "description")}
    return {name: clip(text, LONGEST) for name, text in told.items() if isinstance(text, str) and text}


def _fields(part: Part) -> dict[str, str]:
    """The fields of an object by name: what each is, whether it must be there, what it is for."""
    required = part.required()
    found = {}
    for name, field in part.properties().items():
        about = field.schema.get("description") or field.resolved().schema.get("description") or ""
        must = "required" if name in required else "optional"
        text = f"{_kind(field)}, {must}"
        found[name] = f"{text}: {clip(str(about), LONGEST)}" if about else text
    return found


def _gives(part: Part) -> Json:
    """The fields of a result; for one that is no object with fields, what it is."""
    if not part.properties():
        return _kind(part)
    return {name: text.replace(", required", "", 1) for name, text in _fields(part).items()}


def _kind(part: Part) -> str:
    """What a schema is, in words."""
    part = part.resolved()
    if isinstance(part.schema.get("enum"), list):
        return "one of " + ", ".join(map(str, part.schema["enum"]))
    if part.type == "array":
        return f"list of {_kind(part.items())}"
    if part.type == "object":
        names = list(part.properties())
        return f"object with {', '.join(names)}" if names else "object"
    return _WORDS.get(part.type, "anything")
