"""What a run that is ending waits for, and what of it was not undone: for whoever has to see to it."""

from __future__ import annotations

from dataclasses import dataclass

from consort_bus.standing import UNDO
from consort_orchestrator.cli.follow import Picture, Row
from consort_orchestrator.cli.wording import one_line
from consort_orchestrator.core import Phase

_OPEN = (Phase.STOPPING, Phase.GRANTED, Phase.WAITING, Phase.BACKOFF, Phase.ASKING)
STUCK = (Phase.WAITING, Phase.ASKING)
"""What does not go on by itself, however long one waits."""
_SHOWN = 5
"""Steps that are named in one line."""


@dataclass(frozen=True, slots=True)
class NotUndone:
    """A completed step that was not undone, the skill that should have done it, how far it came, in how many tries."""

    path: str
    skill: str
    why: str
    attempts: int


def not_undone(picture: Picture) -> list[NotUndone]:
    """The completed steps whose undoing failed for good or was given up: a person has to see to them."""
    found = []
    for node in picture.undoing():
        if node.phase is Phase.FAILED or node.path.removesuffix(UNDO) in picture.run.given_up:
            skill = (node.spec.step.skill if node.spec is not None else None) or ""
            found.append(NotUndone(node.undoes, skill, one_line(node.why, 2000), node.attempts))
    return found


def not_undone_text(missed: NotUndone) -> str:
    """What a person has to do who takes a step back by hand."""
    unless = ", unless it happened after all" if missed.attempts else ""
    return f"{missed.path} is NOT undone: {missed.why}; {missed.skill} is to be done by hand{unless}"


def awaited(picture: Picture, now: float) -> str:
    """What a run that is ending waits for, in one line, and the command that lets it wait no longer."""
    ending, run = picture.standing.ending, picture.run.id
    verb = "being cancelled" if ending is not None and ending.state == "cancelled" else "failing"
    by = f", says {ending.by}" if ending is not None and ending.by else ""
    rows = open_rows(picture, now)
    told = "; ".join(waits(row) for row in rows[:_SHOWN]) or "nothing is in hand"
    told += f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    force = "" if picture.standing.forced else f"; to undo nothing more: consort cancel {run[:12]} --force"
    return f"run {run} is {verb}{by}: {told}{force}"


def open_rows(picture: Picture, now: float) -> list[Row]:
    """The tasks that an ending run waits for."""
    return [row for row in picture.rows(now) if row.phase in _OPEN]


def waits(row: Row) -> str:
    """What one of them waits for."""
    match row.phase:
        case Phase.GRANTED:
            told = f", {row.text}" if row.text else ""
            return f"{row.path} is at work at {row.agent}{told}"
        case Phase.BACKOFF:
            return f"{row.path} is tried {row.text}"
        case Phase.ASKING:
            return f"{row.path} waits for a person: {row.text}"
        case _:
            return f"{row.path} {row.text}"
