"""A run's result as files: the value, the texts in it that people read, and its artefacts.

Names come from agents, so they are strangers' text: each becomes one plain file
name inside the folder, and none takes another's place.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from consort_orchestrator.cli.options import as_json
from consort_shared.values import ArtefactRef, Json

LONG_TEXT = 200
"""Characters from which on a top-level text of the output gets a file of its own."""
_LONGEST_NAME = 100
_unwanted = re.compile(r"[^\w.() +-]+")
_REF_FIELDS = {"artefact", "writer", "size"}


class Store(Protocol):
    """Where artefacts come from."""

    async def save(self, ref: ArtefactRef, path: Path) -> None: ...


@dataclass(slots=True)
class Names:
    """Hands out file names, each once, also where upper and lower case are the same."""

    taken: set[str] = field(default_factory=set)

    def take(self, wanted: str, otherwise: str) -> str:
        """A safe name as near to the one wanted as can be."""
        name = safe_name(wanted) or otherwise
        stem, dot, suffix = name.rpartition(".")
        if not stem:
            stem, dot, suffix = name, "", ""
        candidate, count = name, 1
        while candidate.casefold() in self.taken:
            count += 1
            candidate = f"{stem}-{count}{dot}{suffix}"
        self.taken.add(candidate.casefold())
        return candidate


def safe_name(text: str) -> str:
    """The last part of a path of any system, without what a shell or a file system could stumble over."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", text))[-1]
    plain = _unwanted.sub("_", last).strip(" .").lstrip("-")
    if len(plain.encode()) > _LONGEST_NAME:
        stem, dot, suffix = plain.rpartition(".")
        if not stem or len(suffix) > 10:
            stem, dot, suffix = plain, "", ""
        room = _LONGEST_NAME - len(f"{dot}{suffix}".encode())
        plain = stem.encode()[:room].decode(errors="ignore") + dot + suffix
    return "" if set(plain) <= {"_", ".", "-", " "} else plain


def texts_of(output: Json) -> Iterator[tuple[str, str]]:
    """The texts that get a file of their own: those named `report`, and long ones at the top."""
    if isinstance(output, str):
        if len(output) > LONG_TEXT:
            yield "result", output
        return
    if isinstance(output, Mapping):
        for name, value in output.items():
            if isinstance(value, str) and name != "report" and len(value) > LONG_TEXT:
                yield str(name), value
    yield from (("report", text) for text in _reports(output))


def _reports(value: Json) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            if name == "report" and isinstance(part, str):
                yield part
            else:
                yield from _reports(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _reports(part)


def artefacts_of(value: Json) -> Iterator[ArtefactRef]:
    """Every reference to an artefact in a value, each once."""
    seen: set[ArtefactRef] = set()
    for ref in _refs(value):
        if ref not in seen:
            seen.add(ref)
            yield ref


def _refs(value: Json) -> Iterator[ArtefactRef]:
    if isinstance(value, Mapping):
        if value.keys() >= _REF_FIELDS:
            try:
                yield ArtefactRef.model_validate(value)
            except ValidationError:
                pass
            else:
                return
        for part in value.values():
            yield from _refs(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _refs(part)


async def save_results(output: Json, folder: Path, store: Store) -> list[Path]:
    """Write a result's files into a folder; which. Raises OSError, BusError for an artefact that is gone."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    names = Names()
    files = [folder / names.take("result.json", "result.json")]
    _write(files[0], as_json(output, indent=2) + "\n")
    for wanted, text in texts_of(output):
        path = folder / names.take(f"{wanted}.md", "text.md")
        _write(path, text if text.endswith("\n") else text + "\n")
        files.append(path)
    for ref in artefacts_of(output):
        path = folder / names.take(ref.name, f"artefact-{ref.artefact[:12]}")
        await store.save(ref, path)
        await asyncio.to_thread(path.chmod, 0o644)
        files.append(path)
    return files


def _write(path: Path, text: str) -> None:
    """Replaces what is at the path, never what a link there leads to."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=".", delete=False
    ) as file:
        file.write(text)
    draft = Path(file.name)
    draft.chmod(0o644)
    draft.replace(path)
