"""Reads a folder of sources: tables, documents, and notes on what could not be used.

Decides which files are read and how their bytes become text; knows neither what a
column means nor what is asked. Whatever is wrong with one file ends in a note that
names it; only a folder that yields nothing at all is an error. Files are taken in
the order of their names and links that lead out of the folder are not followed, so
that the same folder gives the same facts on any machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from consort_agents.specialists.delimited import RawTable, lines_of, read_delimited
from consort_agents.specialists.facts import Place, SourceFile
from consort_shared.errors import InvalidInput
from consort_shared.values import Json, bytes_digest

MAX_FILES = 200
MAX_BYTES = 8 * 1024 * 1024
"""Bytes read of one file; the rest is left out with a note."""

_DELIMITED = frozenset({".csv", ".tsv"})
_DOCUMENTS = frozenset({".md", ".markdown", ".txt", ".text", ".rst"})
_JSON = frozenset({".json", ".jsonl", ".ndjson"})
_READ = "CSV (.csv, .tsv), Markdown (.md), text (.txt), JSON (.json, .jsonl)"
_DEEPEST = 64


class UnusableSources(InvalidInput):
    """The folder cannot be worked with; the text says which, why, and what would be right."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text, line by line."""

    file: str
    lines: tuple[str, ...]
    place: Place = "line"


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table with the file it is from."""

    file: str
    raw: RawTable
    place: Place = "line"


@dataclass(frozen=True, slots=True)
class Sources:
    """What a folder holds. `notes` say what was left out and why."""

    files: tuple[SourceFile, ...]
    tables: tuple[SourceTable, ...]
    documents: tuple[Document, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Content:
    found: SourceTable | Document | None
    notes: tuple[str, ...] = ()


def read_folder(folder: str | Path) -> Sources:
    """Everything readable in a folder and the folders in it. Raises UnusableSources."""
    root = Path(folder).expanduser()
    if not root.exists():
        raise UnusableSources(f"{folder}: no such folder; give the path of a folder with {_READ}")
    if not root.is_dir():
        raise UnusableSources(f"{folder}: is a file; give the path of the folder that holds it")
    paths, notes = _paths(root)
    files, tables, documents = [], [], []
    for path in paths:
        name = path.relative_to(root).as_posix()
        raw, content = _read(path, name)
        notes.extend(content.notes)
        match content.found:
            case SourceTable() as table:
                tables.append(table)
                files.append(_file(name, "table", len(table.raw.rows), raw))
            case Document() as document:
                documents.append(document)
                files.append(_file(name, "document", len(document.lines), raw))
            case None:
                pass
    if not files:
        why = f": {' '.join(notes)}" if notes else ", it is empty"
        raise UnusableSources(f"{folder}: holds nothing that can be read{why}; what can be read: {_READ}")
    return Sources(tuple(files), tuple(tables), tuple(documents), tuple(notes))


def _file(name: str, kind: Literal["table", "document"], extent: int, raw: bytes) -> SourceFile:
    return SourceFile(name=name, kind=kind, extent=extent, digest=bytes_digest(raw))


def _paths(root: Path) -> tuple[list[Path], list[str]]:
    inside = root.resolve()
    paths, notes = [], []
    for path in sorted(root.rglob("*"), key=lambda found: found.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix()
        if any(part.startswith(".") for part in Path(name).parts) or path.is_dir():
            continue
        if not path.resolve().is_relative_to(inside):
            notes.append(f"{name}: not read: a link that leads out of the folder.")
        elif not path.is_file():
            notes.append(f"{name}: not read: not a regular file.")
        else:
            paths.append(path)
    if len(paths) > MAX_FILES:
        notes.append(f"Only the first {MAX_FILES} of {len(paths)} files were read.")
    return paths[:MAX_FILES], notes


def _read(path: Path, name: str) -> tuple[bytes, _Content]:
    suffix = path.suffix.lower()
    if suffix not in _DELIMITED | _DOCUMENTS | _JSON:
        return b"", _Content(None, (f"{name}: not read: not one of {_READ}.",))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as exc:
        return b"", _Content(None, (f"{name}: not read: {exc.strerror or exc}.",))
    notes = []
    if len(raw) > MAX_BYTES:
        raw = raw[: raw.rfind(b"\n", 0, MAX_BYTES) + 1] or raw[:MAX_BYTES]
        notes.append(f"{name}: larger than {MAX_BYTES // 1024 // 1024} MiB; only its beginning was read.")
    text, note = decode(raw, name)
    notes.extend([note] if note else [])
    if text is None:
        return raw, _Content(None, tuple(notes))
    content = _content(text, name, suffix)
    return raw, _Content(content.found, (*notes, *content.notes))


def decode(raw: bytes, name: str) -> tuple[str | None, str]:
    """Bytes as text with a note if they were not plain UTF-8; None if they are no text at all."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", errors="replace"), f"{name}: read as UTF-16."
    if b"\x00" in raw:
        return None, f"{name}: not read: it is binary, not text."
    try:
        return raw.decode("utf-8-sig"), ""
    except UnicodeDecodeError as exc:
        line = raw[: exc.start].count(b"\n") + 1
        note = f"{name}: not UTF-8 (line {line}); read as Windows-1252, special characters may be wrong."
        return raw.decode("cp1252", errors="replace"), note


