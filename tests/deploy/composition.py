"""Reads the Dockerfile, and compose files as `docker compose` does: variables, merged keys, short forms."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from deploy_kit import COMPOSE

_variable = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<bare>\w+)|\{(?P<name>\w+)(?:(?P<how>:?[-?+])(?P<then>[^}]*))?\})"
)


class Unset(Exception):
    """A variable that must be set is not; the text is what the file says of it."""


def interpolated(value: Any, given: Mapping[str, str]) -> Any:
    """A loaded file with its variables put in. Raises Unset."""
    match value:
        case str():
            return _variable.sub(lambda found: _value(found, given), value)
        case dict():
            return {key: interpolated(inner, given) for key, inner in value.items()}
        case list():
            return [interpolated(inner, given) for inner in value]
        case _:
            return value


def _value(found: re.Match[str], given: Mapping[str, str]) -> str:
    if found["escaped"]:
        return "$"
    name = found["bare"] or found["name"]
    how, then = found["how"] or "", found["then"] or ""
    there = name in given and not (how.startswith(":") and not given[name])
    match how.removeprefix(":"):
        case "-":
            return given[name] if there else then
        case "+":
            return then if there else ""
        case "?" if not there:
            raise Unset(f"{name}: {then}")
        case _:
            return given.get(name, "")


@dataclass(frozen=True)
class Mount:
    """`source` is a named volume, or the path of what is bound."""

    source: str
    target: str
    read_only: bool

    @property
    def named(self) -> bool:
        return not self.source.startswith((".", "/"))


@dataclass(frozen=True)
class Service:
    """A service as a container would be given it."""

    name: str
    raw: Mapping[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return {name: str(value) for name, value in (self.raw.get("environment") or {}).items()}

    @property
    def mounts(self) -> list[Mount]:
        found = []
        for text in self.raw.get("volumes", ()):
            source, target, *options = text.split(":")
            found.append(Mount(source, target, options == ["ro"]))
        return found

    @property
    def command(self) -> list[str]:
        """What follows the entry point."""
        command = self.raw.get("command", [])
        return shlex.split(command) if isinstance(command, str) else [str(word) for word in command]

    @property
    def ours(self) -> bool:
        return "build" in self.raw


def load(path: Path, given: Mapping[str, str]) -> dict[str, Any]:
    """Raises Unset."""
    whole = interpolated(yaml.safe_load(path.read_text(encoding="utf-8")), given)
    assert isinstance(whole, dict)
    return whole


def services(path: Path, given: Mapping[str, str] | None = None) -> dict[str, Service]:
    return {name: Service(name, raw) for name, raw in load(path, given or {})["services"].items()}


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|m|h)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def instructions() -> dict[str, list[str]]:
    """What the Dockerfile says, by instruction, lines that go on joined."""
    text = re.sub(r"^#.*\n", "", (COMPOSE / "Dockerfile").read_text(), flags=re.MULTILINE).replace(
        "\\\n", " "
    )
    found: dict[str, list[str]] = {}
    for line in filter(str.strip, text.splitlines()):
        word, _, rest = line.partition(" ")
        found.setdefault(word, []).append(" ".join(rest.split()))
    return found


def health_command() -> list[str]:
    """The image's, for this machine's Python."""
    command: list[str] = json.loads(instructions()["HEALTHCHECK"][0].partition("CMD ")[2])
    return [sys.executable, *command[1:]]
