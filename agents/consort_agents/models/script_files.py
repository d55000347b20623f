"""Scripts from files: read, checked, with the line of every fault in words.

Whoever writes a script has never seen the model behind it, so what pydantic says becomes
sentences about keys and places. What a script does is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from consort_agents.models.filling import placeholders, unknown_placeholder
from consort_agents.models.script import (
    Answer,
    Effect,
    Fail,
    Limit,
    Match,
    Otherwise,
    ResultMatch,
    Rule,
    Script,
    Tokens,
    Use,
    When,
)
from consort_shared.errors import Fault, InvalidInput
from consort_shared.plan.reader import Document, read_yaml
from consort_shared.plan.wording import did_you_mean, dotted, listed
from consort_shared.values import Json

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of a script."""


class ScriptError(InvalidInput):
    """A script that cannot be played, with every fault found in it."""

    def __init__(self, faults: Sequence[Fault], source: str) -> None:
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{source}: {len(faults)} fault{'s' if len(faults) != 1 else ''}\n{lines}")
        self.faults = tuple(faults)


def load_script(path: str | Path) -> Script:
    """The script in a file. Raises InvalidInput for what is no file or no YAML, ScriptError with every fault."""
    file = Path(path)
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InvalidInput(f"{path}: is larger than {MAX_BYTES // 1024 // 1024} MiB")
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as exc:
        raise InvalidInput(f"{path}: there is no such file") from exc
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"{path}: is not UTF-8 text") from exc
    except OSError as exc:
        raise InvalidInput(f"{path}: cannot be read: {exc.strerror or exc}") from exc
    return read_script(text, str(path))


def read_script(text: str, source: str = "script") -> Script:
    """The script in a text. Raises as `load_script` does."""
    document = read_yaml(text, source)
    if not isinstance(document.value, dict):
        raise InvalidInput(f"{source}: must be a mapping with `rules`; see the page on models for the form")
    faults = list(document.faults)
    try:
        script = Script.model_validate(document.value)
    except ValidationError as exc:
        faults += [_fault(error, document) for error in exc.errors(include_url=False)]
        raise ScriptError(_sorted(faults), source) from exc
    faults += _bad_placeholders(document)
    if faults:
        raise ScriptError(_sorted(faults), source)
    return script


def _sorted(faults: list[Fault]) -> list[Fault]:
    return sorted(dict.fromkeys(faults), key=lambda fault: fault.line or 0)


def _fault(error: Mapping[str, Any], document: Document) -> Fault:
    path = _path(error["loc"], document.value)
    return Fault(dotted(path) or "script", _worded(error), _line(path, document))


def _path(loc: Sequence[str | int], value: Json) -> tuple[str | int, ...]:
    """Where an error is in the file: shorthands have no place of their own there."""
    path: list[str | int] = []
    for part in loc:
        inside = isinstance(value, dict) and part in value
        if not (inside or (isinstance(value, list) and isinstance(part, int) and part < len(value))):
            break
        value = value[part]
        path.append(part)
    return tuple(path)


def _line(path: tuple[str | int, ...], document: Document) -> int | None:
    while path and path not in document.lines:
        path = path[:-1]
    return document.lines.get(path)


_KEYS = {
    name: sorted({field.alias or key for key, field in part.model_fields.items()})
    for name, part in (
        ("when", When),
        ("answer", Answer),
        ("fail", Fail),
        ("usage", Tokens),
        ("limit", Limit),
        ("otherwise", Otherwise),
        ("use", Use),
        ("result", ResultMatch),
        ("system", Match),
        ("user", Match),
        ("conversations", Effect),
        ("rules", Rule),
    )
}


def _worded(error: Mapping[str, Any]) -> str:
    loc, kind = error["loc"], error["type"]
    if kind == "missing":
        return f"`{loc[-1]}` is missing"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "extra_forbidden":
        parts = [str(part) for part in loc[:-1] if str(part) in _KEYS]
        allowed = _KEYS[parts[-1]] if parts else sorted(Script.model_fields)
        hint = did_you_mean(str(loc[-1]), allowed)
        return f"unknown key `{loc[-1]}`{hint or f'; allowed here: {listed(allowed, 20)}'}"
    if kind in {"string_type", "model_type"}:
        wanted = "text" if kind == "string_type" else "a mapping"
        return f"must be {wanted}, is {str(error['input'])[:60]}; text such as that stands in quotes"
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}, is {str(error['input'])[:60]!r}"


def _bad_placeholders(document: Document) -> list[Fault]:
    """Placeholders that stand for nothing. They are looked for in answers only: elsewhere braces are text."""
    faults = []
    for path, text in _texts(document.value, ()):
        if "answer" not in path and path[:1] != ("conversations",):
            continue
        for placeholder in placeholders(text):
            if why := unknown_placeholder(placeholder):
                faults.append(Fault(dotted(path), why, _line(path, document)))
    return faults


def _texts(value: Json, path: tuple[str | int, ...]) -> list[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        return [(path, value)]
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    return [found for key, part in parts for found in _texts(part, (*path, key))]
