"""Who may call which tool, with which arguments. Pure; used wherever tools are called.

What no rule allows is denied. A rule allows a call if everything it says fits: the tool,
the agent, every argument that it names, the risk and the class of data. An argument that a
rule names and the call does not give is no fit: its default is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from consort_agents.tools.answers import fits
from consort_agents.tools.definition import Definition, Risk
from consort_shared.values import Json


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Matches(_Rule):
    """A text that a regular expression fits from its beginning to its end."""

    regex: str

    @field_validator("regex")
    @classmethod
    def _compiles(cls, text: str) -> str:
        try:
            re.compile(text)
        except re.error as exc:
            raise ValueError(f"is no regular expression: {exc}") from exc
        return text


class Fits(_Rule):
    """A value that fits a JSON Schema."""

    schema_: dict[str, Json] = Field(alias="schema")

    @field_validator("schema_")
    @classmethod
    def _is_schema(cls, schema: dict[str, Json]) -> dict[str, Json]:
        import jsonschema

        try:
            jsonschema.Draft202012Validator.check_schema(schema)
        except jsonschema.SchemaError as exc:
            raise ValueError(f"is no JSON Schema: {exc.message}") from exc
        return schema


Wanted: TypeAlias = str | Matches | Fits
"""Of an argument: a glob, in which `*` stands for any characters, also `/`; or one of the others."""


class Allow(_Rule):
    """One thing that is allowed."""

    tool: str = Field(default="*", description="a glob over names of tools")
    agents: tuple[str, ...] = Field(default=("*",), min_length=1, description="globs over names of agents")
    arguments: dict[str, Wanted] = Field(default_factory=dict, description="what named arguments must be")
    risks: tuple[Risk, ...] = Field(default=(), description="of the tool; none for any")
    data_classes: tuple[str, ...] = Field(default=(), description="of what the tool gives; none for any")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call is allowed, and why, in a sentence for a log or a model."""

    allowed: bool
    why: str


def permitted(
    rules: Sequence[Allow], agent: str, definition: Definition, arguments: Mapping[str, Json]
) -> Verdict:
    """Whether any rule allows a call."""
    why = f"no rule allows agent {agent!r} to call {definition.name}"
    for number, rule in enumerate(rules, 1):
        if not _concerns(rule, agent, definition):
            continue
        unfit = [name for name, wanted in rule.arguments.items() if not _fits(name, wanted, arguments)]
        if not unfit:
            return Verdict(True, f"rule {number}")
        limits = ", ".join(f"{name} {_said(rule.arguments[name])}" for name in unfit)
        why = f"agent {agent!r} may call {definition.name} only with {limits}"
    return Verdict(False, why)


def may_ever(rules: Sequence[Allow], agent: str, definition: Definition) -> bool:
    """Whether some call of a tool would be allowed: a model need not be told of others."""
    return any(_concerns(rule, agent, definition) for rule in rules)


def _concerns(rule: Allow, agent: str, definition: Definition) -> bool:
    return (
        fnmatchcase(definition.name, rule.tool)
        and any(fnmatchcase(agent, pattern) for pattern in rule.agents)
        and (not rule.risks or definition.risk in rule.risks)
        and (not rule.data_classes or definition.data_class in rule.data_classes)
    )


def _fits(name: str, wanted: Wanted, arguments: Mapping[str, Json]) -> bool:
    if name not in arguments:
        return False
    value = arguments[name]
    match wanted:
        case Fits():
            return fits(wanted.schema_, value)
        case Matches():
            text = _scalar(value)
            return text is not None and re.fullmatch(wanted.regex, text) is not None
        case str():
            text = _scalar(value)
            return text is not None and fnmatchcase(text, wanted)


def _scalar(value: Json) -> str | None:
    """A plain value as text; lists and objects have no text that could be compared safely."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _said(wanted: Wanted) -> str:
    match wanted:
        case Fits():
            return f"that fits {wanted.schema_}"
        case Matches():
            return f"that matches {wanted.regex}"
        case str():
            return f"like {wanted}"
