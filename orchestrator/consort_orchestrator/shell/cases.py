"""A run on the desk: what waits for it, and what is remembered of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from consort_orchestrator.core import Foreign, Run
from consort_orchestrator.shell.inbox import Incoming
from consort_orchestrator.tracing.following import Traced
from consort_shared.values import Json


@dataclass(slots=True)
class Case:
    """A run on the desk. What it remembers may be thrown away at any time: the log has it all."""

    id: str
    queue: list[Incoming] = field(default_factory=list)
    in_hand: dict[int, Incoming] = field(default_factory=dict)
    """by place in the inbox: the messages that are queued or being judged"""
    busy: bool = False
    """in line, or being judged"""
    run: Run | None = None
    looked_up: bool = False
    """whether anything has been tried yet that would tell of earlier entries"""
    tail: int = 0
    timer: float | None = None
    """when the run's timer is known to be set for"""
    foreign: list[Foreign] = field(default_factory=list)
    blobs: dict[str, Json] = field(default_factory=dict)
    traced: Traced | None = None
    """follows the entries for the run's trace, where spans are exported"""
    touched: float = 0.0

    def forget(self) -> None:
        """What is remembered may not be what the log has."""
        self.run = None
        self.timer = None
        self.traced = None
        self.blobs.clear()
