"""Dead letters in words, and one in an editor."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import click

from consort_bus.letters import KINDS, Letter
from consort_bus.operator import LetterSettled, NotRedrivable, Operator
from consort_orchestrator.cli.options import as_json
from consort_orchestrator.cli.wording import one_line, size_text
from consort_shared.errors import InvalidInput

HEX_SHOWN = 512
"""Bytes of a body that cannot be read otherwise."""


def as_row(letter: Letter) -> list[str]:
    """A letter in two lines."""
    step = f", step {one_line(letter.step, 60)}" if letter.step else ""
    run = f"run {letter.run[:12]}{step}" if letter.run is not None else "no run"
    settled = f", {letter.settled.how} by {letter.settled.by}" if letter.settled is not None else ""
    return [
        f"{letter.id:>5}  {letter.at.astimezone():%Y-%m-%d %H:%M:%S}  {letter.kind}  {run}{settled}",
        f"       {one_line(letter.reason or 'no reason given')}",
    ]


def described(letter: Letter, raw: bytes, value: Any, with_body: bool) -> str:
    """Everything about a letter; its body as JSON where it can be read, else in hexadecimal."""
    facts = {
        "letter": f"{letter.id}, set aside {letter.at.astimezone():%Y-%m-%d %H:%M:%S}",
        "kind": f"{letter.kind}: {KINDS.get(letter.kind, 'of a later version')}",
        "why": one_line(letter.reason, 2000),
        "run": letter.run or "",
        "step": one_line(letter.step),
        "task": letter.task,
        "stood in": f"{letter.stream}, {one_line(letter.subject)}"
        + (f", number {letter.seq}" if letter.seq else ""),
        "deliveries": str(letter.deliveries or ""),
        "trace": letter.trace,
        "body": f"{size_text(len(raw))}, {letter.content_type or 'JSON, as no type is given'}",
        "settled": f"{letter.settled.how} by {letter.settled.by}" if letter.settled is not None else "",
    }
    lines = [f"{name:<11} {text}" for name, text in facts.items() if text]
    headers = {name: text for name, text in letter.headers.items() if name != "Content-Type"}
    lines += [f"{'headers':<11} {one_line(name)}: {one_line(text, 120)}" for name, text in headers.items()]
    if with_body:
        shown = as_json(value, indent=2) if value is not None or raw == b"null" else _hex(raw)
        lines += ["", shown]
    if letter.settled is None:
        lines += ["", *_what_next(letter)]
    return "\n".join(lines)


def _hex(raw: bytes) -> str:
    rows = [raw[at : at + 32].hex(" ", 4) for at in range(0, min(len(raw), HEX_SHOWN), 32)]
    more = [f"… {len(raw) - HEX_SHOWN} bytes more; --body FILE writes all"] if len(raw) > HEX_SHOWN else []
    return "\n".join([*rows, *more])


def _what_next(letter: Letter) -> list[str]:
    drop = f"consort dead drop {letter.id}"
    if not letter.redrivable:
        return [f"it can only be dropped: {drop}"]
    return [f"consort dead redrive {letter.id} [--edit]   or   {drop}"]


def letter_data(letter: Letter) -> dict[str, Any]:
    """A letter for programs, without its body."""
    return {
        "id": letter.id,
        "time": letter.at.isoformat(),
        "kind": letter.kind,
        "why": letter.reason,
        "run": letter.run,
        "step": letter.step,
        "task": letter.task,
        "stream": letter.stream,
        "subject": letter.subject,
        "seq": letter.seq,
        "deliveries": letter.deliveries,
        "trace": letter.trace,
        "size": len(letter.body),
        "redrivable": letter.redrivable,
        "settled": letter.settled,
    }


async def edited(operator: Operator, id: int) -> str:
    """The body of a letter as somebody changed it in their editor. Raises InvalidInput, BusError."""
    letter = await operator.letter(id)
    if letter.settled is not None:
        raise LetterSettled(id, letter.settled)
    if not letter.redrivable:
        raise NotRedrivable(letter)
    value = await operator.readable(letter)
    raw = await operator.body(letter)
    before = as_json(value, indent=2) if value is not None else raw.decode(errors="replace")
    after = await asyncio.to_thread(click.edit, f"{before}\n", extension=".json")
    if after is None or after.strip() == before.strip():
        raise InvalidInput(
            "nothing was changed, so nothing is redriven; leave --edit out to redrive it as it is"
        )
    try:
        json.loads(after)
    except ValueError as exc:
        kept = _kept(id, after)
        raise InvalidInput(
            f"that is no JSON: {exc}; it is kept: consort dead redrive {id} --body {kept}"
        ) from exc
    return after


def _kept(id: int, text: str) -> Path:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix=f"letter-{id}-", suffix=".json", delete=False
    ) as file:
        file.write(text)
    return Path(file.name)
