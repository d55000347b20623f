"""What a plan hands to a skill and takes from it, against the skill's JSON Schemas.

Only what is written out is judged: a value that an expression will give is known
at run time alone. A schema with `properties` counts as closed unless it says
`additionalProperties`, because a field that a skill does not know is dropped
without a word. Schemas come from agents' cards, so references to other hosts are
never followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from consort_shared.plan.expressions import OPEN, texts_in
from consort_shared.plan.wording import did_you_mean, dotted, kind_of, listed, type_words
from consort_shared.values import Json, canonical

Schema = Mapping[str, Json]
_STRUCTURAL = frozenset({"required", "additionalProperties", "type"})


@dataclass(frozen=True, slots=True)
class SkillInfo:
    """What is known of a skill that is on offer: the JSON Schemas of what it takes and gives."""

    input_schema: dict[str, Json] | None = None
    output_schema: dict[str, Json] | None = None


def input_faults(
    skill: str, schema: Schema, given: Mapping[str, Json]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with the inputs of a step, each with its path below `with`."""
    properties = _properties(schema)
    if properties is not None:
        for name in given:
            if name not in properties:
                hint = did_you_mean(name, list(properties)) or f"; it takes {listed(list(properties))}"
                yield (name,), f"skill `{skill}` has no input `{name}`{hint}"
    for error in _errors(schema, given):
        path = tuple(error.absolute_path)
        if error.validator == "additionalProperties" and not path:
            continue
        if error.validator not in _STRUCTURAL and next(texts_in(error.instance), None) is not None:
            continue
        if isinstance(error.instance, str) and OPEN in error.instance:
            continue
        yield path, _worded(skill, error, path)


def missing_member(schema: Schema | None, path: Sequence[str | int]) -> str:
    """Why a path leads out of what a schema describes, or nothing when it does not or that cannot be told."""
    here: Json = schema
    for at, part in enumerate(path):
        here = _resolved(schema or {}, here)
        if not isinstance(here, Mapping):
            return ""
        if isinstance(part, int):
            here = here.get("items")
            continue
        properties = _properties(here)
        if properties is None:
            return ""
        if part not in properties:
            where = f"`{dotted(path[:at])}` has" if at else "there is"
            hint = did_you_mean(part, list(properties)) or f"; there are {listed(list(properties))}"
            return f"{where} no field `{part}`{hint}"
        here = properties[part]
    return ""


def _properties(schema: Schema) -> Mapping[str, Json] | None:
    """The fields of a closed object schema, or None when it is open."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or schema.get("patternProperties"):
        return None
    if any(word in schema for word in ("allOf", "anyOf", "oneOf", "$ref", "if")):
        return None
    return properties if schema.get("additionalProperties", False) is False else None


def _resolved(whole: Schema, part: Json) -> Json:
    """A schema with local references followed and `X or null` taken for X."""
    for _ in range(32):
        if not isinstance(part, Mapping):
            return part
        ref = part.get("$ref")
        choices = [
            c for c in part.get("anyOf") or () if not (isinstance(c, Mapping) and c.get("type") == "null")
        ]
        if isinstance(ref, str) and ref.startswith("#/"):
            part = _pointed(whole, ref)
        elif "anyOf" in part and len(choices) == 1:
            part = choices[0]
        else:
            return part
    return None


def _pointed(whole: Schema, ref: str) -> Json:
    here: Json = whole
    for word in ref[2:].split("/"):
        here = here.get(word.replace("~1", "/").replace("~0", "~")) if isinstance(here, Mapping) else None
    return here


def _errors(schema: Schema, given: Mapping[str, Json]) -> list[Json]:
    """The validator's errors; a schema that is none itself is not the plan's fault."""
    from referencing.exceptions import Unresolvable

    try:
        validator = _validator(canonical(schema))
        return [] if validator is None else list(validator.iter_errors(given))
    except (Unresolvable, re.error, RecursionError, TypeError, ValueError):
        return []


@lru_cache(maxsize=512)
def _validator(text: bytes) -> Json:
    """What judges by a schema, None for one that is none. Looking whether it is one takes far longer than judging."""
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    schema = json.loads(text)
    validator = validator_for(schema, default=Draft202012Validator)
    try:
        validator.check_schema(schema)
    except (SchemaError, re.error, RecursionError):
        return None
    return validator(schema, registry=Registry())


def _worded(skill: str, error: Json, path: tuple[str | int, ...]) -> str:
    where = f"input `{dotted(path)}` of skill `{skill}`" if path else f"skill `{skill}`"
    if error.validator == "required":
        missing = next((n for n in error.validator_value if n not in error.instance), "?")
        named = re.match(r"'(.+?)' is a required", error.message)
        name = named.group(1) if named else missing
        return f"{where} needs {'the input' if not path else 'the field'} `{name}`"
    if error.validator == "type":
        return f"{where} is {kind_of(error.instance)}, must be {type_words(error.validator_value)}"
    if error.validator in {"enum", "const"}:
        allowed = error.validator_value if error.validator == "enum" else [error.validator_value]
        return f"{where} is {error.instance!r}, must be one of {', '.join(map(repr, allowed))}"
    return f"{where}: {str(error.message)[:200]}"
