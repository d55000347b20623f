"""A value that fits a JSON Schema, made up from the schema alone.

The same schema always gives the same value: the smallest that is plausible. What cannot
be made up (a regular expression, say) ends in NothingFits rather than in a value that
does not fit; every value is validated before it is given away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from consort_shared.values import Json

_DEEPEST = 24
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "someone@example.org",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
_TRIED = (
    "text",
    "a",
    "A",
    "0",
    "1",
    "a.b",
    "a_b",
    "a-b",
    "abc",
    "2026-01-01",
    "00",
    "0000",
    "#000000",
    "a" * 32,
)
_BOUNDS = re.compile(
    r"\b(minimum|maximum|exclusiveMinimum|exclusiveMaximum|multipleOf|minLength|maxLength|minItems|maxItems|pattern)"
    r": (.+?)(?=, \w+: |\}\s*$)"
)


class NothingFits(ValueError):
    """No value could be made up for a schema."""


def fitting(schema: Mapping[str, Any]) -> Json:
    """A value that fits. Raises NothingFits."""
    import jsonschema

    try:
        value = _value(schema, schema, 0)
        jsonschema.validate(value, dict(schema))
    except (jsonschema.ValidationError, jsonschema.SchemaError, LookupError, TypeError, re.error) as exc:
        raise NothingFits(f"no value can be made up for the schema: {str(exc).splitlines()[0]}") from exc
    return value


def _value(schema: Any, root: Mapping[str, Any], depth: int) -> Json:
    if depth > _DEEPEST:
        raise NothingFits("no value can be made up for the schema: it contains itself without an end")
    if not isinstance(schema, Mapping):
        return None
    if "$ref" in schema:
        return _value(_target(str(schema["$ref"]), root), root, depth + 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if schema.get(key):
            return schema[key][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _first(schema[key], root, depth)
    if schema.get("allOf"):
        merged: dict[str, Any] = {}
        for part in schema["allOf"]:
            whole = _target(str(part["$ref"]), root) if "$ref" in part else part
            properties = {**merged.get("properties", {}), **whole.get("properties", {})}
            required = [*merged.get("required", ()), *whole.get("required", ())]
            merged = {**merged, **whole, "properties": properties, "required": required}
        return _value(merged, root, depth + 1)
    return _of_type(schema, root, depth)


def _first(branches: list[Any], root: Mapping[str, Any], depth: int) -> Json:
    for branch in branches:
        try:
            return _value(branch, root, depth + 1)
        except NothingFits:
            continue
    raise NothingFits("no value can be made up for any branch of the schema")


def _of_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Json:
    kind = schema.get("type", "object" if "properties" in schema else "null")
    kind = kind[0] if isinstance(kind, list) else kind
    bounds = {**_told_bounds(str(schema.get("description", ""))), **schema}
    match kind:
        case "object":
            wanted = schema.get("required", ())
            return {key: _value(schema.get("properties", {}).get(key, {}), root, depth + 1) for key in wanted}
        case "array":
            return [
                _value(schema.get("items", {}), root, depth + 1)
                for _ in range(int(bounds.get("minItems", 0)))
            ]
        case "string":
            return _text(bounds)
        case "integer" | "number":
            return _number(bounds, whole=kind == "integer")
        case "boolean":
            return False
        case _:
            return None


def _told_bounds(description: str) -> dict[str, Any]:
    """Bounds that the SDK has moved into the description, because the API's schemas cannot say them."""
    found: dict[str, Any] = {}
    if description.rstrip().endswith("}"):
        for name, value in _BOUNDS.findall(
            description[description.rindex("{") :] if "{" in description else ""
        ):
            try:
                found[name] = value if name == "pattern" else float(value)
            except ValueError:
                continue
    return found


def _text(schema: Mapping[str, Any]) -> str:
    least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", 1 << 20))
    if "format" in schema and schema["format"] in _FORMATS:
        return _FORMATS[schema["format"]]
    tried = [text.ljust(least, text[-1])[:most] for text in _TRIED]
    if "pattern" not in schema:
        return tried[0]
    for text in tried:
        if re.search(schema["pattern"], text):
            return text
    raise NothingFits(f"no text can be made up for the pattern {schema['pattern']}")


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    step = float(schema.get("multipleOf") or (1 if whole else 0))
    apart = step or 0.5
    lows = [
        schema.get("minimum"),
        None if (above := schema.get("exclusiveMinimum")) is None else above + apart,
    ]
    highs = [
        schema.get("maximum"),
        None if (below := schema.get("exclusiveMaximum")) is None else below - apart,
    ]
    low = max((float(n) for n in lows if n is not None), default=float("-inf"))
    high = min((float(n) for n in highs if n is not None), default=float("inf"))
    if low > high and above is not None and below is not None:
        low = high = (above + below) / 2
    value = max(min(0.0, high), low)
    if step:
        value = -(-value // step) * step
    return int(value) if whole or value == int(value) else value


def _target(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found
