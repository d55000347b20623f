"""From arguments to an HTTP request, in the styles that OpenAPI has for parameters.

Pure. What a model says stays where it belongs: a value in a path cannot leave its segment,
a value in a header cannot begin another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from consort_agents.tools.openapi_operations import Operation, Slot
from consort_shared.values import Json

_FORM = "application/x-www-form-urlencoded"
_BETWEEN = {"spaceDelimited": " ", "pipeDelimited": "|"}


class Unsendable(Exception):
    """Arguments that cannot be sent as they are; the text says why."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request before anything secret is added."""

    method: str
    url: str
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


def outgoing(operation: Operation, base_url: str, arguments: Mapping[str, Json]) -> Outgoing:
    """The request that a call stands for. Raises Unsendable."""
    path = operation.path
    query: list[tuple[str, str]] = []
    headers: dict[str, str] = {}
    cookies: list[str] = []
    fields: dict[str, Json] = {}
    whole: list[Json] = []
    for slot in operation.slots:
        if slot.argument not in arguments:
            continue
        value = arguments[slot.argument]
        match slot.where:
            case "path":
                path = path.replace(f"{{{slot.name}}}", _segment(slot, value))
            case "query":
                query += _asked(slot, value)
            case "header":
                headers[slot.name] = _on_one_line(slot, _joined(slot, value, "="))
            case "cookie":
                text = quote(_joined(slot, value, ","), safe="")
                cookies.append(f"{slot.name}={text}")
            case "body":
                fields[slot.name] = value
            case "whole-body":
                whole.append(value)
    if cookies:
        headers["Cookie"] = "; ".join(cookies)
    body = None
    if whole or fields or (operation.media_type and any(slot.where == "body" for slot in operation.slots)):
        body = _body(operation.media_type, whole[0] if whole else fields)
        headers["Content-Type"] = _sent_as(operation.media_type)
    return Outgoing(operation.method, base_url + path, query, headers, body)


def _body(media_type: str, value: Json) -> bytes:
    essence = media_type.split(";", 1)[0].strip().lower()
    if essence == _FORM:
        if not isinstance(value, Mapping):
            raise Unsendable("a form is an object of fields")
        pairs = [(name, text) for name, part in value.items() for text in _texts(part)]
        return urlencode(pairs).encode()
    if essence.startswith("text/"):
        return _text(value).encode()
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _sent_as(media_type: str) -> str:
    return "application/json" if "*" in media_type else media_type


def _segment(slot: Slot, value: Json) -> str:
    text = _joined(slot, value, "=")
    if text in {"", ".", ".."}:
        raise Unsendable(f"{slot.argument}: {text!r} cannot stand in a path")
    safe = quote(text, safe="")
    prefix = {"label": ".", "matrix": f";{slot.name}="}.get(slot.style, "")
    return prefix + safe


def _asked(slot: Slot, value: Json) -> list[tuple[str, str]]:
    """A query parameter, in its style."""
    if slot.as_json:
        return [(slot.name, json.dumps(value, ensure_ascii=False))]
    if isinstance(value, Mapping):
        if slot.style == "deepObject":
            return [(f"{slot.name}[{key}]", text) for key, part in value.items() for text in _texts(part)]
        if slot.explode:
            return [(str(key), text) for key, part in value.items() for text in _texts(part)]
        return [(slot.name, _joined(slot, value, ","))]
    if isinstance(value, list):
        if slot.explode:
            return [(slot.name, _text(part)) for part in value]
        return [(slot.name, _BETWEEN.get(slot.style, ",").join(map(_text, value)))]
    return [(slot.name, _text(value))]


def _joined(slot: Slot, value: Json, between: str) -> str:
    """A value in the `simple` style: lists and objects with commas."""
    if slot.as_json:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        pair = between if slot.explode else ","
        return ",".join(f"{key}{pair}{_text(part)}" for key, part in value.items())
    return ",".join(map(_text, value)) if isinstance(value, list) else _text(value)


def _on_one_line(slot: Slot, text: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 or ord(char) > 255 for char in text):
        raise Unsendable(f"{slot.argument}: a header holds one line of Latin characters")
    return text


def _texts(value: Any) -> list[str]:
    return [_text(part) for part in value] if isinstance(value, list) else [_text(value)]


def _text(value: Json) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
