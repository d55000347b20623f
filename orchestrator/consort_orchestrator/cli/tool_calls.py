"""`consort tools list` and `consort tools calls`: which shared tools there are, and who called what in a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import click

from consort_bus.client import Client
from consort_bus.publish import Publisher
from consort_bus.toolbox import Toolbox, calls_of, replies_of
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.orders import ROLE
from consort_orchestrator.cli.wording import counted, moment, one_line
from consort_shared.tooling import Approved, Definition, HostAlive, ToolReply


@dataclass(frozen=True, slots=True)
class Line:
    """A call of a run; `how` is `waiting` where it has no answer."""

    step: str
    agent: str
    host: str
    tool: str
    how: str
    saved: bool = False
    seconds: float = 0.0
    waited: float = 0.0
    why: str = ""
    at: float = 0.0


@click.command("list")
@on_the_bus
@printing
def list_(place: Place, printer: Printer) -> None:
    """The approved tools with what they cost and risk, and the processes that serve them.

    \b
    Examples:
      consort tools list
      consort tools list --json | jq '.[].tools[].name'
    """

    async def read() -> tuple[list[Approved], list[HostAlive]]:
        async with client_of(place) as client:
            toolbox = Toolbox(client.wire, Publisher(client.wire))
            return await toolbox.all_approved(), await toolbox.alive()

    approved, alive = run_to_end(read())
    printer.data([_host_data(one, [a for a in alive if a.host == one.host]) for one in approved])
    if not approved:
        printer.note("no shared tools are approved; `consort tools start FILE` or `approve FILE` does")
    for document in approved:
        _show_host(document, [one for one in alive if one.host == document.host], printer)


def _show_host(document: Approved, alive: list[HostAlive], printer: Printer) -> None:
    paused = f", paused by {document.paused_by}: {document.paused_why}" if document.paused_by else ""
    count = counted(len(alive), "process").replace("sss", "sses")
    printer.say(f"{document.host}  {count}{paused}")
    for tool in document.tools:
        printer.say(f"  {document.host}.{tool.definition.name}  {_traits(tool.definition)}")
    for one in alive:
        counts = one.counts
        printer.say(
            f"  process {one.pid} on {one_line(one.machine, 40)}, since {moment(one.started)}: "
            f"busy with {one.busy}, {one.queued} waiting, {counts.done} done, {counts.saved} saved"
        )
        for name, why in one.refused.items():
            printer.say(f"    does not serve {name}: {why}")


def _traits(one: Definition) -> str:
    cost = f", {one.cost / 1e9:g} USD a call" if one.cost else ""
    owner = f", owner {one.owner}" if one.owner else ""
    return f"{one.kind}, {one.risk}, {one.data_class} data{cost}{owner}"


def _host_data(document: Approved, alive: list[HostAlive]) -> dict[str, Any]:
    return {
        "host": document.host,
        "paused": bool(document.paused_by),
        "tools": [
            {
                **tool.definition.model_dump(mode="json"),
                "digest": tool.digest,
                "approved_by": tool.by,
                "approved_at": tool.at,
            }
            for tool in document.tools
        ],
        "processes": [one.model_dump(mode="json", exclude={"kind"}) for one in alive],
    }


@click.command()
@click.argument("run", metavar="RUN")
@on_the_bus
@printing
def calls(run: str, place: Place, printer: Printer) -> None:
    """Who called which shared tool in RUN, and what became of it: done, saved, refused, in doubt.

    `saved` is a call that was not made, because an equal one of the run had been.

    \b
    Examples:
      consort tools calls last
      consort tools calls last --json | jq '[.[] | select(.saved)] | length'
    """
    check_reference(run)

    async def read() -> list[Line]:
        async with client_of(place, role=ROLE) as client:
            return await lines_of(client, await resolved(client, place, run))

    lines = run_to_end(read())
    printer.data([asdict(line) for line in lines])
    for line in lines:
        how = "saved" if line.saved else line.how
        time = f"  {line.seconds:.3f} s" if line.how == "done" and not line.saved else ""
        waited = f", waited {line.waited:.1f} s" if line.waited >= 0.1 else ""
        why = f"  {one_line(line.why)}" if line.why else ""
        printer.say(f"{line.step or '-'}  {line.agent}  {line.host}.{line.tool}  {how}{time}{waited}{why}")
    saved = sum(line.saved for line in lines)
    printer.say(f"{counted(len(lines), 'call')}, {saved} saved")


async def lines_of(client: Client, run: str) -> list[Line]:
    """The calls of a run, in the order they were answered; those that wait come last. Raises BusError."""
    answered = {(reply.agent, reply.id): _line(reply) async for reply in replies_of(client.wire, run)}
    waiting = {}
    async for call in calls_of(client.wire, run):
        if (call.agent, call.id) not in answered:
            waiting[call.agent, call.id] = Line(call.step, call.agent, call.host, call.tool, "waiting")
    return sorted(answered.values(), key=lambda line: line.at) + list(waiting.values())


def _line(reply: ToolReply) -> Line:
    answer = reply.kept.answer
    why = answer.content if answer is not None and answer.is_error else ""
    return Line(
        step=reply.step,
        agent=reply.agent,
        host=reply.host,
        tool=reply.tool,
        how=reply.how,
        saved=reply.saved,
        seconds=reply.seconds,
        waited=reply.waited,
        why=why,
        at=reply.at,
    )
