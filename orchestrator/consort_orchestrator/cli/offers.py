"""What agents offer: asked of the agents themselves, or of those that run.

An agent's module is never imported here; a process of its own prints its card.
Agents are told apart from other installed software by the entry points of group
`consort.agents`, whose names alone are read.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from consort_orchestrator.cli.wording import one_line
from consort_shared.card import AgentCard, Presence
from consort_shared.errors import InvalidInput
from consort_shared.offers import skills_of
from consort_shared.plan.model import Plan, Step

__all__ = [
    "Offer",
    "Unusable",
    "cards_of",
    "chosen",
    "installed",
    "offers_of",
    "offers_required",
    "skills_needed",
    "skills_of",
]

GROUP = "consort.agents"
CARD_TIMEOUT = 60.0
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Offer:
    """An agent that could be started: what it is called on the command line, and its card."""

    reference: str
    card: AgentCard

    @property
    def skills(self) -> set[str]:
        return {skill.name for skill in self.card.skills}


@dataclass(frozen=True, slots=True)
class Unusable:
    """An agent that cannot be started, and why."""

    reference: str
    why: str


def installed() -> list[str]:
    """The names of the installed agents."""
    return sorted({entry.name for entry in importlib.metadata.entry_points(group=GROUP)})


async def offers_of(references: Sequence[str]) -> tuple[list[Offer], list[Unusable]]:
    """The cards of agents. One process tells those of all installed agents; each other has its own."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def ask(*together: str) -> list[Offer | Unusable]:
        async with slots:
            return await _cards(together)

    names = [reference for reference in references if ":" not in reference]
    groups = [names] if names else []
    groups += [[reference] for reference in references if ":" in reference]
    answers = await asyncio.gather(*(ask(*group) for group in groups))
    found = {one.reference: one for answer in answers for one in answer}
    left = [name for name in names if name not in found]  # one of them took the process down
    found |= {one.reference: one for answer in await asyncio.gather(*map(ask, left)) for one in answer}
    offers = [one for one in (found[name] for name in references) if isinstance(one, Offer)]
    return offers, [one for one in found.values() if isinstance(one, Unusable)]


async def offers_required(references: Sequence[str]) -> list[Offer]:
    """As `offers_of`, of agents that somebody named. Raises InvalidInput when one cannot be used."""
    offers, unusable = await offers_of(references)
    if unusable:
        raise InvalidInput("\n".join(f"agent {one.reference}: {one.why}" for one in unusable))
    names = [offer.card.name for offer in offers]
    for name in names:
        if names.count(name) > 1:
            both = ", ".join(offer.reference for offer in offers if offer.card.name == name)
            raise InvalidInput(f"{both} are all named {name!r}; the name of an agent must be its own")
    return offers


async def _cards(references: Sequence[str]) -> list[Offer | Unusable]:
    """What one process tells of agents. Of a single one there is always an answer, of several perhaps not."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "consort_agents",
        "--card",
        "--",
        *references,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = b"", b""
    why = f"its card was not there after {CARD_TIMEOUT:.0f} seconds"
    try:
        async with asyncio.timeout(CARD_TIMEOUT):
            out, err = await process.communicate()
        lines = err.decode(errors="replace").strip().splitlines()
        why = one_line(lines[-1]) if lines else f"ended with code {process.returncode}"
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            process.kill()
    found = [one for line in out.splitlines() if (one := _answer(line)) is not None]
    return found or ([Unusable(references[0], why)] if len(references) == 1 else [])


def _answer(line: bytes) -> Offer | Unusable | None:
    try:
        told: dict[str, Any] = json.loads(line)
        reference = str(told["agent"])
        if "error" in told:
            return Unusable(reference, str(told["error"]))
        return Offer(reference, AgentCard.model_validate(told["card"]))
    except (ValueError, LookupError, TypeError, ValidationError):
        return None


def cards_of(presences: Iterable[Presence]) -> list[AgentCard]:
    """The cards of running agents, one for each name."""
    cards: dict[str, AgentCard] = {}
    for presence in presences:
        cards.setdefault(presence.card.name, presence.card)
    return list(cards.values())


def skills_needed(plan: Plan) -> set[str]:
    """The skills that a plan's steps ask for."""

    def within(steps: Mapping[str, Step]) -> Iterable[str]:
        for step in steps.values():
            if step.skill is not None:
                yield step.skill
            yield from within(step.steps or {})

    return set(within(plan.steps))


def chosen(offers: Sequence[Offer], needed: set[str]) -> list[Offer]:
    """The agents that offer any skill that is needed."""
    return [offer for offer in offers if offer.skills & needed]
