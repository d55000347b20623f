"""The operations of an OpenAPI document: what each takes, where each argument goes, what it gives.

Parameters and the fields of a JSON body become the arguments of one schema. Where two
would have the same name, the later one bears its place too (`id_query`); a body that
cannot be taken apart is the argument `body`. Pure: a document in, operations out, with
every fault and its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from consort_agents.tools.openapi_schemas import Document, Schemas, pointer
from consort_shared.values import Json

Where: TypeAlias = Literal["path", "query", "header", "cookie", "body", "whole-body"]
METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
_PLACES = ("path", "query", "header", "cookie")
_STYLES = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
_NOT_PARAMETERS = frozenset({"accept", "content-type", "authorization"})
"""Header parameters that OpenAPI says are to be ignored."""
_FORM = "application/x-www-form-urlencoded"
_LONGEST_DESCRIPTION = 1024


@dataclass(frozen=True, slots=True)
class Slot:
    """Where an argument goes."""

    argument: str
    where: Where
    name: str
    style: str = "form"
    explode: bool = True
    as_json: bool = False
    """sent as JSON text, as `content: application/json` says"""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    name: str
    method: str
    path: str
    place: str
    description: str
    slots: tuple[Slot, ...]
    media_type: str
    """of the body; empty if there is none"""
    input_schema: dict[str, Json]
    output_schema: dict[str, Json] | None


class Unsupported(Exception):
    """An operation that is described correctly, but wants what these tools cannot send."""


def operations(document: Document) -> Iterator[Mapping[str, Any]]:
    """Every operation as it is written: its path, method, place, name, whether it has one of its own, and itself."""
    paths = document.value.get("paths")
    if not isinstance(paths, Mapping) or not paths:
        document.fault("#/paths", "there are no paths, so there is nothing to call")
        return
    for path, item in paths.items():
        if not str(path).startswith("/"):
            if not str(path).startswith("x-"):
                document.fault(pointer("paths", path), "a path starts with `/`")
            continue
        shared, place = document.resolved(item, pointer("paths", path))
        for method in METHODS:
            if method not in shared:
                continue
            here = f"{place}/{method}"
            written = shared[method]
            if not isinstance(written, Mapping):
                document.fault(here, "an operation is an object")
                continue
            own = written.get("operationId")
            yield {
                "path": str(path),
                "method": method,
                "place": here,
                "name": called(str(own)) if own else called(f"{method}_{path}"),
                "own": bool(own),
                "written": written,
                "shared": shared.get("parameters", []),
                "shared_place": place,
            }


def called(text: str) -> str:
    """A name that models may call, made of any text."""
    return re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9_-]", "_", text)).strip("_")[:64] or "operation"


def understood(document: Document, found: Mapping[str, Any], fixed: frozenset[str]) -> Operation:
    """One operation; headers named in `fixed` (lower case) are not for models to say. Raises Unsupported."""
    reading = _Reading(document, found, fixed)
    reading.parameters()
    reading.body()
    reading.check_path()
    written = found["written"]
    texts = [written.get(key) for key in ("summary", "description")]
    told = "\n\n".join(
        dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip())
    )
    schema: dict[str, Json] = {
        "type": "object",
        "properties": reading.properties,
        "additionalProperties": False,
    }
    if reading.required:
        schema["required"] = list(dict.fromkeys(reading.required))
    if reading.schemas.defs:
        schema["$defs"] = reading.schemas.defs
    return Operation(
        name=found["name"],
        method=found["method"].upper(),
        path=found["path"],
        place=found["place"],
        description=(told or f"{found['method'].upper()} {found['path']}")[:_LONGEST_DESCRIPTION],
        slots=tuple(reading.slots),
        media_type=reading.media_type,
        input_schema=schema,
        output_schema=_output(document, written, found["place"]),
    )


class _Reading:
    """The arguments of one operation, as they are collected."""

    def __init__(self, document: Document, found: Mapping[str, Any], fixed: frozenset[str]) -> None:
        self.document = document
        self.found = found
        self.fixed = fixed
        self.schemas = Schemas(document, entering=True)
        self.properties: dict[str, Json] = {}
        self.required: list[str] = []
        self.slots: list[Slot] = []
        self.media_type = ""

    def parameters(self) -> None:
        """Those of the path's item, unless the operation has one of the same name and place."""
        known: dict[tuple[str, str], tuple[Mapping[str, Json], str]] = {}
        sources = (
            (self.found["shared"], f"{self.found['shared_place']}/parameters"),
            (self.found["written"].get("parameters", []), f"{self.found['place']}/parameters"),
        )
        for listed, place in sources:
            if not isinstance(listed, list):
                self.document.fault(place, "parameters are a list")
                continue
            for at, written in enumerate(listed):
                part, where = self.document.resolved(written, f"{place}/{at}")
                name, location = part.get("name"), part.get("in")
                if not isinstance(name, str) or location not in _PLACES:
                    if part:
                        self.document.fault(where, f"a parameter has a name, and is in {', '.join(_PLACES)}")
                    continue
                known[name, str(location)] = part, where
        for (name, location), (part, where) in known.items():
            self._parameter(name, location, part, where)

    def _parameter(self, name: str, location: Any, part: Mapping[str, Json], place: str) -> None:
        if location == "header" and name.lower() in _NOT_PARAMETERS | self.fixed:
            return
        if location == "query" and f"?{name}" in self.fixed:
            return
        content = part.get("content")
        schema, as_json, where = part.get("schema", {}), False, f"{place}/schema"
        if isinstance(content, Mapping) and content:
            media, inner = next(iter(content.items()))
            as_json = _is_json(str(media))
            schema = inner.get("schema", {}) if isinstance(inner, Mapping) else {}
            where = f"{place}/content"
        style = str(part.get("style", _STYLES[location]))
        explode = part.get("explode", style == "form") is True
        argument = self._free(name, location)
        self.properties[argument] = _described(self.schemas.plain(schema, where), part.get("description"))
        if part.get("required") is True or location == "path":
            self.required.append(argument)
        self.slots.append(Slot(argument, location, name, style, explode, as_json))

    def body(self) -> None:
        written = self.found["written"].get("requestBody")
        if written is None:
            return
        part, place = self.document.resolved(written, f"{self.found['place']}/requestBody")
        content = part.get("content")
        if not isinstance(content, Mapping) or not content:
            self.document.fault(place, "a requestBody has content")
            return
        needed = part.get("required") is True
        media = next((name for name in content if _is_json(str(name))), None)
        media = media or next((name for name in content if _sendable(str(name))), None)
        if media is None:
            if needed:
                raise Unsupported(
                    f"its body is {', '.join(map(str, content))}; JSON, forms and text can be sent"
                )
            return
        self.media_type = str(media)
        here = f"{place}/content/{self.media_type.replace('/', '~1')}/schema"
        inner = content[media].get("schema", {}) if isinstance(content[media], Mapping) else {}
        self._take_body(inner, here, needed=needed, description=part.get("description"))

    def _take_body(self, written: Any, place: str, *, needed: bool, description: Json) -> None:
        try:
            whole, where = (
                self.document.resolved(written, place) if not isinstance(written, bool) else ({}, place)
            )
        except RecursionError:  # pragma: no cover  resolved() follows references in a loop, not in depth
            whole, where = {}, place
        fields = whole.get("properties")
        apart = isinstance(fields, Mapping) and _only_fields(whole) and (needed or not whole.get("required"))
        if not apart or any(str(name) in self.properties or not _usable(str(name)) for name in fields or ()):
            argument = self._free("body", "content")
            self.properties[argument] = _described(self.schemas.plain(written, place), description)
            self.slots.append(Slot(argument, "whole-body", ""))
            self.required += [argument] if needed else []
            return
        plain = self.schemas.plain(dict(whole), where)
        for name, schema in plain.get("properties", {}).items():
            self.properties[name] = schema
            self.slots.append(Slot(name, "body", name))
        self.required += [name for name in plain.get("required", []) if name in self.properties]

    def check_path(self) -> None:
        wanted = set(re.findall(r"\{([^{}]+)\}", self.found["path"]))
        has = {slot.name for slot in self.slots if slot.where == "path"}
        for name in sorted(wanted - has):
            self.document.fault(
                self.found["place"], f"the path has {{{name}}}, but no parameter of this name"
            )
        for name in sorted(has - wanted):
            self.document.fault(
                self.found["place"], f"has a path parameter {name!r}, but the path has no {{{name}}}"
            )

    def _free(self, name: str, place: str) -> str:
        wanted = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:50] or "value"
        for candidate in (wanted, f"{wanted}_{place}"):
            if candidate not in self.properties:
                return candidate
        number = 2
        while f"{wanted}_{place}_{number}" in self.properties:
            number += 1
        return f"{wanted}_{place}_{number}"


