"""`consort run`: a plan carried out with everything it needs, in one command.

What is missing is started and stopped again: the bus, an orchestrator, the agents
whose skills the plan asks for. Where `consort up` is at work in the folder, what
it keeps running is used; on a bus elsewhere nothing is started at all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from consort_bus import embedded
from consort_bus.client import Client
from consort_orchestrator.cli import goals, summary
from consort_orchestrator.cli.ending import DONE, FAILED
from consort_orchestrator.cli.follow import Picture
from consort_orchestrator.cli.following import PATIENCE, View, follow, view_for
from consort_orchestrator.cli.household import Household, is_up, traces_of
from consort_orchestrator.cli.offers import (
    Offer,
    cards_of,
    chosen,
    installed,
    offers_of,
    offers_required,
    skills_needed,
    skills_of,
)
from consort_orchestrator.cli.opening import client_of, local_bus, remember, run_to_end
from consort_orchestrator.cli.options import (
    Place,
    Printer,
    agents_option,
    inputs_options,
    on_the_bus,
    printing,
)
from consort_orchestrator.cli.results import save_results
from consort_orchestrator.cli.supervise import Supervisor
from consort_shared.card import AgentCard
from consort_shared.errors import PlanError
from consort_shared.ids import new_run_id
from consort_shared.plan.check import check
from consort_shared.plan.goals import SKILL
from consort_shared.plan.model import Plan
from consort_shared.plan.source import LoadedPlan
from consort_shared.telemetry.contexts import CLIENT_SERVICE
from consort_shared.telemetry.tracing import exported
from consort_shared.values import Json

AGENTS_GRACE = 2.0
"""Seconds that agents started for one run are given for tasks of other runs when it is over."""
OWN_PATIENCE = 10.0
"""Seconds after which a run's own orchestrator is said to be late."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done."""

    plan: Plan
    inputs: Mapping[str, Json]
    run: str
    place: Place


@click.command()
@click.argument("plan", metavar="PLAN|GOAL")
@inputs_options
@agents_option("Agents that may take part; by default all that are installed.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Where results go. [.consort/results/RUN]"
)
@click.option("--live/--no-live", default=None, help="Redraw the steps in place; by default on a terminal.")
@on_the_bus
@printing
def run(
    plan: str,
    pairs: tuple[str, ...],
    inputs_file: Path | None,
    agents: tuple[str, ...],
    out: Path | None,
    live: bool | None,
    place: Place,
    printer: Printer,
) -> int:
    """Carry out PLAN with everything it needs, then stop it all.

    Starts the bus, an orchestrator and the agents whose skills the plan asks for,
    unless `consort up` keeps them running in the same folder. The run is on the log
    whatever happens: interrupted, it goes on with the next `consort up`.

    Instead of a plan's file a GOAL in words may be given: an agent that offers the
    skill `plan` breaks it into steps for the agents that are there.

    \b
    Examples:
      consort run plan.yaml
      consort run plan.yaml --input topic=tea --input limit=5
      consort run plan.yaml --inputs inputs.yaml --out results
      consort run plan.yaml --agents mine.py:agent,writer
      consort run plan.yaml --json | jq .output
      consort run "Which systems lead, and where is the market moving?" --input sources=examples/market-analysis/sources
    """
    loaded, inputs = goals.loaded(plan, pairs, inputs_file)
    refuse_faults(loaded, None)
    order = Order(loaded.plan, inputs, new_run_id(), place)
    view = view_for(printer, live, to_stderr=True)

    async def pursue(client: Client, patience: float) -> int:
        picture = await handed_in(order, client, view, patience)
        output, files = await collect(client, picture, out or order.place.folder / "results" / order.run)
        printer.say(summary.as_text(picture, output, files, reference=order.run[:12]))
        printer.data(summary.as_data(picture, output, files))
        return DONE if picture.state == "completed" else FAILED

    try:
        return run_to_end(carried_out(order, loaded, agents, view, pursue))
    except KeyboardInterrupt:
        printer.note(
            f"run {order.run} is kept if it was handed in: it goes on with `consort up`; "
            f"`consort cancel {order.run[:12]}` ends it"
        )
        raise


