"""`consort cancel`: a run stopped for good, with the word of every process that had a part in it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import click

from consort_bus.standing import UNDO
from consort_orchestrator.cli.ending import DONE, FAILED, TIMED_OUT
from consort_orchestrator.cli.follow import Picture
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.orders import PATIENCE, ROLE, heard, picture_of, require_open
from consort_orchestrator.cli.undoing import STUCK, awaited, not_undone, open_rows, waits
from consort_orchestrator.cli.wording import answer_data, counted, in_words
from consort_shared.entries import (
    Accepted,
    Ending,
    Fact,
    Failure,
    Finished,
    Forced,
    GivenUp,
    Granted,
    Heeded,
    Waiting,
)


@dataclass(slots=True)
class Course:
    """How a cancelling goes, told as it goes."""

    printer: Printer
    picture: Picture
    acknowledged: list[Heeded] = field(default_factory=list)

    def take(self, fact: Fact) -> bool:
        """Tell what belongs to it; whether it is over."""
        if isinstance(fact, Heeded) and fact.order == "stop":
            self.acknowledged.append(fact)
        undoing = isinstance(fact, (Granted, Accepted, Failure, Waiting)) and fact.path.endswith(UNDO)
        if undoing or isinstance(fact, (Ending, Forced, GivenUp, Heeded, Finished)):
            self.printer.say(in_words(fact))
        return isinstance(fact, Finished)

    @property
    def code(self) -> int:
        """The exit code of a cancelling that is over."""
        return FAILED if not_undone(self.picture) else DONE

    @property
    def data(self) -> dict[str, Any]:
        """The same for programs."""
        run, standing = self.picture.run, self.picture.standing
        return {
            "run": run.id,
            "state": self.picture.state if run.n and (standing.ending or standing.finished) else "asked",
            "why": standing.why,
            "forced": standing.forced is not None,
            "acknowledged": [answer_data(fact) for fact in self.acknowledged],
            "cannot": [answer_data(fact) for fact in self.acknowledged if fact.how in ("cannot", "silent")],
            "undone": self.picture.undone(),
            "not_undone": not_undone(self.picture),
            "awaits": [waits(row) for row in open_rows(self.picture, self.picture.last)],
            "in_doubt": [
                {"path": path, "key": key} for (path, key), effect in run.effects.items() if effect.open
            ],
        }


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--why", default="", help="The reason, for whoever reads the log.")
@click.option("--force", is_flag=True, help="Undo nothing more: what is not undone is listed instead.")
@click.option("--wait/--no-wait", default=True, help="Wait for it to be done, 10 seconds at most.")
@on_the_bus
@printing
def cancel(run: str, why: str, force: bool, wait: bool, place: Place, printer: Printer) -> int:
    """Stop RUN for good; its agents are told to let go of their tasks.

    Shows what each process says to that, then the steps that are undone, the last
    one first. Ends with 1 if a completed step could not be undone, and with 4 if the
    run was not over in time; it goes on. Said again, it tells what the run waits for.

    With --force nothing more is undone, and nothing waited for but, five seconds at
    most, what has a task in hand. It names the steps that somebody has to undo by hand.

    \b
    Examples:
      consort cancel last
      consort cancel 0194f2 --why "wrong inputs"
      consort cancel 0194f2 --no-wait
      consort cancel 0194f2 --force --why "nobody takes it back any more"
    """
    check_reference(run)
    return run_to_end(_cancel(run, why, force, wait, place, printer))


async def _cancel(text: str, why: str, force: bool, wait: bool, place: Place, printer: Printer) -> int:
    async with client_of(place, role=ROLE) as client:
        picture = await picture_of(client, await resolved(client, place, text))
        require_open(client, picture, "cancelled")
        course = Course(printer, picture)
        if picture.standing.ending is not None and not force:
            printer.say(awaited(picture, time.time()))
            if not wait or any(row.phase in STUCK for row in open_rows(picture, picture.last)):
                printer.data(course.data)
                return TIMED_OUT if wait else DONE
        asked = await client.cancel(picture.run.id, why, force=force)
        over = await heard(client, picture, asked, course.take) if wait else False
    printer.data(course.data)
    _tell_end(course, wait, printer)
    if over:
        return course.code
    return TIMED_OUT if wait else DONE


def _tell_end(course: Course, wait: bool, printer: Printer) -> None:
    told, picture = course.data, course.picture
    run = picture.run.id
    if told["state"] == "asked":
        late = f", and none has done so within {PATIENCE:g} s" if wait else ""
        printer.say(f"run {run} is asked to be cancelled; an orchestrator has yet to do it{late}")
    elif picture.run.finished is None:
        printer.say(f"{awaited(picture, picture.last)}\nit goes on: consort watch {run[:12]}")
    elif missed := not_undone(picture):
        steps = counted(len(missed), "completed step")
        printer.say(f"{steps} to be undone by hand: consort show {run[:12]}")
    for effect in told["in_doubt"]:
        printer.note(f"whether {effect['key']} of {effect['path']} happened is not known")
