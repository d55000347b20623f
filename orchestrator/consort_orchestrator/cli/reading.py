"""Looking at runs and agents as they are now."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consort_bus.client import RunSummary
from consort_bus.profiles import Kept, ProfileReader
from consort_bus.reading import StreamAway
from consort_bus.standing import ENDED_STATES
from consort_orchestrator.cli import summary
from consort_orchestrator.cli.costs import in_full, usage_data
from consort_orchestrator.cli.follow import Picture, Row
from consort_orchestrator.cli.following import look_for_pauses
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.live import STATE_STYLES, tree
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.profile_words import profile_data
from consort_orchestrator.cli.undoing import awaited, not_undone, not_undone_text
from consort_orchestrator.cli.wording import counted, moment, one_line, span, value_text
from consort_shared.card import Presence


@click.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@on_the_bus
@printing
def runs(limit: int, place: Place, printer: Printer) -> None:
    """The newest runs, the newest first.

    \b
    Examples:
      consort runs
      consort runs --limit 100 --json | jq '.[] | select(.state == "failed")'
    """

    async def read() -> list[RunSummary]:
        async with client_of(place) as client:
            return await client.runs(limit)

    found = run_to_end(read())
    printer.data(found)
    if printer.json:
        return
    if not found:
        printer.note("no run has been taken up here yet")
        return
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for heading, wide in (("run", 12), ("state", 10), ("plan", 12), ("submitted", 14), ("took", 6)):
        table.add_column(heading, no_wrap=True, min_width=wide)
    table.add_column("why", overflow="ellipsis", no_wrap=True, style="dim", ratio=1)
    for one in found:
        table.add_row(*_run_cells(one))
    Console().print(table)


def _run_cells(one: RunSummary) -> tuple[Text, ...]:
    style = STATE_STYLES.get(one.state, "cyan")
    ended = one.state in ENDED_STATES
    took = span((one.last if ended else time.time()) - one.submitted) if one.submitted else ""
    return (
        Text(one.run[:12]),
        Text(one.state, style=style),
        Text(one_line(one.plan, 24)),
        Text(moment(one.submitted)[5:]),
        Text(took),
        Text(one_line(one.why)),
    )


@click.command()
@click.argument("run", metavar="RUN")
@on_the_bus
@printing
def show(run: str, place: Place, printer: Printer) -> None:
    """RUN step by step: who did what, and what each open step waits for.

    \b
    Examples:
      consort show last
      consort show 0194f2 --json | jq '.steps[] | select(.phase == "failed")'
    """
    check_reference(run)

    async def read() -> tuple[Picture, list[Presence]]:
        async with client_of(place) as client:
            picture = Picture.of(await resolved(client, place, run))
            for logged in await client.entries(picture.run.id):
                picture.take(logged)
            present = await client.agents()
            if picture.run.finished is None:
                await look_for_pauses(client, picture, present)
            return picture, present

    picture, present = run_to_end(read())
    live = {presence.card.name for presence in present}
    absent = picture.absent(live) if picture.run.finished is None else []
    printer.data(_run_data(picture, absent))
    if not printer.json:
        _show(picture, absent)


def _show(picture: Picture, absent: list[tuple[str, str]]) -> None:
    run, now, console = picture.run, time.time(), Console()
    ended = picture.ended is not None
    facts = {
        "run": run.id,
        "plan": f"{picture.name}, version {run.plan.version}" if run.plan is not None else "",
        "goal": one_line(run.goal),
        "client": run.client,
        "submitted": moment(run.submitted_at) if run.submitted_at else "",
        "inputs": value_text(run.inputs, 200) if run.inputs else "",
        "state": picture.state
        + (f", {'took' if ended else 'since'} {span(picture.seconds(now))}" if run.submitted_at else ""),
        "why": one_line(picture.standing.why, 2000),
        "tasks": summary.tally_text(picture),
        "cost": in_full(run.usage),
        "entries": str(run.n),
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            grid.add_row(name, Text(value))
    console.print(grid)
    console.print()
    console.print(
        tree(picture.rows(now), ascii_only=not console.encoding.lower().startswith("utf"), words=True)
    )
    for path, agent in absent:
        console.print(Text(f"{path} is given to {agent}, of which no process is there now", style="yellow"))
    if missing := picture.missing():
        console.print(Text(f"nobody offers {', '.join(missing)}", style="yellow"))
    for missed in not_undone(picture):
        console.print(Text(not_undone_text(missed), style="yellow"))
    if picture.standing.ending is not None and not ended:
        console.print(Text(awaited(picture, now), style="yellow"))
    if picture.standing.paused is not None and not ended:
        console.print(Text(f"the run is paused: consort resume {run.id[:12]}", style="yellow"))


def _run_data(picture: Picture, absent: list[tuple[str, str]]) -> dict[str, Any]:
    run, missing = picture.run, dict(absent)
    return {
        **summary.as_data(picture, None, []),
        "output": run.finished.output if run.finished is not None else None,
        "goal": run.goal,
        "client": run.client,
        "inputs": run.inputs,
        "submitted": run.submitted_at,
        "ended": picture.ended,
        "paused": picture.standing.paused,
        "questions": questions(picture),
        "steps": [_row_data(row, missing) for row in picture.rows(time.time())],
    }


def questions(picture: Picture) -> list[dict[str, Any]]:
    """What a person has to answer before the run goes on."""
    return [
        {"path": path, "key": key, "agent": doubt.agent, "task": doubt.task, "why": doubt.why}
        for path, doubts in picture.standing.doubts.items()
        for key, doubt in doubts.items()
    ]


def _row_data(row: Row, missing: dict[str, str]) -> dict[str, Any]:
    return {
        "path": row.path,
        "phase": row.phase.value,
        "agent": row.agent,
        "attempts": row.attempt,
        "seconds": None if row.seconds is None else round(row.seconds, 3),
        "text": row.text,
        "usage": usage_data(row.usage),
        "absent": row.path in missing,
    }


@click.command()
@on_the_bus
@printing
def agents(place: Place, printer: Printer) -> None:
    """Which agents are there now, and what they offer.

    \b
    Examples:
      consort agents
      consort agents --json | jq -r '.[].skills[].name'
    """
    show_agents(place, printer)


def show_agents(place: Place, printer: Printer) -> None:
    """The agents with their processes; also what `consort agent list` prints."""

    async def read() -> tuple[list[Presence], dict[str, Kept]]:
        async with client_of(place) as client:
            present = await client.agents()
            try:
                return present, await ProfileReader.of(client).standing()
            except StreamAway:
                return present, {}  # a bus that an earlier version has set up

    found: dict[str, list[Presence]] = {}
    present, standing = run_to_end(read())
    for presence in present:
        found.setdefault(presence.card.name, []).append(presence)
    who = {name: profile_data(there[-1].card, standing.get(name)) for name, there in found.items()}
    printer.data([_agent_data(name, there) | {"profile": who[name]} for name, there in found.items()])
    if not found:
        printer.note("no agent is there; `consort up` or `consort agent start NAME` brings some")
    for name, presences in found.items():
        card = presences[-1].card
        slots = counted(sum(one.card.slots for one in presences), "slot")
        printer.say(
            f"{name} {card.version}  {counted(len(presences), 'process').replace('sss', 'sses')}, {slots}"
        )
        printer.say(f"  offers {', '.join(skill.name for skill in card.skills)}")
        if version := who[name]["version"]:
            role = one_line(who[name]["role"]) or "no role"
            printer.say(f"  profile {version}: {role}" + (", set on the bus" if who[name]["set"] else ""))
        for one in presences:
            since = f"since {moment(one.started)}, busy with {one.busy}"
            printer.say(f"  process {one.pid} on {one_line(one.host, 40)}, {since}")


def _agent_data(name: str, presences: list[Presence]) -> dict[str, Any]:
    card = presences[-1].card
    return {
        "name": name,
        "version": card.version,
        "description": card.description,
        "slots": sum(one.card.slots for one in presences),
        "skills": [skill.model_dump(mode="json") for skill in card.skills],
        "processes": [
            {
                "instance": one.instance,
                "host": one.host,
                "pid": one.pid,
                "started": one.started,
                "busy": one.busy,
                "slots": one.card.slots,
            }
            for one in presences
        ],
    }