async def carried_out(
    order: Order,
    loaded: LoadedPlan,
    agents: Sequence[str],
    view: View,
    pursue: Callable[[Client, float], Awaitable[int]],
) -> int:
    """What `pursue` comes to, given a client and its patience, while everything that the order needs is there."""
    if order.place.server is not None:
        async with client_of(order.place) as client:
            refuse_faults(loaded, cards_of(await client.agents()))
            return await pursue(client, PATIENCE)
    up = is_up(order.place.folder)
    there = await _there(order.place)
    offers = await _to_start(order.plan, agents, there if up else [])
    refuse_faults(loaded, [*(offer.card for offer in offers), *there])
    if not goals.plans_first(order.plan):
        offers = chosen(offers, _missing(order.plan, there if up else []))
    async with (
        _household(order.place.folder, offers, view, up) as supervisor,
        client_of(order.place) as client,
    ):
        pursuing = asyncio.ensure_future(_once_joined(order, client, offers, pursue, up))
        try:
            ends: list[asyncio.Future[Any]] = [pursuing, supervisor.broken]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not pursuing.done():
                raise supervisor.broken.result()
        finally:
            pursuing.cancel()
            await asyncio.gather(pursuing, return_exceptions=True)
        return pursuing.result()


async def _once_joined(
    order: Order,
    client: Client,
    offers: Sequence[Offer],
    pursue: Callable[[Client, float], Awaitable[int]],
    up: bool,
) -> int:
    if goals.plans_first(order.plan):
        await goals.joined(client, offers)
    return await pursue(client, PATIENCE if up else OWN_PATIENCE)


def refuse_faults(loaded: LoadedPlan, cards: Sequence[AgentCard] | None) -> None:
    skills = None if cards is None else skills_of(cards)
    if faults := check(loaded.plan, skills=skills, lines=loaded.lines):
        raise PlanError(faults, loaded.source)


async def _there(place: Place) -> list[AgentCard]:
    """The cards of agents that run already on the folder's bus."""
    if await asyncio.to_thread(embedded.status, place.folder) is None:
        return []
    async with client_of(place, looking=False) as client:
        return cards_of(await client.agents())


def _missing(plan: Plan, relied_on: Sequence[AgentCard]) -> set[str]:
    """The skills that a plan asks for and that none of these agents offers."""
    return skills_needed(plan) - {skill.name for card in relied_on for skill in card.skills}


async def _to_start(plan: Plan, named: Sequence[str], relied_on: Sequence[AgentCard]) -> list[Offer]:
    """The agents that could be started, beside those relied on. Broken ones matter only to whoever named them."""
    missing = _missing(plan, relied_on)
    if named:
        offers = await offers_required(named)
        there = {card.name for card in relied_on}
        offers = await goals.with_planner(offers, missing & {SKILL})
        return [offer for offer in offers if offer.card.name not in there or offer.skills & missing]
    if not missing:
        return []
    offers, _unusable = await offers_of(installed())
    return chosen(offers, missing) if relied_on else offers


@asynccontextmanager
async def _household(
    folder: Path, offers: Sequence[Offer], view: View, up: bool
) -> AsyncIterator[Supervisor]:
    """Everything that a run needs and nobody else keeps running, while the block lasts."""
    async with local_bus(folder) as server, Supervisor(server.folder / "logs", view.note) as supervisor:
        household = Household(folder, server.url)
        if not up:
            await supervisor.start(household.orchestrator("main"))
        for offer in offers:
            await supervisor.start(household.agent(offer, grace=AGENTS_GRACE))
        try:
            yield supervisor
        finally:
            await supervisor.stop_named([f"agent-{offer.card.name}" for offer in offers])


async def handed_in(order: Order, client: Client, view: View, patience: float) -> Picture:
    """Hand in the run and show it to its end."""
    folder = traces_of(order.place.folder) if order.place.server is None else None
    async with exported(CLIENT_SERVICE, str(os.getpid()), folder=folder):
        await client.submit(order.plan, order.inputs, run=order.run)
    remember(order.place, order.run)
    return await follow(client, order.run, view, patience=patience)


async def collect(client: Client, picture: Picture, out: Path) -> tuple[Json, list[Path]]:
    """A completed run's result, and the files it was written to. Nothing of a run without one."""
    finished = picture.run.finished
    if finished is None or finished.state != "completed":
        return None, []
    output = await client.outcome(picture.run.id, finished)
    return output, await save_results(output, out, client.artefacts)
