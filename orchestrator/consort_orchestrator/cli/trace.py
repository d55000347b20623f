"""`consort trace`: the trace of a run as a tree, whether it is whole, and exporting it again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click

from consort_bus.client import Logged
from consort_orchestrator.cli.ending import DONE, FAILED
from consort_orchestrator.cli.groups import WithUsual
from consort_orchestrator.cli.household import traces_of
from consort_orchestrator.cli.inputs import check_reference
from consort_orchestrator.cli.opening import client_of, resolved, run_to_end
from consort_orchestrator.cli.options import Function, Place, Printer, on_the_bus, printing
from consort_orchestrator.cli.tracing_words import span_data, tree_lines
from consort_orchestrator.cli.wording import counted
from consort_orchestrator.tracing.checking import Verdict, check
from consort_orchestrator.tracing.derive import SERVICE, derived
from consort_orchestrator.tracing.sources import Files, Jaeger, Source, TracesUnreachable
from consort_orchestrator.tracing.tree import skews, tree_of
from consort_shared.entries import Entry, Finished
from consort_shared.errors import InvalidInput
from consort_shared.telemetry.collector import ENDPOINT
from consort_shared.telemetry.records import SpanRecord
from consort_shared.telemetry.span_ids import root_span_id
from consort_shared.telemetry.tracing import folder_for_spans, open_tracing

LOOK_AGAIN = 0.3
"""Seconds between looks at a trace that is not whole yet: spans arrive about a second after their end."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What the log and the source tell of a run."""

    run: str
    entries: list[Entry]
    spans: list[SpanRecord]

    @property
    def ended(self) -> bool:
        return any(isinstance(fact, Finished) for entry in self.entries for fact in entry.facts)


class _Trace(WithUsual):
    usual = "show"


@click.group(cls=_Trace)
def trace() -> None:
    """The trace of a run: its tree, whether it is whole, exporting it again.

    A run's trace id is its run id. What an orchestrator decided is in the log, so it is
    shown even where no spans were exported; what agents did comes from Jaeger (--jaeger,
    CONSORT_JAEGER) or from the files that processes of this folder keep.

    \b
    Examples:
      consort trace last
      consort trace check last --jaeger http://localhost:16686
      OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 consort trace export last
    """


def _from(function: Function) -> Function:
    """Adds --jaeger and --traces: where spans are read from."""
    function = click.option(
        "--traces",
        type=click.Path(file_okay=False, path_type=Path),
        help="A folder in which processes keep their spans. [default: that of --folder]",
    )(function)
    return click.option(
        "--jaeger", envvar="CONSORT_JAEGER", metavar="URL", help="Address of a Jaeger's user interface."
    )(function)


@trace.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--all", "everything", is_flag=True, help="Also what took no time: decisions, acknowledgements."
)
@_from
@on_the_bus
@printing
def show(
    run: str, everything: bool, jaeger: str | None, traces: Path | None, place: Place, printer: Printer
) -> None:
    """RUN as a tree of spans, with durations, waits, retries and the critical path (marked with *).

    \b
    Examples:
      consort trace last
      consort trace last --all
      consort trace show 0194f2 --jaeger http://localhost:16686 --json
    """
    check_reference(run)
    source = _source(jaeger, traces, place)
    told = run_to_end(_told(run, place, source, required=bool(jaeger or traces)))
    spans = [*derived(told.run, told.entries), *told.spans]
    tree = tree_of(spans, root_span_id(told.run))
    behind = skews(tree)
    printer.data(
        {
            "run": told.run,
            "ended": told.ended,
            "source": source.where if source is not None else None,
            "link": source.link(told.run) if isinstance(source, Jaeger) else None,
            "clocks_behind": behind,
            "spans": [span_data(depth, branch) for depth, branch in tree.branches],
        }
    )
    for line in tree_lines(told.run, told.ended, tree, everything=everything):
        printer.say(line)
    for where, seconds in sorted(behind.items()):
        printer.say(
            click.style(f"the clock of {where} is at least {seconds:.3g} s behind the bus's", fg="yellow")
        )
    if not told.spans:
        printer.note(
            f"only what the log tells: no span of this run is in {source.where}"
            if source is not None
            else "only what the log tells: no spans were kept here, and no Jaeger is named (--jaeger)"
        )
    if isinstance(source, Jaeger):
        printer.say(f"in Jaeger: {source.link(told.run)}")


