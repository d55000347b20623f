"""Whether what one skill gives is what another takes, by their JSON Schemas.

Structure decides: types, the fields that must be there, the items of lists. A
schema that says nothing, and a bare text or number, fits by its name only. Errs on
the side of not fitting; what a plan then gets wrong in spite of it, the check finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from consort_shared.plan.wording import has_type
from consort_shared.values import Json

DEPTH = 5
"""Levels to which two schemas are compared."""
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A schema, and the whole that its references point into."""

    schema: Schema
    whole: Schema

    @classmethod
    def of(cls, schema: Schema | None) -> Part:
        return cls(schema or {}, schema or {})

    def resolved(self) -> Part:
        """With local references followed and `X or null` taken for X."""
        here: Any = self.schema
        for _ in range(8):
            if not isinstance(here, Mapping):
                return Part({}, self.whole)
            choices = [
                c for c in here.get("anyOf") or () if isinstance(c, Mapping) and c.get("type") != "null"
            ]
            ref = here.get("$ref")
            if isinstance(ref, str) and ref.startswith("#/"):
                here = self._pointed(ref)
            elif len(choices) == 1:
                here = choices[0]
            else:
                return Part(here, self.whole)
        return Part({}, self.whole)

    def _pointed(self, ref: str) -> Any:
        here: Any = self.whole
        for word in ref[2:].split("/"):
            here = here.get(word) if isinstance(here, Mapping) else None
        return here

    @property
    def type(self) -> str:
        named = self.schema.get("type")
        if isinstance(named, str):
            return named
        return "object" if "properties" in self.schema else ""

    def properties(self) -> dict[str, Part]:
        found = self.schema.get("properties")
        if not isinstance(found, Mapping):
            return {}
        return {name: Part(part, self.whole) for name, part in found.items() if isinstance(part, Mapping)}

    def required(self) -> list[str]:
        found = self.schema.get("required")
        return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []

    def items(self) -> Part:
        found = self.schema.get("items")
        return Part(found if isinstance(found, Mapping) else {}, self.whole)


def fits(given: Part, wanted: Part, depth: int = DEPTH) -> bool:
    """Whether every value of one schema may go where another is wanted, as far as that can be told."""
    given, wanted = given.resolved(), wanted.resolved()
    if not wanted.type or depth == 0:
        return True
    if given.type == "integer" and wanted.type == "number":
        return True
    if given.type != wanted.type:
        return False
    allowed = wanted.schema.get("enum")
    if allowed is not None:
        have = given.schema.get("enum")
        return isinstance(have, list) and all(value in allowed for value in have)
    if wanted.type == "array":
        return fits(given.items(), wanted.items(), depth - 1)
    if wanted.type == "object":
        have = given.properties()
        parts = wanted.properties()
        if parts and not wanted.required() and not have.keys() & parts.keys():
            return False
        if parts and wanted.schema.get("additionalProperties") is False and have.keys() - parts.keys():
            return False
        return all(
            name in have and fits(have[name], parts.get(name, Part({}, {})), depth - 1)
            for name in wanted.required()
        )
    return True


def holds(value: Json, wanted: Part, depth: int = DEPTH) -> bool:
    """Whether a value may go where something is wanted, by the same rules; null goes where null may."""
    choices = wanted.schema.get("anyOf")
    if value is None and isinstance(choices, list) and {"type": "null"} in choices:
        return True
    wanted = wanted.resolved()
    if not wanted.type or depth == 0:
        return True
    if not has_type(value, wanted.type) or value not in wanted.schema.get("enum", (value,)):
        return False
    if isinstance(value, list):
        return all(holds(item, wanted.items(), depth - 1) for item in value)
    if isinstance(value, dict):
        parts = wanted.properties()
        return all(name in value for name in wanted.required()) and all(
            holds(value[name], part, depth - 1) for name, part in parts.items() if name in value
        )
    return True


def telling(part: Part) -> bool:
    """Whether a schema says so much that fitting it is no accident: an object with fields, or a list of such."""
    part = part.resolved()
    if part.type == "array":
        return telling(part.items())
    return part.type == "object" and bool(part.properties())


def parts_of(output: Schema | None, name: str) -> Iterator[tuple[tuple[str, ...], str, Part]]:
    """What a result offers: its fields, each with its path and name, then the whole under the name given."""
    whole = Part.of(output)
    for field, part in whole.resolved().properties().items():
        yield (field,), field, part
    yield (), name, whole
