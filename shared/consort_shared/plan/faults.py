"""What the model refused, in words for whoever wrote the plan.

The model's own messages speak of types and patterns; here each becomes a sentence
with the path as it stands in the file and its line. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from consort_shared.errors import Fault
from consort_shared.ids import NAME_PATTERN, SKILL_PATTERN
from consort_shared.plan.model import AtLeast, ForEach, InputSpec, JoinRule, Plan, Repeat, Retry, Step, Undo
from consort_shared.plan.reader import Document
from consort_shared.plan.wording import did_you_mean, dotted, kind_of, listed
from consort_shared.values import Json

Path = tuple[str | int, ...]

_PARTS: Mapping[str, type[BaseModel]] = {
    "for_each": ForEach,
    "repeat": Repeat,
    "retry": Retry,
    "join": AtLeast,
    "undo": Undo,
}
_DURATIONS = frozenset({"timeout", "wait", "longest"})
_WANTED = {
    "string_type": "text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}
_NAME = "a name has lower-case letters, digits and `_`, starts with a letter and has at most 48 characters"
_SKILL = (
    "a skill is one to four words of lower-case letters, digits, `-` and `_` with dots between, like `a.b`"
)


def faults_of(
    errors: Iterable[Mapping[str, Any]],
    document: Document,
    model: Callable[[Path], type[BaseModel]] | None = None,
    whole: str = "plan",
) -> list[Fault]:
    """The faults that pydantic's errors tell of, each once.

    `model` says which part of another language stands at a path, `whole` what its outermost is called.
    """
    part = model or _model
    found: dict[Fault, None] = {}
    for error in errors:
        # A `join` that is a mapping can only be meant as `at_least`; that it is no word goes without saying.
        word = any("JoinRule" in str(part) for part in error["loc"])
        if not (word and isinstance(_value(_path(error["loc"], document.value), document), dict)):
            found[_fault(error, document, part, whole)] = None
    return list(found)


def _fault(
    error: Mapping[str, Any], document: Document, model: Callable[[Path], type[BaseModel]], whole: str
) -> Fault:
    path = _path(error["loc"], document.value)
    if "join" in error["loc"] and path[-1:] == ("join",):
        rules = listed([rule.value for rule in JoinRule])
        what = f"must be {rules} or `at_least: <number>`{_instead(path, document)}"
    else:
        what = _worded(error, path, document, model)
    return Fault(dotted(path) or whole, what, _line(path, document))


def _path(loc: tuple[str | int, ...], value: Json) -> Path:
    """Where an error is in the file: pydantic also names the branch of a union and marks keys."""
    path: list[str | int] = []
    for at, part in enumerate(loc):
        if part == "[key]" and at == len(loc) - 1:
            break
        if part in _parts(value):
            value = value[part]
            path.append(part)
    return tuple(path)


def _parts(value: Json) -> Collection[str | int]:
    if isinstance(value, dict):
        return value.keys()
    return range(len(value)) if isinstance(value, list) else ()


def _line(path: Path, document: Document) -> int | None:
    for end in range(len(path), -1, -1):
        if path[:end] in document.lines:
            return document.lines[path[:end]]
    return None


def _value(path: Path, document: Document) -> Json:
    value = document.value
    for part in path:
        value = value[part]
    return value


def _instead(path: Path, document: Document) -> str:
    """`, is …`, with what YAML made of an unquoted word."""
    value = _value(path, document)
    written = document.written.get(path, "")
    if value is None:
        return ", is empty" if written in {"", "~"} else ", is null"
    if isinstance(value, bool) and written:
        return f', but YAML reads `{written}` as {str(value).lower()}; put it in quotes: "{written}"'
    if isinstance(value, str):
        return f", is `{value[:60]}`"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f", is {value}"
    return f", is {kind_of(value)}"


def _worded(
    error: Mapping[str, Any], path: Path, document: Document, model: Callable[[Path], type[BaseModel]]
) -> str:
    kind, ctx = str(error["type"]), error.get("ctx") or {}
    name = str(error["loc"][-1])
    if kind == "extra_forbidden":
        return _unknown_key(name, model(path[:-1]))
    if kind == "missing":
        return f"`{name}` is missing"
    if kind == "value_error":
        return str(ctx.get("error", error["msg"]))
    if kind == "string_pattern_mismatch":
        rule = {NAME_PATTERN: _NAME, SKILL_PATTERN: _SKILL}.get(
            ctx["pattern"], f"must match {ctx['pattern']}"
        )
        shown = path[-1] if name == "[key]" else _value(path, document)
        return f"`{str(shown)[:60]}` cannot be used: {rule}"
    if name in _DURATIONS and kind in {"float_parsing", "float_type"}:
        shown = _instead(path, document)
        return f"must be a duration such as `200ms`, `30s`, `5m`, `1h`, `1d`, or a number of seconds{shown}"
    if kind == "tuple_type" and isinstance(_value(path, document), str):
        return f"must be a list: write [{_value(path, document)}]"
    if kind in _WANTED:
        hint = (
            "; quote it" if kind == "string_type" and isinstance(_value(path, document), int | float) else ""
        )
        shown = _instead(path, document)
        return f"must be {_WANTED[kind]}{shown}{'' if 'quotes' in shown else hint}"
    return _bound(kind, ctx, error, path, document)


def _bound(
    kind: str, ctx: Mapping[str, Any], error: Mapping[str, Any], path: Path, document: Document
) -> str:
    value = _value(path, document)
    match kind:
        case "greater_than_equal":
            return f"must be at least {ctx['ge']:g}, is {value}"
        case "less_than_equal":
            return f"must be at most {ctx['le']:g}, is {value}"
        case "too_short":
            return "is empty; at least one is needed"
        case "string_too_short":
            return "must not be empty"
        case "string_too_long":
            return f"must have at most {ctx['max_length']} characters, has {len(str(value))}"
        case "literal_error" | "enum":
            allowed = [word.strip("'") for word in str(ctx["expected"]).replace(" or ", ", ").split(", ")]
            shown = _instead(path, document)
            return f"must be one of {listed(allowed)}{shown}{did_you_mean(str(value), allowed)}"
        case _:
            return str(error["msg"])


def _unknown_key(name: str, model: type[BaseModel]) -> str:
    allowed = [field.alias or key for key, field in model.model_fields.items()]
    hint = did_you_mean(name, allowed)
    return (
        f"unknown key `{name}`{hint}{' Allowed here:' if hint else '; allowed here:'} {listed(allowed, 20)}"
    )


def _model(path: Path) -> type[BaseModel]:
    """Which part of the language stands at a path."""
    if not path:
        return Plan
    if path[0] == "inputs":
        return InputSpec
    # A step may be called `retry`: its name comes after `steps`.
    if len(path) >= 2 and path[-2] != "steps":
        return _PARTS.get(str(path[-1]), Step)
    return Step
