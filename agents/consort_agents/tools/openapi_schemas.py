"""Parts of an OpenAPI document as JSON Schema that stands by itself.

A reference becomes one into `$defs`, with what it refers to copied there; so schemas that
contain themselves stay finite. What OpenAPI 3.0 says differently from JSON Schema
(`nullable`, boolean bounds) is said as JSON Schema does. Knows no operations and no HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from consort_shared.values import Json

Faults = list[tuple[str, str]]
"""JSON pointers, and what is wrong there."""

_DEEPEST = 100
_DROPPED = frozenset(
    {"xml", "externalDocs", "example", "examples", "discriminator", "deprecated", "nullable"}
)
_OF_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_ONE = frozenset(
    {
        "items",
        "not",
        "additionalProperties",
        "if",
        "then",
        "else",
        "contains",
        "propertyNames",
        "unevaluatedProperties",
        "unevaluatedItems",
    }
)


def pointer(*parts: str | int) -> str:
    """A JSON pointer as a fragment: `#/paths/~1pets/get`."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


class Document:
    """A parsed document, and the faults found while reading it."""

    def __init__(self, value: Mapping[str, Json]) -> None:
        self.value = value
        self.faults: Faults = []

    def fault(self, place: str, what: str) -> None:
        if (place, what) not in self.faults:
            self.faults.append((place, what))

    def at(self, ref: str) -> Any:
        """What a reference within the document names. Raises LookupError with a sentence."""
        if not ref.startswith("#"):
            raise LookupError(
                f"refers to {ref!r}, another document; only references within the file are followed"
            )
        found: Any = self.value
        for part in ref.lstrip("#").split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, Mapping) and key in found:
                found = found[key]
            else:
                raise LookupError(f"refers to {ref}, which is not in the document")
        return found

    def resolved(self, part: Any, place: str) -> tuple[Mapping[str, Json], str]:
        """An object that may be a reference, and where it stands; an empty one, and a fault, if there is none."""
        seen: set[str] = set()
        while isinstance(part, Mapping) and isinstance(part.get("$ref"), str):
            ref = part["$ref"]
            if ref in seen:
                self.fault(place, f"refers to itself by way of {ref}")
                return {}, place
            seen.add(ref)
            try:
                part = self.at(ref)
            except LookupError as exc:
                self.fault(place, str(exc))
                return {}, place
            place = ref
        if not isinstance(part, Mapping):
            self.fault(place, f"is {_kind(part)}, where an object is wanted")
            return {}, place
        return part, place


class Schemas:
    """Schemas of one document, made to stand by themselves; one instance for each schema that is made."""

    def __init__(self, document: Document, *, entering: bool) -> None:
        self._document = document
        self._entering = entering
        """made for what goes in: what is `readOnly` is left out, otherwise what is `writeOnly`"""
        self._names: dict[str, str] = {}
        self.defs: dict[str, Json] = {}

    def plain(self, schema: Any, place: str, depth: int = 0) -> Json:
        """A schema as JSON Schema; what it refers to is added to `defs`."""
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            self._document.fault(place, f"is {_kind(schema)}, where a schema is wanted")
            return {}
        if depth > _DEEPEST:
            self._document.fault(place, f"nests schemas deeper than {_DEEPEST} levels")
            return {}
        if isinstance(schema.get("$ref"), str):
            return self._referred(schema, place)
        return _as_json_schema(schema, self._parts(schema, place, depth))

    def _parts(self, schema: Mapping[str, Json], place: str, depth: int) -> dict[str, Json]:
        made: dict[str, Json] = {}
        for key, value in schema.items():
            here = f"{place}/{key}"
            if key in _DROPPED or str(key).startswith("x-"):
                continue
            if key in _OF_SCHEMAS and isinstance(value, Mapping):
                kept = {name: part for name, part in value.items() if not self._left_out(part, here)}
                made[key] = {
                    name: self.plain(part, f"{here}/{name}", depth + 1) for name, part in kept.items()
                }
            elif key in _LISTS and isinstance(value, list):
                made[key] = [self.plain(part, f"{here}/{at}", depth + 1) for at, part in enumerate(value)]
            elif key in _ONE and isinstance(value, Mapping | bool):
                made[key] = self.plain(value, here, depth + 1)
            elif key == "required" and isinstance(value, list):
                gone = self._gone(schema, place)
                made[key] = [name for name in value if isinstance(name, str) and name not in gone]
            else:
                made[key] = value
        return made

    def _gone(self, schema: Mapping[str, Json], place: str) -> set[str]:
        properties = schema.get("properties")
        known = properties if isinstance(properties, Mapping) else {}
        return {name for name, part in known.items() if self._left_out(part, f"{place}/properties")}

    def _left_out(self, part: Any, place: str) -> bool:
        mark = "readOnly" if self._entering else "writeOnly"
        return isinstance(part, Mapping) and part.get(mark) is True

    def _referred(self, schema: Mapping[str, Json], place: str) -> Json:
        ref = schema["$ref"]
        if ref not in self._names:
            try:
                target = self._document.at(ref)
            except LookupError as exc:
                self._document.fault(place, str(exc))
                return {}
            name = self._names[ref] = self._free(ref)
            self.defs[name] = {}  # taken, before what it refers to refers back
            self.defs[name] = self.plain(target, ref)
        made: dict[str, Json] = {"$ref": f"#/$defs/{self._names[ref]}"}
        if isinstance(schema.get("description"), str):
            made["description"] = schema["description"]
        return made

    def _free(self, ref: str) -> str:
        wanted = re.sub(r"[^A-Za-z0-9_.-]", "_", ref.rsplit("/", 1)[-1]) or "schema"
        name, number = wanted, 1
        while name in self.defs:
            number += 1
            name = f"{wanted}_{number}"
        return name


def _as_json_schema(schema: Mapping[str, Json], made: dict[str, Json]) -> dict[str, Json]:
    """What OpenAPI 3.0 says in its own way, said as JSON Schema does."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(made.get(exclusive), bool) and made.pop(exclusive) and bound in made:
            made[exclusive] = made.pop(bound)
    if schema.get("nullable") is not True:
        return made
    if isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
        if isinstance(made.get("enum"), list) and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]
        return made
    return {"anyOf": [made, {"type": "null"}]} if made else {}


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "empty"}
    return names.get(type(value), "a number")
