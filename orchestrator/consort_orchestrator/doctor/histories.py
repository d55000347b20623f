"""Histories as files: a run's entries as JSON lines, written for keeping, read to be folded again.

    {"consort": "0.1.0", "run": "01a2…", "schema": 2, "entries": 3, "portrait": {…}}
    {"seq": 16, "subject": "log.01a2….entry.-.granted", "schema": 2, "body": "<base64>"}
    …

`portrait` is what the entries folded to when they were written; there is none if they
could not be folded. `schema` of the first line is that of the writer, of another line
that of the entry. A `body` that was stored apart and is gone is null, with the reason
in `missing`. `type` is there only for a body that is not msgpack.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from consort_bus.recorded import Recorded, Recording
from consort_orchestrator.core import Run, portrait
from consort_orchestrator.doctor.folding import CannotFold, folding
from consort_shared.codec import MSGPACK
from consort_shared.entries import SCHEMA
from consort_shared.errors import InvalidInput
from consort_shared.ids import is_run_id
from consort_shared.values import Json

NAMED = ("steps", "context")
"""Parts of a portrait whose keys are names: one more or one less is a difference."""


class BadHistory(InvalidInput):
    """A file that is no history, or not a whole one; `line` counts from 1."""

    def __init__(self, name: str, line: int, why: str) -> None:
        super().__init__(f"{name}: line {line}: {why}" if line else f"{name}: {why}")
        self.name = name
        self.line = line
        self.why = why


@dataclass(frozen=True, slots=True)
class History:
    """A history that was read from a file: entry number `i` of the tuple stands on line `i + 2`."""

    run: str
    consort: str
    schema: int
    entries: tuple[Recorded, ...]
    portrait: dict[str, Json] | None


def lines(recording: Recording, version: str) -> Iterator[str]:
    """A recording as the lines of a file, each without its line break."""
    head: dict[str, Json] = {
        "consort": version,
        "run": recording.run,
        "schema": SCHEMA,
        "entries": len(recording.entries),
    }
    run = Run(recording.run)
    try:
        for _ in folding(run, recording.entries):
            pass
        head["portrait"] = portrait(run)
    except CannotFold:
        pass  # kept as it is, for whoever can read it
    yield json.dumps(head, ensure_ascii=False)
    for entry in recording.entries:
        yield json.dumps(_line(entry), ensure_ascii=False)


def _line(entry: Recorded) -> dict[str, Json]:
    body = None if entry.body is None else base64.b64encode(entry.body).decode()
    line: dict[str, Json] = {"seq": entry.seq, "subject": entry.subject, "schema": entry.schema, "body": body}
    if entry.body is None:
        line["missing"] = entry.missing
    if entry.content_type != MSGPACK:
        line["type"] = entry.content_type
    return line


def parse(name: str, text: str) -> History:
    """A history from the text of a file; `name` is for messages. Raises BadHistory."""
    if not text.strip():
        raise BadHistory(name, 0, "is empty")
    found = text.removesuffix("\n").split("\n")
    head = _object(name, 1, found[0], last=len(found) == 1)
    run = head.get("run")
    if not isinstance(run, str) or not is_run_id(run) or not isinstance(head.get("entries"), int):
        raise BadHistory(
            name, 1, 'is not the first line of a history: it names no "run" and number of "entries"'
        )
    entries = tuple(
        _entry(name, number, _object(name, number, line, last=number == len(found)))
        for number, line in enumerate(found[1:], 2)
    )
    if len(entries) != head["entries"]:
        missing = "it was cut" if len(entries) < head["entries"] else "it has more than it should"
        raise BadHistory(
            name,
            len(found),
            f"the history ends here with {len(entries)} of {head['entries']} entries: {missing}",
        )
    told = head.get("portrait")
    return History(
        run,
        str(head.get("consort", "")),
        head["schema"] if isinstance(head.get("schema"), int) else 0,
        entries,
        told if isinstance(told, dict) else None,
    )


def _object(name: str, number: int, line: str, *, last: bool) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as exc:
        cut = "; the file was cut" if last and number > 1 else ""
        raise BadHistory(name, number, f"is not JSON: {exc}{cut}") from exc
    if not isinstance(value, dict):
        raise BadHistory(name, number, "is not a JSON object")
    return value


def _entry(name: str, number: int, line: dict[str, Any]) -> Recorded:
    seq, subject, body = line.get("seq"), line.get("subject"), line.get("body")
    if not isinstance(seq, int) or not isinstance(subject, str) or "body" not in line:
        raise BadHistory(name, number, 'is no entry: it needs "seq", "subject" and "body"')
    schema = line.get("schema")
    raw: bytes | None = None
    if body is not None:
        try:
            raw = base64.b64decode(body, validate=True)
        except (binascii.Error, TypeError, ValueError) as exc:
            raise BadHistory(name, number, f"its body is not base64: {exc}") from exc
    return Recorded(
        seq,
        subject,
        schema if isinstance(schema, int) else 1,
        raw,
        str(line.get("type", MSGPACK)),
        missing=str(line.get("missing", "")),
    )


def differences(recorded: Json, found: Json, where: str = "") -> list[str]:
    """What a portrait tells otherwise than the recorded one; what it tells beyond that is none.

    A later version may tell more of a run or of a step, but it must not find other steps.
    """
    if not isinstance(recorded, dict) or not isinstance(found, dict):
        same = recorded == found
        return [] if same else [f"{where or 'portrait'}: was {_short(recorded)}, is {_short(found)}"]
    told: list[str] = []
    for key, value in recorded.items():
        place = f"{where}.{key}" if where else str(key)
        if key not in found:
            told.append(f"{place}: was {_short(value)}, is not there")
        elif key == "output" and not where:
            told += [] if value == found[key] else [f"{place}: was {_short(value)}, is {_short(found[key])}"]
        else:
            told += differences(value, found[key], place)
    if where in NAMED:
        told += [
            f"{where}.{key}: was not there, is {_short(found[key])}" for key in found if key not in recorded
        ]
    return told


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "…"