@trace.command("check")
@click.argument("run", metavar="RUN")
@click.option(
    "--within",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    help="Seconds to wait for spans that are still on their way.",
)
@_from
@on_the_bus
@printing
def check_(
    run: str, within: float, jaeger: str | None, traces: Path | None, place: Place, printer: Printer
) -> int:
    """Whether the trace of RUN is whole: every entry of the log has its span, every span its parent.

    Ends with 0 if it is, with 1 and the names of the holes if not.

    \b
    Examples:
      consort trace check last
      consort trace check last --jaeger http://localhost:16686 --json
    """
    check_reference(run)
    source = _source(jaeger, traces, place)
    if source is None:
        raise InvalidInput(
            "there are no spans to check: none are kept in this folder; name a Jaeger with --jaeger, or a folder "
            "with --traces"
        )
    verdict = run_to_end(_checked(run, place, source, within))
    printer.data(
        {
            "run": verdict.run,
            "whole": verdict.whole,
            "ended": verdict.ended,
            "expected": verdict.expected,
            "found": verdict.found,
            "processes": verdict.processes,
            "holes": [{"kind": hole.kind, "span": hole.span, "what": hole.what} for hole in verdict.holes],
        }
    )
    for hole in verdict.holes:
        printer.say(f"{click.style(hole.kind, fg='red')}  {hole.what}  ({hole.span})")
    printer.say(_summary(verdict))
    return DONE if verdict.whole else FAILED


@trace.command()
@click.argument("run", metavar="RUN")
@on_the_bus
@printing
def export(run: str, place: Place, printer: Printer) -> int:
    """Export what the log says of RUN's trace, once more or for the first time.

    For a run during which nobody exported, or whose collector was away. Goes where
    OTEL_EXPORTER_OTLP_ENDPOINT says. A span that is there already comes out the same.

    \b
    Example:
      OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 consort trace export last
    """
    check_reference(run)
    tracing = open_tracing(SERVICE, "again")
    if tracing is None:
        raise InvalidInput(f"{ENDPOINT} says where spans go; it is not set")
    from consort_orchestrator.tracing.emitting import Emitting

    told = run_to_end(_told(run, place, None, required=False))
    spans = derived(told.run, told.entries)
    Emitting(tracing, "").export(spans)
    tracing.close()
    if tracing.failed:
        return FAILED
    printer.say(f"{counted(len(spans), 'span')} of run {told.run} exported")
    printer.data({"run": told.run, "spans": len(spans)})
    return DONE


def _source(jaeger: str | None, traces: Path | None, place: Place) -> Source | None:
    """Where to read from: what was named, or what is kept in the folder. Raises InvalidInput."""
    if traces is not None:
        return Files(traces)
    if jaeger:
        if urlsplit(jaeger).scheme not in ("http", "https"):
            raise InvalidInput(f"--jaeger wants an address such as http://localhost:16686, not {jaeger!r}")
        return Jaeger(jaeger)
    kept = folder_for_spans(traces_of(place.folder))
    return Files(kept) if kept is not None and kept.is_dir() else None


async def _told(text: str, place: Place, source: Source | None, *, required: bool) -> _Told:
    """Raises UnknownRun, BusError, and TracesUnreachable if the source was asked for."""
    async with client_of(place) as client:
        run = await resolved(client, place, text)
        entries = [logged.entry for logged in await client.entries(run)]
    try:
        spans = [] if source is None else await asyncio.to_thread(source.spans, run)
    except TracesUnreachable:
        if required:
            raise
        spans = []
    return _Told(run, entries, spans)


async def _checked(text: str, place: Place, source: Source, within: float) -> Verdict:
    """Looks again while it is not whole, for so many seconds."""
    loop = asyncio.get_running_loop()
    async with client_of(place) as client:
        run = await resolved(client, place, text)
        until = loop.time() + within
        while True:
            entries: list[Logged] = await client.entries(run)
            spans = await asyncio.to_thread(source.spans, run)
            verdict = check(run, [logged.entry for logged in entries], spans)
            if verdict.whole or loop.time() >= until:
                return verdict
            await asyncio.sleep(LOOK_AGAIN)


def _summary(verdict: Verdict) -> str:
    processes = "one process" if verdict.processes == 1 else f"{verdict.processes} processes"
    known = f"{counted(verdict.found, 'span')} of {processes}"
    going = "" if verdict.ended else "; the run goes on, its own span is yet to come"
    if verdict.whole:
        return f"the trace is whole: {known}, {verdict.expected} of them as the log says{going}"
    return f"the trace has {counted(len(verdict.holes), 'hole')}: {known}, the log says {verdict.expected}{going}"