def _output(document: Document, written: Mapping[str, Json], place: str) -> dict[str, Json] | None:
    responses = written.get("responses")
    if not isinstance(responses, Mapping):
        return None
    by_status = {str(status): part for status, part in responses.items()}
    status = next((status for status in ("200", "201", "2XX", "default") if status in by_status), None)
    if status is None:
        return None
    part, where = document.resolved(by_status[status], f"{place}/responses/{status}")
    content = part.get("content")
    media = (
        next((name for name in content if _is_json(str(name))), None)
        if isinstance(content, Mapping)
        else None
    )
    if media is None or not isinstance(content, Mapping) or not isinstance(content[media], Mapping):
        return None
    schemas = Schemas(document, entering=False)
    made = schemas.plain(
        content[media].get("schema", {}), f"{where}/content/{str(media).replace('/', '~1')}/schema"
    )
    if not isinstance(made, dict):
        return None
    return {**made, "$defs": schemas.defs} if schemas.defs else made


def _described(schema: Json, description: Json) -> Json:
    if not isinstance(schema, dict) or not isinstance(description, str) or not description.strip():
        return schema
    return {**schema, "description": description.strip()[:_LONGEST_DESCRIPTION]}


def _only_fields(schema: Mapping[str, Json]) -> bool:
    """Whether an object is nothing but its properties, so that they can stand beside others."""
    more = {"allOf", "anyOf", "oneOf", "not", "if", "patternProperties", "minProperties", "dependentRequired"}
    return (
        schema.get("type", "object") == "object"
        and not more & schema.keys()
        and not isinstance(schema.get("additionalProperties"), Mapping)
        and schema.get("additionalProperties") is not True
        and schema.get("nullable") is not True
    )


def _usable(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) is not None


def _is_json(media_type: str) -> bool:
    essence = media_type.split(";", 1)[0].strip().lower()
    return essence in {"application/json", "*/*", "application/*"} or essence.endswith("+json")


def _sendable(media_type: str) -> bool:
    essence = media_type.split(";", 1)[0].strip().lower()
    return essence == _FORM or essence.startswith("text/")
