"""`consort chaos`: faults over a system of its own, and whether it kept its promises."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from consort_orchestrator.chaos import (
    Options,
    OwnAgent,
    OwnSystem,
    Report,
    faults_named,
    run_chaos,
    shapes_named,
)
from consort_orchestrator.cli.ending import DONE, FAILED
from consort_orchestrator.cli.inputs import inputs_of
from consort_orchestrator.cli.offers import offers_required, skills_of
from consort_orchestrator.cli.opening import run_to_end
from consort_orchestrator.cli.options import Printer, as_json, inputs_options, printing
from consort_shared.errors import InvalidInput, PlanError
from consort_shared.plan import source
from consort_shared.plan.check import check
from consort_shared.plan.model import seconds


def _span(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Seconds of `10m`, `90s` or a plain number."""
    if text is None:
        return None
    try:
        span = float(seconds(text))  # type: ignore[arg-type] # text that is no number is refused here
    except ValueError:
        span = -1.0
    if not 0 <= span < float("inf"):
        raise click.BadParameter(f"{text!r} is no span of time: write 90s or 10m")
    return span


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="Which schedule of faults.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many, from it on.")
@click.option("--runs", type=click.IntRange(1), default=20, show_default=True, help="Runs per seed.")
@click.option(
    "--time", "limit", metavar="TIME", callback=_span, help="Begin nothing after this, such as 10m."
)
@click.option(
    "--nodes", type=click.Choice(["1", "3"]), default="1", show_default=True, help="Nodes of the bus."
)
@click.option("--orchestrators", type=click.IntRange(1), default=2, show_default=True, help="Orchestrators.")
@click.option(
    "--agents", type=click.IntRange(1), default=2, show_default=True, help="Processes of each agent."
)
@click.option("--faults", default="all", show_default=True, metavar="KIND,…", help="Which; see above.")
@click.option("--workload", default="all", show_default=True, metavar="NAME,…", help="Which built-in plans.")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A plan of your own instead.",
)
@click.option("--agents-module", "references", multiple=True, metavar="NAME|module:attr", help="Its agents.")
@inputs_options
@click.option("--compare", is_flag=True, help="Do the same runs without faults too, and compare.")
@click.option(
    "--every", metavar="TIME", default="0.6s", callback=_span, help="Mean time between faults. [0.6s]"
)
@click.option(
    "--storm", metavar="TIME", default="2s", callback=_span, help="Faults last at least so long. [2s]"
)
@click.option("--heal", metavar="TIME", default="60s", callback=_span, help="Then all must end within. [60s]")
@click.option("--in-flight", type=click.IntRange(1), default=16, show_default=True, help="Runs at a time.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The report as JSON, to a file.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Work here, and keep it.")
@printing
def chaos(
    seed: int,
    seeds: int,
    runs: int,
    limit: float | None,
    nodes: str,
    orchestrators: int,
    agents: int,
    faults: str,
    workload: str,
    plan_file: Path | None,
    references: tuple[str, ...],
    pairs: tuple[str, ...],
    inputs_file: Path | None,
    compare: bool,
    every: float,
    storm: float,
    heal: float,
    in_flight: int,
    out: Path | None,
    keep: Path | None,
    printer: Printer,
) -> int:
    """Inject faults into a system of its own, and check that nothing was lost or done twice.

    Starts a bus, orchestrators and agents in a temporary folder, hands in runs, and
    kills, stops, cuts off and slows down processes meanwhile. Then every run must
    end, and what is stored is checked. Ends with 1 if anything was violated; the
    data is kept then. A seed names the same faults each time.

    Faults: kill-agent, kill-orchestrator, kill-node, freeze-agent,
    freeze-orchestrator, freeze-node, slow-node, partition, one-way, reset, delay,
    slow-link, duplicate, reorder, full-disk; kill and freeze for three each; all; none.

    \b
    Examples:
      consort chaos
      consort chaos --seeds 200 --time 10m
      consort chaos --nodes 3 --runs 1000 --faults kill --out report.json
      consort chaos --plan plan.yaml --agents-module mine.py:agent --input topic=tea
    """
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise InvalidInput(f"{keep} is not empty: name a new folder with --keep")
    if out is not None and not os.access(out if out.exists() else out.parent, os.W_OK):
        raise InvalidInput(f"{out} cannot be written: name another file with --out")
    own = run_to_end(_own(plan_file, references, pairs, inputs_file))
    options = Options(
        seed=seed,
        seeds=seeds,
        runs=runs,
        in_flight=in_flight,
        time=limit,
        storm=storm,
        every=max(every, 0.01),
        heal=heal,
        nodes=int(nodes),
        orchestrators=orchestrators,
        agents=agents,
        faults=faults_named(faults),
        shapes=shapes_named(workload),
        own=own,
        compare=compare,
        keep=keep,
    )
    report = run_to_end(run_chaos(options, tell=printer.note))
    _tell(report, out, printer)
    return DONE if report.clean else FAILED


async def _own(
    plan_file: Path | None, references: Sequence[str], pairs: tuple[str, ...], inputs_file: Path | None
) -> OwnSystem | None:
    """A plan of the user's, checked, with the agents that carry it out. Raises InvalidInput, PlanError."""
    if plan_file is None:
        if references or pairs or inputs_file is not None:
            raise InvalidInput("--agents-module and inputs belong to a plan: name it with --plan")
        return None
    if not references:
        raise InvalidInput("--plan needs the agents that carry it out: name them with --agents-module")
    loaded = source.load(plan_file)
    offers = await offers_required(references)
    cards = [offer.card for offer in offers]
    if faults := check(loaded.plan, skills=skills_of(cards), lines=loaded.lines):
        raise PlanError(faults, loaded.source)
    inputs = inputs_of(loaded.plan, pairs, inputs_file)
    agents = tuple(OwnAgent(offer.card.name, offer.reference) for offer in offers)
    return OwnSystem(loaded.plan, inputs, agents)


def _tell(report: Report, out: Path | None, printer: Printer) -> None:
    data = report.as_data()
    if out is not None:
        out.write_text(as_json(data, indent=2) + "\n", encoding="utf-8")
        printer.note(f"report: {out}")
    printer.say(report.as_text())
    printer.data(data)
