"""The inputs of a run, from the command line and from files, and the name of a run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from consort_shared.errors import InvalidInput
from consort_shared.ids import is_run_id
from consort_shared.plan.check import check_inputs
from consort_shared.plan.model import Plan
from consort_shared.values import Json, canonical

_part_of_id = re.compile(r"^[0-9a-f]{1,32}$")


def inputs_of(plan: Plan, pairs: Sequence[str], file: Path | None) -> dict[str, Json]:
    """The inputs of a run; what `--input` says wins over the file. Raises InvalidInput, PlanError."""
    given: dict[str, Json] = {} if file is None else _from_file(file)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--input {pair!r}: write NAME=VALUE")
        given[name.strip()] = _value(text, plan.inputs[name].type if name in plan.inputs else "any")
    return check_inputs(plan, given)


def values_of(pairs: Sequence[str], file: Path | None) -> dict[str, Json]:
    """Named values that no plan declares: JSON is read, and what is none is text. Raises InvalidInput."""
    given: dict[str, Json] = {} if file is None else _from_file(file)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip():
            raise InvalidInput(f"--input {pair!r}: write NAME=VALUE")
        given[name.strip()] = _value(text, "any")
    return given


def _value(text: str, kind: str) -> Json:
    """Text stays text where the plan wants text; elsewhere JSON is read, and what is none stays text."""
    if kind == "string":
        return text
    try:
        value: Json = json.loads(text)
        canonical(value)
    except ValueError:
        return text
    return value


def _from_file(file: Path) -> dict[str, Json]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        value = json.loads(text) if file.suffix.lower() == ".json" else yaml.safe_load(text)
        canonical(value)
    except OSError as exc:
        raise InvalidInput(f"{file}: cannot be read: {exc.strerror or exc}") from exc
    except TypeError as exc:
        raise InvalidInput(f"{file}: holds what JSON cannot: {exc}; put dates in quotes") from exc
    except (ValueError, yaml.YAMLError, RecursionError) as exc:
        raise InvalidInput(f"{file}: is not {'JSON' if file.suffix == '.json' else 'YAML'}: {exc}") from exc
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise InvalidInput(f"{file}: must be a mapping of input names to values")
    return value


def check_reference(text: str) -> str:
    """A run as people name it: its id, the beginning of it, or `last`. Raises InvalidInput."""
    if text != "last" and not _part_of_id.match(text):
        raise InvalidInput(
            f"{text!r} is no run: write its id of 32 hex digits, the beginning of it, or `last`; "
            "`consort runs` lists them"
        )
    return text


def check_new_id(text: str) -> str:
    """A run id of the user's own making. Raises InvalidInput."""
    if not is_run_id(text):
        raise InvalidInput(f"{text!r} is no run id: it must be 32 hex digits, lower case")
    return text
