"""The JSON Schema of plan files, for editors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from consort_shared.plan.model import ForEach, InputSpec, Plan, Repeat, Retry, Step, Undo, seconds

ID = "urn:consort:schema:plan:1"
_DURATION = r"^\s*[0-9]+(\.[0-9]+)?(ms|s|m|h|d)?\s*$"


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a plan as files write it; durations may be text such as `30s`."""
    made = Plan.model_json_schema(by_alias=True)
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["$id"] = ID
    made["title"] = "Consort plan"
    for model in (InputSpec, Retry, ForEach, Repeat, Step, Undo):
        _allow_text(model, made["$defs"][model.__name__]["properties"])
    made["properties"]["timeout"] = _perhaps(made["properties"]["timeout"])
    return made


def _perhaps(duration: dict[str, Any]) -> dict[str, Any]:
    """A duration or null, as number or text, too."""
    text = {"type": "string", "pattern": _DURATION}
    return {**duration, "anyOf": [*duration["anyOf"], text]}


def _allow_text(model: type[BaseModel], properties: dict[str, Any]) -> None:
    """Durations of a part as number or text: the model takes both, its schema tells of numbers only."""
    for name, field in model.model_fields.items():
        if any(getattr(extra, "func", None) is seconds for extra in field.metadata):
            old = properties[field.alias or name]
            number = {key: old.pop(key) for key in ("type", "minimum", "maximum") if key in old}
            old["anyOf"] = [number, {"type": "string", "pattern": _DURATION}]
            old["description"] = "seconds, or text such as `200ms`, `30s`, `5m`, `1h`, `1d`"
