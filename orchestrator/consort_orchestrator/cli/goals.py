"""What a command was given to carry out: a plan in a file, or a goal in words.

An existing file is a plan. What looks like the name of one is a plan that is not
there. Several words are a goal, which is planned first. A single word is neither.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from consort_bus.client import Client
from consort_orchestrator.cli.inputs import inputs_of, values_of
from consort_orchestrator.cli.offers import Offer, installed, offers_of
from consort_shared.errors import ConsortError, InvalidInput
from consort_shared.plan import source
from consort_shared.plan.check import check_inputs
from consort_shared.plan.goals import is_goal, plan_for_goal
from consort_shared.plan.model import Plan, Step
from consort_shared.plan.source import LoadedPlan
from consort_shared.values import Json

JOINING = 15.0
"""Seconds for which agents that were started are waited for, so that a planner is told of them."""
_LOOK = 0.1


def loaded(text: str, pairs: Sequence[str], inputs_file: Path | None) -> tuple[LoadedPlan, dict[str, Json]]:
    """The plan to be carried out, and its inputs. Raises InvalidInput, PlanError."""
    if os.path.exists(text) or not is_goal(text):
        return _from_file(text, pairs, inputs_file)
    given = values_of(pairs, inputs_file)
    plan = plan_for_goal(text, given)
    return LoadedPlan(plan, {}, text, "the goal"), check_inputs(plan, given)


def _from_file(
    text: str, pairs: Sequence[str], inputs_file: Path | None
) -> tuple[LoadedPlan, dict[str, Json]]:
    if not os.path.exists(text):
        hint = "a plan is a file, a goal is a sentence of several words"
        raise InvalidInput(
            f"there is no file {text}: {hint}" if text.strip() else f"nothing was named: {hint}"
        )
    found = source.load(text)
    return found, inputs_of(found.plan, pairs, inputs_file)


def plans_first(plan: Plan) -> bool:
    """Whether steps of a plan are known only once it is under way, so that any agent may be wanted."""

    def within(steps: Mapping[str, Step]) -> bool:
        return any(step.plan or step.returns or within(step.steps or {}) for step in steps.values())

    return within(plan.steps)


async def with_planner(offers: list[Offer], needed: Collection[str]) -> list[Offer]:
    """The agents that were named, and an installed one for what a goal needs and none of them offers."""
    missing = set(needed) - {skill for offer in offers for skill in offer.skills}
    if not missing:
        return offers
    there = {offer.card.name for offer in offers}
    others, _unusable = await offers_of(installed())
    return offers + [one for one in others if one.skills & missing and one.card.name not in there]


async def joined(client: Client, offers: Sequence[Offer]) -> None:
    """Wait until agents take part, for a while: a planner is told of those that are there."""
    waited_for = {offer.card.name for offer in offers}
    until = time.monotonic() + JOINING
    while time.monotonic() < until:
        try:
            if waited_for <= {presence.card.name for presence in await client.agents()}:
                return
        except ConsortError:
            pass  # not yet
        await asyncio.sleep(_LOOK)
