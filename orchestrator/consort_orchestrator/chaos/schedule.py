"""Which fault strikes when, whom, and for how long: a pure function of the seed and the options.

The schedule has no end; whoever carries it out takes as much of it as there is
time for. It keeps to what a system can be asked to survive: a process is struck
by one fault at a time, and of three nodes one at a time, so that two of them are
left. When processes get the processor is not in it: two chaos runs of one seed
meet the same faults, not the same interleaving.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Strikes = Literal["agent", "orchestrator", "node", "link"]
LONGEST_GAP = 4.0
"""Times the mean gap between two faults."""
RECOVERY = 0.3
"""Seconds that a target is left alone after a fault."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: whom it strikes, for how many seconds, and how often among the others."""

    strikes: Strikes
    seconds: tuple[float, float]
    weight: int
    says: str


KINDS: dict[str, Kind] = {
    "kill-agent": Kind("agent", (0.05, 1.5), 4, "an agent's process is killed and started again"),
    "kill-orchestrator": Kind("orchestrator", (0.05, 1.5), 4, "an orchestrator is killed and started again"),
    "kill-node": Kind("node", (0.1, 1.5), 3, "a bus node is killed and started again"),
    "freeze-agent": Kind("agent", (1.2, 3.0), 3, "an agent's process is stopped for longer than its lease"),
    "freeze-orchestrator": Kind(
        "orchestrator", (2.6, 4.5), 2, "an orchestrator is stopped for longer than its hold on the inbox"
    ),
    "freeze-node": Kind("node", (0.5, 3.0), 2, "a bus node is stopped"),
    "slow-node": Kind("node", (0.8, 2.5), 1, "a bus node is stopped in bursts, as by a slow disk"),
    "partition": Kind("link", (0.5, 3.5), 3, "a process is cut off from the bus both ways"),
    "one-way": Kind("link", (0.5, 3.0), 2, "what a process sends or what it is sent does not arrive"),
    "reset": Kind("link", (0.0, 0.0), 2, "a process's connections are torn down"),
    "delay": Kind("link", (0.5, 2.5), 2, "all between a process and the bus arrives late"),
    "slow-link": Kind("link", (0.5, 2.5), 1, "few bytes a second get from a process to the bus and back"),
    "duplicate": Kind("link", (1.0, 3.0), 3, "messages of a process arrive twice"),
    "reorder": Kind("link", (1.0, 3.0), 3, "messages of a process arrive late and overtaken by others"),
    "full-disk": Kind("node", (0.3, 1.5), 1, "the disk of a bus node is full"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `at` is seconds after the first, `seconds` how long it lasts; `target` counts from 0.

    `lag` is by how many seconds messages are late, `share` how many of them, from 0 to 1. `upward` is which way a
    one-way fault strikes, `lossy` whether a partition ends with the connections torn down.
    """

    at: float
    kind: str
    target: int
    seconds: float
    lag: float = 0.0
    share: float = 0.0
    upward: bool = False
    lossy: bool = False

    @property
    def strikes(self) -> Strikes:
        return KINDS[self.kind].strikes


@dataclass(frozen=True, slots=True)
class Field:
    """How many there are to be struck."""

    nodes: int
    orchestrators: int
    agents: int

    def targets(self, strikes: Strikes) -> int:
        if strikes == "link":
            return self.orchestrators + self.agents
        return {"node": self.nodes, "orchestrator": self.orchestrators, "agent": self.agents}[strikes]


def schedule(seed: int, kinds: Sequence[str], field: Field, every: float) -> Iterator[Fault]:
    """The faults of a seed in order, without end; none at all if there are no kinds.

    `every` is the mean number of seconds from one to the next. Links are those of the orchestrators first.
    """
    if not kinds:
        return
    rng = Random(f"consort chaos {seed}")  # noqa: S311 # to be the same each time is the point
    weights = [KINDS[kind].weight for kind in kinds]
    busy: dict[tuple[str, int], float] = {}
    at = 0.0
    while True:
        [kind] = rng.choices(kinds, weights)
        strikes, span = KINDS[kind].strikes, KINDS[kind].seconds
        target = 0 if kind == "full-disk" else rng.randrange(field.targets(strikes))
        fault = Fault(
            at=round(at, 3),
            kind=kind,
            target=target,
            seconds=round(rng.uniform(*span), 3),
            lag=round(
                rng.uniform(0.05, 1.6) if kind in ("duplicate", "reorder") else rng.uniform(0.02, 0.3), 3
            ),
            share=round(rng.uniform(0.3, 1.0), 3),
            upward=rng.random() < 0.5,
            lossy=rng.random() < 0.4,
        )
        whom = (strikes, 0 if strikes == "node" else target)
        if busy.get(whom, 0.0) <= at:
            busy[whom] = at + fault.seconds + RECOVERY
            yield fault
        at += min(rng.expovariate(1 / every), LONGEST_GAP * every)
