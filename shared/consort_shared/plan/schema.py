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
    loosen(made, made["$defs"])
    return made


def loosen(plan: dict[str, Any], parts: dict[str, Any]) -> None:
    """Allow durations as text in the schema of a plan and of its parts, which the model does not tell of."""
    for model in (InputSpec, Retry, ForEach, Repeat, Step, Undo):
        long = f"{model.__module__}.{model.__name__}".replace(".", "__")  # where another has the same name
        _allow_text(model, parts[long if long in parts else model.__name__]["properties"])
    plan["properties"]["timeout"] = _perhaps(plan["properties"]["timeout"])


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
