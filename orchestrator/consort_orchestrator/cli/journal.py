"""`consort journal`: what the tasks of a run asked models, tools and others, and a record of it to replay."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import click

from consort_bus.client import Client
from consort_bus.recorded_calls import journals_of
from consort_bus.wire import Wire
from consort_orchestrator.cli.called import Called, TaskCalls, called
from consort_orchestrator.cli.groups import WithUsual
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.orders import ROLE, require_operator
from consort_orchestrator.cli.wording import counted, one_line
from consort_shared.errors import InvalidInput
from consort_shared.journal import Answered, Began
from consort_shared.journal_export import ExportedCall, Head, lines

_SHOWN = 100
"""Characters of a request that are printed."""


class _Journal(WithUsual):
    usual = "show"


@click.group(cls=_Journal)
def journal() -> None:
    """What the tasks of RUN asked models, tools and others, and what became of it.

    Each call is on record before it is made and with its answer, so that a process
    that takes over a task asks nothing twice.

    \b
    Examples:
      consort journal last
      consort journal export last --out calls.jsonl
    """


@journal.command()
@click.argument("run", metavar="RUN")
@click.option("--task", metavar="TASK", help="Only of this task.")
@on_the_bus
@printing
def show(run: str, task: str | None, place: Place, printer: Printer) -> None:
    """The calls of RUN, task by task: kind, name, what became of each, seconds, tokens.

    \b
    Examples:
      consort journal show last
      consort journal show last --json | jq '.[].calls[] | select(.state == "open")'
    """
    check_reference(run)
    _, found = run_to_end(_found(run, task, place))
    printer.data([_task_data(one) for one in found])
    if not found:
        printer.note(
            "no call of this run is on record" if task is None else f"task {task} has no call on record"
        )
    for one in found:
        printer.say(_heading(one))
        for call in one.calls:
            printer.say(f"  {_line(call)}")


@journal.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write. [default: print it]"
)
@on_the_bus
@printing
def export(run: str, out: Path | None, place: Place, printer: Printer) -> None:
    """The answered calls of RUN as JSON lines, from which the model `replay:FILE` answers.

    An answer that holds what looks like a secret, or is large, can be read by its agent
    alone; it is written sealed, and `python -m consort_agents.journal unseal FILE
    --creds agent.creds` opens it.

    \b
    Examples:
      consort journal export last --out calls.jsonl
    """
    check_reference(run)
    found, calls = run_to_end(_exported(run, place))
    head = Head(run=found, consort=importlib.metadata.version("consort-agents"))
    text = "".join(f"{line}\n" for line in lines(head, calls))
    sealed = sorted({call.agent for call in calls if call.sealed is not None})
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        printer.say(f"{counted(len(calls), 'call')} of run {found}: {out}")
        printer.data({"run": found, "calls": len(calls), "sealed": sealed, "file": str(out)})
    if sealed:
        number = sum(call.sealed is not None for call in calls)
        printer.note(
            f"{counted(number, 'answer')} can be read only by {', '.join(sealed)}: "
            f"`python -m consort_agents.journal unseal {out or 'FILE'} --creds CREDS` opens them"
        )


async def _found(text: str, task: str | None, place: Place) -> tuple[str, list[TaskCalls]]:
    async with client_of(place, role=ROLE) as client, Wire(client.bus.nc, client.bus) as wire:
        require_operator(client)
        return await _read(client, wire, text, task, place)


async def _read(
    client: Client, wire: Wire, text: str, task: str | None, place: Place
) -> tuple[str, list[TaskCalls]]:
    run = await resolved(client, place, text)
    entries = await client.entries(run)
    facts = [fact for logged in entries for fact in logged.entry.facts]
    found = called(await journals_of(wire, run), facts, task)
    if task is not None and not any(getattr(fact, "task", None) == task for fact in facts):
        raise InvalidInput(f"run {run} has no task {task!r}; `consort log {text}` names its tasks")
    return run, found


async def _exported(text: str, place: Place) -> tuple[str, list[ExportedCall]]:
    async with client_of(place, role=ROLE) as client, Wire(client.bus.nc, client.bus) as wire:
        require_operator(client)
        run, found = await _read(client, wire, text, None, place)
        return run, [
            await _line_of(client, one, call.past.began, call.past.answered)
            for one in found
            for call in one.calls
            if call.past.answered is not None
        ]


async def _line_of(client: Client, one: TaskCalls, began: Began, answered: Answered) -> ExportedCall:
    sealed = answered.sealed if answered.ref is None else await client.artefacts.get(answered.ref)
    return ExportedCall(
        agent=one.agent,
        step=one.step,
        task=one.task,
        attempt=one.attempt,
        n=began.n,
        call=began.call,
        name=began.name,
        request=began.request,
        parts=began.parts,
        shown=began.shown,
        seconds=answered.seconds,
        answer=None if answered.text is None else json.loads(answered.text),
        sealed=None if sealed is None else sealed,
    )


def _heading(one: TaskCalls) -> str:
    step = one.step or "(a task that is not on the log)"
    attempt = f", attempt {one.attempt}" if one.attempt > 1 else ""
    processes = f", {one.processes} processes" if one.processes > 1 else ""
    over = f", started over {len(one.memory.restarted)} times" if one.memory.restarted else ""
    void = f", {counted(one.memory.void, 'record')} that do not count" if one.memory.void else ""
    calls = counted(len(one.calls), "call")
    return f"{step}  {one.agent}  task {one.task}{attempt}: {calls}{processes}{over}{void}"


def _line(call: Called) -> str:
    began = call.past.began
    seconds = "" if call.seconds is None else f"  {call.seconds:.3f} s"
    tokens = "" if call.tokens is None else f"  {call.tokens} tokens"
    shown = f"  {one_line(began.shown)[:_SHOWN]}" if began.shown else ""
    inside = f"  in call {began.within}" if began.within else ""
    return f"{began.n:>3}  {began.call}  {began.name}{inside}  {call.state}{seconds}{tokens}{shown}"


def _task_data(one: TaskCalls) -> dict[str, Any]:
    return {
        "agent": one.agent,
        "task": one.task,
        "step": one.step,
        "attempt": one.attempt,
        "processes": one.processes,
        "restarted": len(one.memory.restarted),
        "void": one.memory.void,
        "calls": [_call_data(call) for call in one.calls],
    }


def _call_data(call: Called) -> dict[str, Any]:
    began, answered = call.past.began, call.past.answered
    return {
        "n": began.n,
        "call": began.call,
        "name": began.name,
        "within": began.within,
        "state": call.state,
        "request": began.request,
        "at": began.at,
        "seconds": call.seconds,
        "tokens": call.tokens,
        "shown": began.shown,
        "sealed": answered is not None and answered.text is None,
        "answer": None if answered is None or answered.text is None else json.loads(answered.text),
    }