def _content(text: str, name: str, suffix: str) -> _Content:
    if not text.strip():
        return _Content(None, (f"{name}: empty.",))
    if suffix in _JSON:
        return _json(text, name)
    if suffix in _DELIMITED:
        raw = read_delimited(text, name)
        if raw is None or not raw.rows:
            return _Content(None, (*(raw.notes if raw else ()), f"{name}: not used: no rows below a header."))
        return _Content(SourceTable(name, raw), raw.notes)
    return _Content(Document(name, tuple(lines_of(text))))


def _json(text: str, name: str) -> _Content:
    try:
        value: Json = json.loads(text)
    except RecursionError:
        return _Content(None, (f"{name}: not used: nested too deeply.",))
    except ValueError as exc:
        try:
            value = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            return _Content(None, (f"{name}: not used: not JSON ({exc}).",))
    items = _objects(value)
    if items:
        return _Content(SourceTable(name, _from_objects(items), "item"))
    lines = tuple(_flat(value))
    return _Content(Document(name, lines, "item")) if lines else _Content(None, (f"{name}: empty.",))


def _objects(value: Json) -> list[dict[str, Json]]:
    """The list of objects that a JSON value is, or has as its only list."""
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list)]
        value = lists[0] if len(lists) == 1 else []
    if isinstance(value, list) and value and all(isinstance(item, dict) and item for item in value):
        return value
    return []


def _from_objects(items: list[dict[str, Json]]) -> RawTable:
    keys = list(dict.fromkeys(key for item in items for key in item))
    rows = tuple(tuple(_cell(item.get(key)) for key in keys) for item in items)
    header = tuple(key.replace("[", "(").replace("]", ")").replace("`", "'") or "column" for key in keys)
    return RawTable(header, rows, tuple(range(1, len(items) + 1)))


def _cell(value: Json) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            return value.strip()
        case int() | float():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _flat(value: Json, path: str = "", depth: int = 0) -> list[str]:
    """A JSON value as lines `path: text`."""
    if depth < _DEEPEST and isinstance(value, dict):
        return [
            line
            for key, part in value.items()
            for line in _flat(part, f"{path}.{key}".lstrip("."), depth + 1)
        ]
    if depth < _DEEPEST and isinstance(value, list):
        return [line for at, part in enumerate(value) for line in _flat(part, f"{path}[{at}]", depth + 1)]
    return [f"{path}: {_cell(value)}" if path else _cell(value)] if _cell(value) else []
