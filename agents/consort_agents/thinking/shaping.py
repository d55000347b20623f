"""Answers of a shape: from a type to the schema that a model is given, and from its text to a value.

A model's answer is an object, so a type that is none (a list, a union, a number) is wrapped
in one with the single field `value`. What does not fit is told in sentences that a model
can act on. Pure; a provider makes the schema as strict as it wants it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from consort_shared.values import Json

T = TypeVar("T")
_WRAP = "value"
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.DOTALL)
_MOST_FAULTS = 8


class Misfit(ValueError):
    """An answer does not fit; the text says why, to the model."""


@dataclass(frozen=True, slots=True)
class Shape(Generic[T]):
    """What an answer is to be."""

    adapter: TypeAdapter[T]
    schema: dict[str, Json]
    wrapped: bool

    def read(self, text: str) -> T:
        """The value that a text is. Raises Misfit."""
        value = _json_in(text)
        if self.wrapped:
            if not isinstance(value, dict) or set(value) != {_WRAP}:
                raise Misfit(f"the answer must be a JSON object with the one field `{_WRAP}`")
            value = value[_WRAP]
        try:
            return self.adapter.validate_python(value)
        except ValidationError as strict:
            try:  # dates, bytes and the like have a form in JSON that Python's own types do not take
                return self.adapter.validate_json(json.dumps(value))
            except ValidationError:
                raise Misfit(reasons_of(strict)) from strict

    def plain(self, value: T) -> Json:
        return self.adapter.dump_python(value, mode="json")


def shape_of(kind: type[T] | TypeAdapter[T] | Any) -> Shape[T]:
    """The shape of a type: a pydantic model, or whatever a `TypeAdapter` takes. Raises TypeError for others."""
    if isinstance(kind, TypeAdapter):
        return _shape(kind)
    return _known(kind) if isinstance(kind, Hashable) else _made(kind)


def reasons_of(exc: ValidationError) -> str:
    """Why a value does not fit, a sentence for each fault."""
    faults = exc.errors(include_url=False, include_input=False)
    told = [f"{'.'.join(map(str, fault['loc'])) or 'the answer'}: {fault['msg']}" for fault in faults]
    more = f"; and {len(told) - _MOST_FAULTS} more" if len(told) > _MOST_FAULTS else ""
    return "; ".join(told[:_MOST_FAULTS]) + more


@lru_cache(maxsize=256)
def _known(kind: Any) -> Shape[Any]:
    return _made(kind)


def _made(kind: Any) -> Shape[Any]:
    try:
        return _shape(TypeAdapter(kind))
    except (PydanticSchemaGenerationError, PydanticUserError) as exc:
        raise TypeError(f"schema={kind!r}: answers cannot be given this shape: {exc}") from exc


def _shape(adapter: TypeAdapter[T]) -> Shape[T]:
    schema = adapter.json_schema()
    root: Json = schema
    if "$ref" in schema and schema["$ref"].startswith("#/$defs/"):  # a model that contains itself
        root = schema["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if root.get("type") == "object" and "properties" in root:
        return Shape(adapter, schema, wrapped=False)
    definitions = schema.pop("$defs", None)
    whole: dict[str, Json] = {
        "type": "object",
        "properties": {_WRAP: schema},
        "required": [_WRAP],
        "additionalProperties": False,
    }
    if definitions:
        whole["$defs"] = definitions
    return Shape(adapter, whole, wrapped=True)


def _json_in(text: str) -> Json:
    """The JSON of an answer, also where a model puts it into a fence or says something around it."""
    if not text.strip():
        raise Misfit("the answer is empty; it must be one JSON object")
    fenced = _FENCE.search(text)
    inner = text[text.find("{") : text.rfind("}") + 1]
    for candidate in (text, fenced.group(1) if fenced else "", inner):
        with suppress(ValueError):
            return json.loads(candidate)
    try:
        json.loads(text)
    except ValueError as exc:
        why = str(exc)
    raise Misfit(f"the answer is not JSON ({why}); it must be one JSON object and nothing else")
