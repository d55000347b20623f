"""What a function takes and gives, understood from its signature.

Skills and tools are both plain functions: their parameters become one JSON Schema, what
comes in is checked against it, and what goes out is made JSON. One parameter may be
annotated with a type of the surroundings (`Context`, `Caller`); it is no input. Knows
neither skills nor tools.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    PydanticSchemaGenerationError,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    create_model,
)

from consort_agents.errors import AgentError
from consort_shared.values import ArtefactRef, Json

_plain: TypeAdapter[Any] = TypeAdapter(Any)


@dataclass(frozen=True, slots=True)
class Signature:
    """A function with its parameters understood."""

    description: str
    is_async: bool
    takes: TypeAdapter[Any]
    gives: TypeAdapter[Any] | None
    model_parameter: str | None
    """the name of the one parameter that takes the whole model, if the function is written so"""
    surroundings: str | None
    """the name of the parameter that is no input"""

    @property
    def input_schema(self) -> dict[str, Json]:
        return _object(self.takes.json_schema(mode="validation"))

    @property
    def output_schema(self) -> dict[str, Json] | None:
        return self.gives.json_schema(mode="serialization") if self.gives is not None else None

    def arguments(self, inputs: Mapping[str, Json], around: Any) -> dict[str, Any]:
        """The call's arguments. Raises pydantic.ValidationError for inputs that do not fit."""
        model = self.takes.validate_python(dict(inputs))
        if self.model_parameter is not None:
            arguments: dict[str, Any] = {self.model_parameter: model}
        else:
            arguments = {name: getattr(model, name) for name in type(model).model_fields}
        if self.surroundings is not None:
            arguments[self.surroundings] = around
        return arguments

    def result(self, value: Any) -> Json:
        """What the function returned, as JSON. Raises pydantic.ValidationError when it is of another type."""
        if self.gives is None:
            return _plain.dump_python(value, mode="json")
        return self.gives.dump_python(self.gives.validate_python(value), mode="json", by_alias=True)


def signature_of(kind: str, name: str, function: Callable[..., Any], around: type) -> Signature:
    """Understand a function; `around` is the type of the parameter that is no input.

    Raises AgentError for a signature that says nothing usable.
    """
    label = f"{kind} {name!r}"
    surroundings: str | None = None
    fields: dict[str, Any] = {}
    hints = _hints(label, function)
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name in ("self", "cls") and parameters[0].name not in hints:
        raise AgentError(
            f"{label}: it is a method of a class, and there is no object yet that it could be called on; "
            f"write a function, or wrap the method of an object: {kind}(thing.{function.__name__})"
        )
    for parameter in parameters:
        hint = hints.get(parameter.name, Any)
        if hint is around:
            surroundings = parameter.name
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise AgentError(f"{label}: parameter `{parameter.name}` must be an ordinary named one")
        else:
            fields[parameter.name] = (
                hint,
                ... if parameter.default is parameter.empty else parameter.default,
            )
    try:
        takes, model_parameter = _takes(name, fields)
        gives = TypeAdapter(hints["return"]) if "return" in hints else None
        understood = Signature(
            (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " "),
            inspect.iscoroutinefunction(function),
            takes,
            gives,
            model_parameter,
            surroundings,
        )
        _ = understood.input_schema, understood.output_schema
    except PydanticSchemaGenerationError as exc:
        # The rest of it is advice to who writes models for pydantic.
        raise AgentError(f"{label}: {str(exc).partition('. Set ')[0]}; JSON has no such type") from exc
    except (PydanticUserError, ValueError) as exc:
        raise AgentError(f"{label}: {exc}") from exc
    return understood


def sentences(exc: ValidationError) -> str:
    """What does not fit, each with its place; five at most."""
    faults = exc.errors(include_url=False)
    told = [f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}" for fault in faults[:5]]
    return "; ".join(told) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")


def _object(schema: dict[str, Json]) -> dict[str, Json]:
    """A schema that says at its top what the object is; of a type that holds itself pydantic says where that stands."""
    definitions, there = schema.get("$defs"), str(schema.get("$ref", "")).removeprefix("#/$defs/")
    found = definitions.get(there) if isinstance(definitions, Mapping) else None
    if not isinstance(found, Mapping):
        return schema
    return {**found, **{key: value for key, value in schema.items() if key != "$ref"}}


def _hints(label: str, function: Callable[..., Any]) -> dict[str, Any]:
    if not (inspect.isroutine(function) or inspect.isclass(function) or hasattr(function, "__wrapped__")):
        raise AgentError(f"{label}: a function is wanted, not {function!r}")
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as exc:
        raise AgentError(
            f"{label}: the annotations of {function.__qualname__} name something unknown: {exc}"
        ) from exc


def _takes(name: str, fields: dict[str, Any]) -> tuple[TypeAdapter[Any], str | None]:
    if len(fields) == 1:
        [(parameter, (hint, default))] = fields.items()
        whole = isinstance(hint, type) and issubclass(hint, BaseModel) and hint is not ArtefactRef
        if whole and default is ...:
            return TypeAdapter(hint), parameter
    model = create_model(f"{name} inputs", __config__=ConfigDict(extra="forbid"), **fields)
    return TypeAdapter(model), None
