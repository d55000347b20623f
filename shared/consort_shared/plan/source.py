"""Plans from files: read, validated, checked, with the line of every fault.

A plan file is YAML, or JSON when its name ends in `.json`. Whatever is wrong with
it is told in one go and in words, because the reader is a person who writes plans
and has never seen the model behind them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal

from pydantic import ValidationError

from consort_shared.errors import Fault, InvalidInput, PlanError
from consort_shared.plan.check import SkillInfo, check
from consort_shared.plan.faults import faults_of
from consort_shared.plan.model import Plan
from consort_shared.plan.reader import Document, read_json, read_yaml
from consort_shared.plan.scopes import Path
from consort_shared.plan.wording import kind_of
from consort_shared.values import Json

__all__ = ["MAX_BYTES", "LoadedPlan", "load", "load_checked", "loads", "of_value"]

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of a plan file."""


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """A plan, where it came from, and on which line each of its parts stands."""

    plan: Plan
    lines: Mapping[Path, int]
    text: str
    source: str


def load(path: str | FilePath) -> LoadedPlan:
    """The plan in a file, valid but not checked yet.

    Raises InvalidInput when the file cannot be read as YAML or JSON, PlanError
    with every fault when what it says is not a plan.
    """
    file = FilePath(path)
    try:
        raw = _raw(file)
        text = raw.decode("utf-8-sig")
    except FileNotFoundError as exc:
        raise InvalidInput(f"{path}: there is no such file") from exc
    except IsADirectoryError as exc:
        raise InvalidInput(f"{path}: is a directory, not a file") from exc
    except UnicodeDecodeError as exc:
        line = raw[: exc.start].count(b"\n") + 1
        raise InvalidInput(f"{path}, line {line}: is not UTF-8 text") from exc
    except OSError as exc:
        raise InvalidInput(f"{path}: cannot be read: {exc.strerror or exc}") from exc
    return loads(text, str(path), "json" if file.suffix.lower() == ".json" else "yaml")


def loads(text: str, source: str = "plan", format: Literal["yaml", "json"] = "yaml") -> LoadedPlan:
    """The plan in a text. `source` is what messages call it. Raises as `load` does."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise InvalidInput(f"{source}: is larger than {MAX_BYTES // 1024 // 1024} MiB")
    if not text.strip():
        raise InvalidInput(f"{source}: is empty")
    document = read_json(text, source) if format == "json" else read_yaml(text, source)
    if document.value is None:
        raise InvalidInput(f"{source}: is empty")
    if not isinstance(document.value, dict):
        raise InvalidInput(
            f"{source}: must be a mapping with `name` and `steps`, is {kind_of(document.value)}"
        )
    return LoadedPlan(_plan(document, source), document.lines, text, source)


def load_checked(path: str | FilePath, skills: Mapping[str, SkillInfo] | None = None) -> Plan:
    """The plan in a file, fit to be run. Raises InvalidInput, or PlanError with every fault."""
    loaded = load(path)
    if faults := check(loaded.plan, skills=skills, lines=loaded.lines):
        raise PlanError(faults, loaded.source)
    return loaded.plan


def of_value(value: Json, source: str = "plan", *, checked: bool = True) -> Plan:
    """The plan in a value that was read already, fit to be run. Raises InvalidInput, or PlanError with every fault.

    Without `checked` it is only known to be a plan.
    """
    plan = _plan(Document(value), source)
    if not checked:
        return plan
    if faults := check(plan):
        raise PlanError(faults, source)
    return plan


def _raw(file: FilePath) -> bytes:
    with file.open("rb") as stream:
        raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise InvalidInput(f"{file}: is larger than {MAX_BYTES // 1024 // 1024} MiB")
    return raw


def _plan(document: Document, source: str) -> Plan:
    faults: list[Fault] = list(document.faults)
    try:
        plan = Plan.model_validate(document.value)
    except ValidationError as exc:
        errors: list[Any] = exc.errors(include_url=False)
        faults += faults_of(errors, document)
    except RecursionError as exc:
        raise InvalidInput(f"{source}: blocks are nested too deep") from exc
    if faults:
        raise PlanError(sorted(faults, key=lambda fault: fault.line or 0), source)
    return plan
