"""Following a run to its end, and the three ways to show it.

`Live` redraws a tree on a terminal, `Lines` writes one line for each fact, `Raw`
whole entries as JSON. What is said besides the log, that nobody has taken up the
run or that an agent is missing, is a note in each of them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

import click
from rich.console import Console
from rich.live import Live as RichLive

from consort_bus.client import Client, LiveProgress, Logged
from consort_bus.errors import BusError
from consort_bus.operator import Operator
from consort_orchestrator.cli.follow import Picture
from consort_orchestrator.cli.live import drawn
from consort_orchestrator.cli.options import Printer, as_json, terminal
from consort_orchestrator.cli.wording import event_lines
from consort_shared.card import Presence

NOBODY = "nobody has taken up the run yet: no orchestrator seems to be at work (`consort up` starts one)"
PATIENCE = 1.5
"""Seconds after which it is said that nothing happens."""
LOOK_AGAIN = 2.0
FRAMES = 0.2
"""Seconds between two pictures of the live view."""


class View(Protocol):
    """A way to show a run. `entry` and `tick` are given the picture after the entry, or as it is."""

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def entry(self, logged: Logged, picture: Picture) -> None: ...

    def tick(self, picture: Picture) -> None: ...

    def note(self, text: str) -> None: ...

    def forget(self, text: str) -> None: ...


class Lines:
    """One line for each fact, from entry `start` on."""

    def __init__(self, write: Callable[[str], None], note: Callable[[str], None], start: int = 1) -> None:
        self._write = write
        self.note = note
        self._start = start

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def entry(self, logged: Logged, picture: Picture) -> None:
        if logged.entry.n >= self._start:
            for line in event_lines(logged):
                self._write(line)

    def tick(self, picture: Picture) -> None: ...

    def forget(self, text: str) -> None: ...


class Raw(Lines):
    """Whole entries, a line of JSON each."""

    def entry(self, logged: Logged, picture: Picture) -> None:
        if logged.entry.n >= self._start:
            self._write(entry_json(logged))


class Live:
    """A tree that changes in place, and stays when the run is over."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = RichLive(console=console, auto_refresh=False, vertical_overflow="crop")
        self._notes: list[str] = []
        self._picture: Picture | None = None

    def __enter__(self) -> Live:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._picture is not None:
            if self._picture.run.finished is not None:
                self._notes.clear()
            self.tick(self._picture)
        self._live.__exit__(kind, error, trace)

    def entry(self, logged: Logged, picture: Picture) -> None:
        self._picture = picture

    def tick(self, picture: Picture) -> None:
        self._picture = picture
        self._live.update(drawn(picture, self._notes, time.time(), self._console), refresh=True)

    def note(self, text: str) -> None:
        self._notes.append(text)

    def forget(self, text: str) -> None:
        self._notes = [note for note in self._notes if note != text]


def entry_json(logged: Logged) -> str:
    return as_json(
        {
            "seq": logged.seq,
            "digest": logged.digest,
            "addressee": logged.addressee,
            "entry": logged.entry.model_dump(mode="json", by_alias=True),
        }
    )


def view_for(printer: Printer, live: bool | None, *, to_stderr: bool, start: int = 1) -> View:
    """The view that suits the options and the terminal. `to_stderr` keeps standard output for the result."""
    import sys

    stream = sys.stderr if to_stderr else sys.stdout
    wanted = terminal(stream) and os.environ.get("TERM") != "dumb" if live is None else live

    def write(text: str) -> None:
        click.echo(text, err=to_stderr)

    if printer.json and not to_stderr:
        return Raw(write, printer.note, start)
    if printer.quiet:
        return Lines(lambda _: None, lambda _: None)
    if wanted and not printer.json:
        return Live(Console(file=stream))
    return Lines(write, printer.note, start)


async def follow(client: Client, run: str, view: View, *, patience: float = PATIENCE) -> Picture:
    """Show a run until it ends; the picture of its end. Raises BusError, and what a broken log raises.

    After `patience` seconds without an entry it is said that nobody takes up the run.
    """
    picture = Picture.of(run)
    with view:
        async with client.progress(run) as told, asyncio.TaskGroup() as group:
            ticking = group.create_task(_tick(picture, view))
            hearing = group.create_task(_hear(picture, told))
            hinting = group.create_task(_hint(client, picture, view, patience))
            try:
                async for logged in client.watch(run):
                    picture.take(logged)
                    view.entry(logged, picture)
            finally:
                for task in (ticking, hearing, hinting):
                    task.cancel()
    return picture


async def _tick(picture: Picture, view: View) -> None:
    while True:
        view.tick(picture)
        await asyncio.sleep(FRAMES)


async def _hear(picture: Picture, told: asyncio.Queue[LiveProgress]) -> None:
    while True:
        picture.hear(await told.get())


async def _hint(client: Client, picture: Picture, view: View, patience: float) -> None:
    """Say what nobody on the bus says: that the run is not taken up, or that agents with its tasks are gone."""
    said: set[str] = set()
    await asyncio.sleep(patience)
    while True:
        wanted = {NOBODY} if picture.run.n == 0 else await _gone(client, picture)
        for text in wanted - said:
            view.note(text)
        for text in said - wanted:
            view.forget(text)
        said = wanted
        await asyncio.sleep(LOOK_AGAIN)


async def look_for_pauses(client: Client, picture: Picture, present: Sequence[Presence]) -> None:
    """Note which agents are paused, and what those that are there would offer. Raises nothing of the bus's."""
    try:
        paused = {pause.agent: pause.mark.by for pause in await Operator.of(client).paused()}
    except BusError:
        return
    picture.paused_agents = paused
    picture.held_back = {
        skill.name: presence.card.name
        for presence in present
        if presence.card.name in paused or None in paused
        for skill in presence.card.skills
    }


async def _gone(client: Client, picture: Picture) -> set[str]:
    try:
        present = await client.agents()
    except BusError:
        return set()
    await look_for_pauses(client, picture, present)
    live = {presence.card.name for presence in present}
    gone = {agent for _, agent in picture.absent(live)}
    return {f"{agent} has tasks of this run, but no process of it is there now" for agent in gone}
