"""From the name of a model to a provider and a price, for those who think.

Opening may load a package of many megabytes, which would stop the signs of life of the
process: it is done in a thread. Prices are looked up here, so that there is one answer to
what a call without a known price costs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consort_agents.models.errors import ModelUnusable
from consort_agents.thinking.errors import NoModel
from consort_shared.errors import InvalidInput
from consort_shared.usage import Usage

if TYPE_CHECKING:
    from consort_agents.models.port import Provider

HOW = (
    "name one in the call, in the agent's profile (`model`), with Agent(…, model=…) or in CONSORT_MODEL: "
    "`claude-…` needs ANTHROPIC_API_KEY, `scripted:rules.yaml` answers from a file and needs neither key nor network"
)
_one_at_a_time = threading.Lock()
_priced_before: set[str] = set()


@dataclass(frozen=True, slots=True)
class Opened:
    """A provider, and the name under which it knows the model."""

    provider: Provider
    model: str
    reference: str


async def opened(reference: str, given: Mapping[str, Provider]) -> Opened:
    """The provider of a model. Raises NoModel, also for one that cannot be used as things are configured."""
    if not reference:
        raise NoModel(f"no model is configured; {HOW}")
    found = _known(reference, given)
    if found is None or reference not in _priced_before:
        found = await asyncio.to_thread(_open, reference, given)
        await asyncio.to_thread(price, found, Usage())  # loads what prices need, off the loop
        _priced_before.add(reference)
    return found


def trouble_with(reference: str, given: Mapping[str, Provider]) -> str:
    """Why a model cannot be used here, in a sentence; empty if it can, as far as that shows without asking it."""
    try:
        _open(reference, given)
    except NoModel as exc:
        return str(exc)
    return ""


def price(opened: Opened, usage: Usage, answered_as: str = "", *, most: bool = False) -> int | None:
    """Nano-dollars, or the most it could be before it is known what a cache holds; None where no price is known.

    `answered_as` is what the provider calls the model. Raises NoModel for a bad file of prices.
    """
    from consort_agents.models.pricing import cost_of, most_of

    try:
        whole = (
            f"{opened.provider.name}:{opened.model}"  # a bare name may be written whole in a file of prices
        )
        cost = (most_of if most else cost_of)(opened.reference, usage, opened.model, answered_as, whole)
    except InvalidInput as exc:
        raise NoModel(str(exc)) from exc
    return 0 if cost is None and not opened.provider.needs_network else cost


def _known(reference: str, given: Mapping[str, Provider]) -> Opened | None:
    from consort_agents.models.finding import known_provider

    if reference in given:
        return Opened(given[reference], reference.partition(":")[2], reference)
    before = known_provider(reference)
    return None if before is None else Opened(*before, reference)


def _open(reference: str, given: Mapping[str, Provider]) -> Opened:
    from consort_agents.models.finding import open_provider

    with _one_at_a_time:
        if (found := _known(reference, given)) is not None:
            return found
        try:
            provider, model = open_provider(reference)
        except ModelUnusable as exc:
            raise NoModel(str(exc)) from exc
        return Opened(provider, model, reference)
