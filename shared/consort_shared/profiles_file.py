"""Profiles as people write them: read from TOML, YAML or JSON with the line of every fault, and written as TOML.

Whatever is wrong is told in one go and in words. The version of a profile that an
agent brings itself is the beginning of its digest, over what differs from the
defaults: a later release with one more field gives the same profile the same version.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ValidationError

from consort_shared.card import ProfileCard
from consort_shared.errors import InvalidInput, ProfileError
from consort_shared.plan.faults import faults_of
from consort_shared.plan.reader import Document, Path, read_json, read_yaml
from consort_shared.plan.wording import kind_of
from consort_shared.profile import Profile, ThinkingLimits
from consort_shared.values import Json, digest

__all__ = [
    "MAX_BYTES",
    "as_toml",
    "card_of",
    "load_profile",
    "own_version",
    "profile_of_value",
    "read_profile",
    "stated",
]

MAX_BYTES = 512 * 1024
"""Bytes of a profile's file."""
Form: TypeAlias = Literal["toml", "yaml", "json"]
_FORMS: dict[str, Form] = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
_AT = re.compile(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)
_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_TABLE = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]")
_UNCLEAN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def load_profile(path: str | FilePath) -> Profile:
    """The profile in a file, TOML, YAML or JSON by its name.

    Raises InvalidInput when the file cannot be read at all, ProfileError with every fault
    when what it says is no profile.
    """
    file = FilePath(path)
    form = _FORMS.get(file.suffix.lower())
    if form is None:
        raise InvalidInput(f"{path}: a profile is a file named {', '.join(f'*{end}' for end in _FORMS)}")
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise InvalidInput(f"{path}: is larger than {MAX_BYTES // 1024} KiB")
        text = raw.decode("utf-8-sig")
    except FileNotFoundError as exc:
        raise InvalidInput(f"{path}: there is no such file") from exc
    except UnicodeDecodeError as exc:
        line = raw[: exc.start].count(b"\n") + 1
        raise InvalidInput(f"{path}, line {line}: is not UTF-8 text") from exc
    except OSError as exc:
        raise InvalidInput(f"{path}: cannot be read: {exc.strerror or exc}") from exc
    return read_profile(text, str(path), form)


def read_profile(text: str, source: str = "profile", form: Form = "toml") -> Profile:
    """The profile in a text; `source` is what messages call it. Raises as `load_profile` does."""
    if not text.strip():
        raise InvalidInput(f"{source}: is empty")
    match form:
        case "toml":
            document = _read_toml(text, source)
        case "yaml":
            document = read_yaml(text, source)
        case "json":
            document = read_json(text, source)
    return _profile(document, source)


def profile_of_value(value: Mapping[str, Json], source: str = "profile") -> Profile:
    """The profile in a value that was read already. Raises ProfileError with every fault."""
    return _profile(Document(dict(value)), source)


def stated(profile: Profile) -> dict[str, Json]:
    """What a profile says that is not the default."""
    said: dict[str, Json] = profile.model_dump(mode="json", exclude_defaults=True)
    return said


def own_version(profile: Profile) -> str:
    """How the profile is named that an agent brings itself: `file:` and 12 hex digits."""
    return f"file:{digest(stated(profile))[:12]}"


def card_of(profile: Profile) -> ProfileCard:
    """What the agent's card shows of the profile that it brings itself."""
    return ProfileCard(role=profile.role, goal=profile.goal, version=own_version(profile))


def as_toml(profile: Profile) -> str:
    """A profile as a file, ending in a line break; empty for one that says nothing."""
    said = stated(profile)
    limits = said.pop("limits", {})
    lines = [f"{key} = {_toml(value)}" for key, value in said.items()]
    if limits:
        lines += ["", "[limits]"] if lines else ["[limits]"]
        lines += [f"{key} = {_toml(value)}" for key, value in limits.items()]
    return "".join(f"{line}\n" for line in lines)


def _toml(value: Json) -> str:
    """A basic string of TOML knows the escapes of JSON's; a text of several lines keeps them if it can."""
    if isinstance(value, str) and "\n" in value:
        plain = not _UNCLEAN.search(value) and "\\" not in value and '"""' not in value
        if plain and not value.endswith('"'):
            return f'"""\n{value}"""'
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# --- reading


def _read_toml(text: str, source: str) -> Document:
    """Raises InvalidInput for text that is not TOML, with the line and the column."""
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        found = _AT.match(str(exc))
        why = found[1] if found else str(exc)
        last = text.count("\n") + 1
        place = f"line {found[2]}, column {found[3]}" if found and found[2] else f"line {last}"
        raise InvalidInput(f"{source}, {place}: not TOML: {why}") from exc
    except RecursionError as exc:
        raise InvalidInput(f"{source}: nested too deep") from exc
    return Document(value, _lines_of(text))


def _lines_of(text: str) -> dict[Path, int]:
    """On which line each key stands, as far as can be told without a parser of one's own."""
    lines: dict[Path, int] = {}
    table: Path = ()
    quotes = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not quotes:
            if (header := _TABLE.match(line)) is not None:
                table = _parts(header[1])
                lines.setdefault(table, number)
            elif (key := _KEY.match(line)) is not None:
                path = (*table, *_parts(key[1]))
                for end in range(len(table) + 1, len(path) + 1):
                    lines.setdefault(path[:end], number)
        for mark in ('"""', "'''"):
            if quotes in ("", mark) and line.count(mark) % 2:
                quotes = "" if quotes else mark
                break
    return lines


def _parts(dotted: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _model(path: Path) -> type[BaseModel]:
    return ThinkingLimits if path[:1] == ("limits",) else Profile


def _profile(document: Document, source: str) -> Profile:
    if not isinstance(document.value, dict):
        shown = "empty" if document.value is None else kind_of(document.value)
        raise InvalidInput(f"{source}: must be a mapping with keys such as `role` and `goal`, is {shown}")
    faults = list(document.faults)
    try:
        profile = Profile.model_validate(document.value)
    except ValidationError as exc:
        errors: list[Any] = exc.errors(include_url=False)
        faults += faults_of(errors, document, _model, "profile")
    if faults:
        raise ProfileError(sorted(faults, key=lambda fault: fault.line or 0), source)
    return profile
