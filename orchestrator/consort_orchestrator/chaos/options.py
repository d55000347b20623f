"""What a chaos run is asked to do.

Plain data, and the reading of a list of faults as a person writes it. Knows which
kinds of faults there are, not how any of them is carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from consort_orchestrator.chaos.schedule import KINDS
from consort_orchestrator.chaos.shapes import SHAPES
from consort_shared.errors import InvalidInput
from consort_shared.plan.model import Plan
from consort_shared.values import Json

ALIASES = {"slow-disk": "slow-node"}
"""A disk cannot be slowed down from outside without rights over the system; stopping the node in bursts can."""


@dataclass(frozen=True, slots=True)
class OwnAgent:
    """An agent of the user's: its name on the bus, and how a process of it is named when started."""

    name: str
    reference: str


@dataclass(frozen=True, slots=True)
class OwnSystem:
    """A plan of the user's and the agents that carry it out, in place of the built-in workload."""

    plan: Plan
    inputs: Mapping[str, Json]
    agents: tuple[OwnAgent, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be done. Times are in seconds."""

    seed: int = 1
    seeds: int = 1
    """how many seeds, from `seed` on, one after the other over the same processes"""
    runs: int = 20
    """runs handed in per seed"""
    in_flight: int = 16
    """runs that are under way at a time"""
    time: float | None = None
    """no fault and no run is begun after this"""
    storm: float = 2.0
    """faults go on at least so long, and until every run is handed in"""
    every: float = 0.6
    """mean time from one fault to the next"""
    heal: float = 60.0
    """within which every run must have ended once all faults are over"""
    nodes: int = 1
    orchestrators: int = 2
    agents: int = 2
    """processes of each agent"""
    faults: tuple[str, ...] = tuple(KINDS)
    shapes: tuple[str, ...] = field(default_factory=lambda: tuple(SHAPES))
    """plans of the built-in workload"""
    own: OwnSystem | None = None
    compare: bool = False
    """do the same runs once more without faults, and compare how they ended"""
    keep: Path | None = None
    """where everything lies; kept when given, or when something was violated"""

    def __post_init__(self) -> None:
        if self.nodes not in (1, 3):
            raise InvalidInput(f"{self.nodes} nodes: the bus of a chaos run has 1 or 3")
        for what in ("seeds", "runs", "in_flight", "orchestrators", "agents"):
            if getattr(self, what) < 1:
                raise InvalidInput(f"{what} must be 1 at least")
        for name in (*self.faults, *self.shapes):
            if name not in KINDS and name not in SHAPES:
                raise InvalidInput(f"there is no {name!r}")


def faults_named(text: str) -> tuple[str, ...]:
    """`all`, `none`, or kinds separated by commas; `kill` and `freeze` stand for every kind so begun.

    Raises InvalidInput.
    """
    found: list[str] = []
    for word in _words(text):
        name = ALIASES.get(word, word)
        if name == "all":
            found += KINDS
        elif name in KINDS:
            found.append(name)
        elif name != "none":
            family = [kind for kind in KINDS if kind.startswith(f"{name}-")]
            if not family:
                raise InvalidInput(f"there is no fault {word!r}; there are {', '.join(KINDS)}, and `all`")
            found += family
    return tuple(kind for kind in KINDS if kind in found)


def shapes_named(text: str) -> tuple[str, ...]:
    """`all`, or plans of the built-in workload separated by commas. Raises InvalidInput."""
    words = _words(text)
    for word in words:
        if word != "all" and word not in SHAPES:
            raise InvalidInput(f"the workload has no {word!r}; it has {', '.join(SHAPES)}")
    return tuple(name for name in SHAPES if name in words or "all" in words)


def _words(text: str) -> list[str]:
    return [part for part in _stripped(text.split(",")) if part]


def _stripped(parts: Iterable[str]) -> Iterable[str]:
    return (part.strip() for part in parts)
