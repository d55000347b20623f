"""YAML and JSON text to plain values, with the line of every part.

Only what JSON can say is accepted: a tag, a binary or a set is refused, an instant
stays the text it was written as. Keys must be text and different from each other.
YAML 1.1 reads `on`, `yes` and `no` as booleans; as a key that is refused with a
hint, as a value the text is remembered, so that whoever wanted text can say why
it is none. Aliases are expanded with a limit on what they may grow to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from consort_shared.errors import Fault, InvalidInput
from consort_shared.plan.wording import dotted, kind_of
from consort_shared.values import Json

Path = tuple[str | int, ...]

MAX_NODES = 300_000
"""Values in one text, with every alias expanded."""
MAX_LEVELS = 100
"""Levels of mappings and lists."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a text says, where it says it, and the faults met on the way."""

    value: Json
    lines: dict[Path, int] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)
    """scalars that YAML reads as something else than text, as they were written"""
    faults: tuple[Fault, ...] = ()


def read_yaml(text: str, source: str) -> Document:
    """Raises InvalidInput for text that is not YAML, with the line and the column."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        events = list(_bounded(yaml.parse(text, Loader=loader), source))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidInput(f"{source}{place}: not YAML: {exc.problem or exc.context}") from exc
    except (yaml.YAMLError, ValueError) as exc:
        raise InvalidInput(f"{source}: not YAML: {' '.join(str(exc).split())}") from exc
    except RecursionError as exc:
        raise InvalidInput(f"{source}: nested too deep") from exc
    return _Composer(events, source).read()


def read_json(text: str, source: str) -> Document:
    """Raises InvalidInput for text that is not JSON. Lines come from reading it as YAML, where that works."""
    twice: list[str] = []

    def once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        made: dict[str, Json] = {}
        for key, value in pairs:
            if key in made:
                twice.append(key)
            made[key] = value
        return made

    def refuse(word: str) -> Json:
        raise InvalidInput(f"{source}: not JSON: `{word}` is no number")

    try:
        value = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except json.JSONDecodeError as exc:
        raise InvalidInput(f"{source}, line {exc.lineno}, column {exc.colno}: not JSON: {exc.msg}") from exc
    except RecursionError as exc:
        raise InvalidInput(f"{source}: nested too deep") from exc
    try:
        # In JSON a tab is never inside a string, and YAML does not take it for space.
        seen = read_yaml(text.replace("\t", " "), source)
    except InvalidInput:
        return Document(
            value, faults=tuple(Fault("plan", f"the key `{key}` is given twice") for key in twice)
        )
    return Document(value, seen.lines, faults=seen.faults)


def _bounded(events: Iterable[Any], source: str) -> Iterator[Any]:
    """The events within the limits, without the frame around the documents.

    Counting here keeps the parser from going on: its time grows with the square of the depth.
    """
    depth = values = 0
    for event in events:
        kind = type(event).__name__
        if kind in {"StreamStartEvent", "StreamEndEvent", "DocumentEndEvent"}:
            continue
        if kind in {"SequenceEndEvent", "MappingEndEvent"}:
            depth -= 1
        else:
            values += 1
            depth += kind in {"SequenceStartEvent", "MappingStartEvent"}
        if depth > MAX_LEVELS:
            raise InvalidInput(f"{source}, line {_line(event)}: nested deeper than {MAX_LEVELS} levels")
        if values > 2 * MAX_NODES:  # keys count here, not in what is read
            raise InvalidInput(f"{source}: more than {MAX_NODES} values")
        yield event


class _Composer:
    """Builds values from the events of one document."""

    def __init__(self, events: list[Any], source: str) -> None:
        from yaml.constructor import SafeConstructor
        from yaml.resolver import Resolver

        self.source = source
        self.events = events
        self.at = 0
        self.nodes = 0
        self.anchors: dict[str, int] = {}
        self.open: set[str] = set()
        self.resolver = Resolver()
        self.constructor = SafeConstructor()
        self.read_before: dict[Any, Json] = {}
        self.lines: dict[Path, int] = {}
        self.written: dict[Path, str] = {}
        self.faults: list[Fault] = []

    def read(self) -> Document:
        starts = [event for event in self.events if type(event).__name__ == "DocumentStartEvent"]
        if not starts:
            return Document(None)
        if len(starts) > 1:
            raise InvalidInput(f"{self.source}, line {_line(starts[1])}: more than one document in a file")
        self.events.remove(starts[0])
        value = self._value((), 0)
        return Document(value, self.lines, self.written, tuple(self.faults))

    def _refuse(self, event: Any, what: str) -> InvalidInput:
        return InvalidInput(f"{self.source}, line {_line(event)}: {what}")

    def _value(self, path: Path, depth: int) -> Json:
        if self.nodes >= MAX_NODES:
            raise InvalidInput(f"{self.source}: more than {MAX_NODES} values, with aliases expanded")
        event = self.events[self.at]
        self.at += 1
        self.nodes += 1
        if depth > MAX_LEVELS:
            raise self._refuse(event, f"nested deeper than {MAX_LEVELS} levels")
        self.lines.setdefault(path, _line(event))
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self._alias(event, path, depth)
        if event.anchor:
            self.anchors[event.anchor] = self.at - 1
            self.open.add(event.anchor)
        try:
            if kind == "ScalarEvent":
                return self._scalar(event, path)
            if event.tag is not None and event.tag not in {
                "!",
                "tag:yaml.org,2002:map",
                "tag:yaml.org,2002:seq",
            }:
                raise self._refuse(event, f"the tag `{event.tag}` is not allowed; only plain values are")
            if kind == "SequenceStartEvent":
                return self._list(path, depth)
            return self._mapping(path, depth)
        finally:
            self.open.discard(event.anchor or "")

    def _alias(self, event: Any, path: Path, depth: int) -> Json:
        if event.anchor in self.open:
            raise self._refuse(event, f"the alias `*{event.anchor}` contains itself")
        if event.anchor not in self.anchors:
            raise self._refuse(event, f"the alias `*{event.anchor}` has no anchor before it")
        here, self.at = self.at, self.anchors[event.anchor]
        value = self._value(path, depth + 1)
        self.at = here
        return value

    def _list(self, path: Path, depth: int) -> list[Json]:
        items: list[Json] = []
        while type(self.events[self.at]).__name__ != "SequenceEndEvent":
            items.append(self._value((*path, len(items)), depth + 1))
        self.at += 1
        return items

    def _mapping(self, path: Path, depth: int) -> dict[str, Json]:
        made: dict[str, Json] = {}
        merged: dict[str, Json] = {}
        first: dict[str, int] = {}
        while type(self.events[self.at]).__name__ != "MappingEndEvent":
            event = self.events[self.at]
            key = self._key(event, path)
            if key == "<<" and event.implicit[0]:
                merged.update(self._merged(event, path, depth))
                continue
            line = _line(event)
            if key in first:
                what = f"the key `{key}` is given twice, first on line {first[key]}"
                self.faults.append(Fault(dotted((*path, key)), what, line))
            first.setdefault(key, line)
            self.lines[(*path, key)] = line
            made[key] = self._value((*path, key), depth + 1)
        self.at += 1
        return {**merged, **made}

    def _merged(self, event: Any, path: Path, depth: int) -> dict[str, Json]:
        """What `<<:` brings in; earlier mappings of a list win."""
        value = self._value(path, depth + 1)
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            raise self._refuse(event, "`<<` takes a mapping or a list of mappings")
        return {key: part for each in reversed(parts) for key, part in each.items()}

    def _key(self, event: Any, path: Path) -> str:
        if type(event).__name__ == "AliasEvent" and event.anchor in self.anchors:
            anchored = self.events[self.anchors[event.anchor]]
        else:
            anchored = event
        if type(anchored).__name__ != "ScalarEvent":
            raise self._refuse(event, "a key must be text")
        if event.anchor and anchored is event:
            self.anchors[event.anchor] = self.at
        self.at += 1
        text = str(anchored.value)
        value = self._plain(anchored)
        if not isinstance(value, str) and text != "<<":
            read = {True: "true", False: "false"}[value] if isinstance(value, bool) else kind_of(value)
            what = f'YAML reads the key `{text}` as {read}, not as text; put it in quotes: "{text}"'
            self.faults.append(Fault(dotted(path) or "plan", what, _line(event)))
        return text

    def _scalar(self, event: Any, path: Path) -> Json:
        value = self._plain(event)
        if not isinstance(value, str):
            self.written[path] = str(event.value)
        return value

    def _plain(self, event: Any) -> Json:
        """The value of a scalar. The same few stand everywhere in a plan, and reading one is slow."""
        seen = (event.value, event.tag, event.implicit)
        if seen not in self.read_before:
            self.read_before[seen] = self._read_scalar(event)
        return self.read_before[seen]

    def _read_scalar(self, event: Any) -> Json:
        from yaml.nodes import ScalarNode

        tag = event.tag
        if tag in {None, "!"}:
            tag = str(self.resolver.resolve(ScalarNode, event.value, event.implicit))  # type: ignore[no-untyped-call]
        name = tag.removeprefix("tag:yaml.org,2002:")
        if name in {"str", "timestamp", "value", "merge"}:
            return str(event.value)
        if name not in {"null", "bool", "int", "float"}:
            raise self._refuse(event, f"the tag `{tag}` is not allowed; only plain values are")
        try:
            value = self.constructor.construct_object(ScalarNode(tag, event.value))
        except (ValueError, KeyError) as exc:
            raise self._refuse(event, f"`{event.value}` is no {name}") from exc
        if isinstance(value, float) and value - value != 0:
            raise self._refuse(event, f"`{event.value}` is no number that JSON knows")
        return value


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
