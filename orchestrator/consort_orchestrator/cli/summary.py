"""What is said of a run that is over: on one screen, or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consort_orchestrator.cli.costs import brief, in_full, usage_data
from consort_orchestrator.cli.follow import Picture
from consort_orchestrator.cli.undoing import not_undone
from consort_orchestrator.cli.wording import counted, listed, one_line, span, value_text
from consort_orchestrator.core import Phase
from consort_shared.values import Json

_SHORT_OUTPUT = 200
_AGENTS_SHOWN = 12
_ORDER = (
    Phase.DONE,
    Phase.FAILED,
    Phase.GRANTED,
    Phase.ASKING,
    Phase.STOPPING,
    Phase.WAITING,
    Phase.BACKOFF,
    Phase.HELD,
    Phase.PENDING,
    Phase.SKIPPED,
    Phase.CANCELLED,
)

_WORDS = {
    Phase.GRANTED: "at work",
    Phase.BACKOFF: "to be tried again",
    Phase.PENDING: "to come",
    Phase.ASKING: "waiting for a person",
    Phase.STOPPING: "being called off",
}


def as_text(picture: Picture, output: Json, files: list[Path], *, reference: str) -> str:
    """State, time, who did what, where the log and the results are."""
    seconds = picture.seconds(picture.last)
    lines = [f"{picture.name}: {picture.state} in {span(seconds)}"]
    if picture.run.finished is not None and picture.run.finished.why:
        lines.append(f"  why       {one_line(picture.run.finished.why, 2000)}")
    lines.append(f"  tasks     {tally_text(picture)}")
    label = "agents"
    shares = sorted(picture.shares.items(), key=lambda item: -item[1].seconds)
    for name, share in shares[:_AGENTS_SHOWN]:
        failed = f", {counted(share.failures, 'failed attempt')}" if share.failures else ""
        cost = f", {spent}" if (spent := brief(share.usage)) else ""
        did = f"{counted(share.steps, 'task')} in {span(share.seconds)}{failed}{cost}"
        lines.append(f"  {label:<9} {name}: {did}")
        label = ""
    if len(shares) > _AGENTS_SHOWN:
        lines.append(f"            and {len(shares) - _AGENTS_SHOWN} more")
    if cost := in_full(picture.run.usage):
        lines.append(f"  cost      {cost}")
    entries = counted(picture.run.n, "entry").replace("entrys", "entries")
    lines.append(f"  log       {entries}: consort log {reference}")
    if files:
        names = [file.name for file in files[:6]] + ([f"{len(files) - 6} more"] if len(files) > 6 else [])
        lines.append(f"  results   {_shown_path(files[0].parent)}/")
        lines.append(f"            {listed(names)}")
    short = value_text(output, _SHORT_OUTPUT + 1)
    if picture.state == "completed" and output is not None and len(short) <= _SHORT_OUTPUT:
        lines.append(f"  output    {short}")
    return "\n".join(lines)


def as_data(picture: Picture, output: Json, files: list[Path]) -> dict[str, Any]:
    """The same for programs."""
    finished = picture.run.finished
    return {
        "run": picture.run.id,
        "plan": picture.name,
        "state": picture.state,
        "why": finished.why if finished is not None else "",
        "seconds": round(picture.seconds(picture.last), 3),
        "entries": picture.run.n,
        "tasks": {phase.value: number for phase, number in picture.tally().items()},
        "undone": picture.undone(),
        "not_undone": not_undone(picture),
        "agents": {
            name: {
                "tasks": share.steps,
                "failures": share.failures,
                "seconds": round(share.seconds, 3),
                "usage": usage_data(share.usage),
            }
            for name, share in picture.shares.items()
        },
        "usage": usage_data(picture.run.usage),
        "output": output,
        "files": [str(file) for file in files],
    }


def tally_text(picture: Picture) -> str:
    """`5 done, 1 skipped`."""
    tally = picture.tally()
    parts = [f"{tally[phase]} {_WORDS.get(phase, phase.value)}" for phase in _ORDER if tally.get(phase)]
    parts += [f"{len(undone)} undone"] if (undone := picture.undone()) else []
    parts += [f"{len(missed)} NOT undone"] if (missed := not_undone(picture)) else []
    return ", ".join(parts) or "none"


def _shown_path(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
