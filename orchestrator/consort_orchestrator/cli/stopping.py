"""`consort cancel`: a run stopped for good, with the word of every process that had a part in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import click

from consort_bus.standing import UNDO
from consort_orchestrator.cli.ending import DONE, TIMED_OUT
from consort_orchestrator.cli.follow import Picture
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.orders import PATIENCE, ROLE, heard, picture_of, require_open
from consort_orchestrator.cli.wording import answer_data, in_words, one_line
from consort_shared.entries import Accepted, Ending, Fact, Failure, Finished, Granted, Heeded, Waiting


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
        if undoing or isinstance(fact, (Ending, Heeded, Finished)):
            self.printer.say(in_words(fact))
        return isinstance(fact, Finished)

    @property
    def data(self) -> dict[str, Any]:
        """The same for programs."""
        run, standing = self.picture.run, self.picture.standing
        return {
            "run": run.id,
            "state": self.picture.state if run.n and (standing.ending or standing.finished) else "asked",
            "why": standing.why,
            "acknowledged": [answer_data(fact) for fact in self.acknowledged],
            "cannot": [answer_data(fact) for fact in self.acknowledged if fact.how in ("cannot", "silent")],
            "undone": self.picture.undone(),
            "in_doubt": [
                {"path": path, "key": key} for (path, key), effect in run.effects.items() if effect.open
            ],
        }


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--why", default="", help="The reason, for whoever reads the log.")
@click.option("--wait/--no-wait", default=True, help="Wait for it to be done, 10 seconds at most.")
@on_the_bus
@printing
def cancel(run: str, why: str, wait: bool, place: Place, printer: Printer) -> int:
    """Stop RUN for good; its agents are told to let go of their tasks.

    Shows what each process says to that, then the steps that are undone, the last
    one first. Ends with 4 if it was not over in time; it goes on.

    \b
    Examples:
      consort cancel last
      consort cancel 0194f2 --why "wrong inputs"
      consort cancel 0194f2 --no-wait
    """
    check_reference(run)
    return run_to_end(_cancel(run, why, wait, place, printer))


async def _cancel(text: str, why: str, wait: bool, place: Place, printer: Printer) -> int:
    async with client_of(place, role=ROLE) as client:
        picture = await picture_of(client, await resolved(client, place, text))
        require_open(client, picture, "cancelled")
        asked = await client.cancel(picture.run.id, why)
        course = Course(printer, picture)
        over = await heard(client, picture, asked, course.take) if wait else False
    printer.data(course.data)
    _tell_end(course, wait, printer)
    return DONE if over or not wait else TIMED_OUT


def _tell_end(course: Course, wait: bool, printer: Printer) -> None:
    told = course.data
    run = course.picture.run.id
    if told["state"] == "asked":
        late = f", and none has done so within {PATIENCE:g} s" if wait else ""
        printer.say(f"run {run} is asked to be cancelled; an orchestrator has yet to do it{late}")
    elif course.picture.run.finished is None:
        printer.say(f"run {run} is {told['state']}; it goes on: consort watch {run[:12]}")
        for row in course.picture.rows(course.picture.last):
            if row.phase.value in ("stopping", "granted", "waiting", "backoff"):
                printer.say(
                    f"  {row.label}: {row.phase.value}{f', {one_line(row.text)}' if row.text else ''}"
                )
    for effect in told["in_doubt"]:
        printer.note(f"whether {effect['key']} of {effect['path']} happened is not known")
