"""`consort log` with `log export`, and `consort replay`: histories that can be kept and folded again."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import click

from consort_bus.recorded import Recording, recording
from consort_bus.wire import Wire
from consort_orchestrator.cli.ending import BAD_INPUT, DONE, FAILED
from consort_orchestrator.cli.groups import WithUsual
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.telling import log as show_log
from consort_orchestrator.cli.wording import clock, counted, one_line
from consort_orchestrator.doctor.histories import BadHistory, History, lines, parse
from consort_orchestrator.doctor.replaying import Replay, Step
from consort_orchestrator.doctor.replaying import replay as folded
from consort_shared.errors import InvalidInput, UnknownRun


class _Log(WithUsual):
    usual = "show"


@click.group(cls=_Log)
def log() -> None:
    """The entries of a run: shown one by one, or kept as a file.

    \b
    Examples:
      consort log last --follow
      consort log export last --out run.jsonl
    """


def _named(command: click.Command) -> click.Command:
    """The command under its whole name, which its help then shows too."""
    named = copy(command)
    named.name = "show"
    named.help = (command.help or "").replace("consort log last", "consort log show last", 1)
    return named


log.add_command(_named(show_log))


@log.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write. [default: print it]"
)
@on_the_bus
@printing
def export(run: str, out: Path | None, place: Place, printer: Printer) -> None:
    """The entries of RUN as they are stored, as JSON lines that `consort replay` reads.

    The first line tells what they fold to. A run that this version cannot fold is
    written all the same, without that.

    \b
    Examples:
      consort log export last --out run.jsonl
      consort log export 0194f2 | gzip > run.jsonl.gz
    """
    check_reference(run)
    found = run_to_end(_recording(run, place))
    text = "".join(f"{line}\n" for line in lines(found, importlib.metadata.version("consort-agents")))
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        printer.say(
            f"{counted(len(found.entries), 'entry').replace('entrys', 'entries')} of run {found.run}: {out}"
        )
        printer.data(
            {"run": found.run, "entries": len(found.entries), "foreign": found.foreign, "file": str(out)}
        )
    if found.foreign:
        one = found.foreign == 1
        told = f"{counted(found.foreign, 'message')} on its log {'does' if one else 'do'} not belong to its chain"
        printer.note(f"{told} and {'was' if one else 'were'} left out")


async def _recording(text: str, place: Place) -> Recording:
    async with client_of(place) as client, Wire(client.bus.nc, client.bus) as wire:
        run = await resolved(client, place, text)
        found = await recording(wire, client.artefacts, run)
    if not found.entries:
        raise UnknownRun(f"there is no run {run} on this bus")
    return found


@click.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path)
)
@click.option("--to", type=click.IntRange(1), help="Fold only up to this entry.")
@printing
def replay(files: tuple[Path, ...], to: int | None, printer: Printer) -> int:
    """Fold recorded histories with this version, step by step, and compare where they lead.

    Checks that entries form a chain, and compares with what the history folded to when
    it was written. Needs no bus.

    Ends with 0 if all is as it was recorded, with 1 if this version folds a history
    otherwise or not at all, with 2 if a file is no whole history.

    \b
    Examples:
      consort replay run.jsonl
      consort replay run.jsonl --to 7
      consort replay histories/*.jsonl --quiet
    """
    told: list[dict[str, Any]] = []
    code = DONE
    for file in files:
        try:
            history = parse(str(file), _text(file))
        except BadHistory as exc:
            code = max(code, BAD_INPUT)
            told.append({"file": str(file), "well": False, "error": {"line": exc.line, "what": exc.why}})
            click.echo(f"consort: {exc}", err=True)
            continue
        result = folded(history, to)
        told.append(_data(file, result))
        _show(file, history, result, printer)
        if result.fault is not None and result.fault.in_file:
            code = max(code, BAD_INPUT)
        elif not result.well:
            code = max(code, FAILED)
    printer.data(told)
    return code


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as exc:
        raise InvalidInput(f"{file}: cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise BadHistory(str(file), 0, "is not text") from exc


def _show(file: Path, history: History, result: Replay, printer: Printer) -> None:
    if not printer.quiet:
        written = f", written by version {result.consort}" if result.consort else ""
        printer.say(f"{file}: run {result.run}, {result.entries} entries{written}")
        for step in result.steps:
            printer.say(_line(step))
    for text in _troubles(result):
        click.echo(f"consort: {file}: {text}", err=True)
    if not result.well:
        return
    done = len(result.steps)
    told = "as it was recorded" if result.compared else "not compared: nothing was recorded to compare with"
    if history.portrait is not None and done < result.entries:
        told = f"not compared: {done} of {result.entries} entries"
    printer.say(f"{file}: {result.portrait['state']}, {told}")


def _line(step: Step) -> str:
    moves = [
        f"{path} {before} → {after}" if before else f"{path} {after}" for path, before, after in step.moved
    ]
    state = f"; the run is {step.state}" if step.state != "open" else ""
    facts, moved = ", ".join(dict.fromkeys(step.facts)), "; ".join(moves) or "no step moves"
    return f"{step.n:>4}  {clock(step.at)}  {facts}: {moved}{state}"


def _troubles(result: Replay) -> Sequence[str]:
    if result.fault is not None:
        return [f"line {result.fault.line}: entry {result.fault.line - 1}: {result.fault.what}"]
    return [f"folds otherwise than it was recorded: {one_line(text)}" for text in result.differences]


def _data(file: Path, result: Replay) -> dict[str, Any]:
    fault = result.fault
    return {
        "file": str(file),
        "run": result.run,
        "consort": result.consort,
        "entries": result.entries,
        "well": result.well,
        "compared": result.compared,
        "differences": list(result.differences),
        "error": None if fault is None else {"line": fault.line, "why": fault.reason, "what": fault.what},
        "portrait": result.portrait,
        "steps": [
            {
                "n": step.n,
                "at": step.at,
                "facts": list(step.facts),
                "moved": [{"path": path, "from": before, "to": after} for path, before, after in step.moved],
                "state": step.state,
            }
            for step in result.steps
        ],
    }
