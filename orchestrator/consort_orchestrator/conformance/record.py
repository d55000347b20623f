"""What an agent was given, and what it said, in the order in which the server had it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from consort_bus.jetstream import AckSubject
from consort_bus.listen import Heard
from consort_shared.entries import Granted, HandOff, Hole, Prior
from consort_shared.messages import Effect, Heed, Output, Progress, Put, Report
from consort_shared.values import Json, digest

Said: TypeAlias = Report | Progress | Put | Effect | Heed


@dataclass(frozen=True, slots=True)
class Given:
    """A task that was given; `seq` is its place in the log."""

    run: str
    task: str
    nonce: str
    skill: str
    seq: int


@dataclass(frozen=True, slots=True)
class Noticed:
    """One thing that the agent said; `fault` tells what is wrong with it, empty for nothing."""

    at: float
    heard: Heard
    message: Said | None = None
    fault: str = ""


@dataclass(slots=True)
class Record:
    """What the agent said, in order."""

    said: list[Noticed] = field(default_factory=list)
    """to the inbox"""
    acks: list[tuple[float, AckSubject, bytes, int]] = field(default_factory=list)
    """when, about what, what, and how much had been said to the inbox before"""
    lives: list[tuple[float, str, str]] = field(default_factory=list)
    """signs of life: when, how long they last, what is wrong"""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """run and task of questions whether they are wanted"""
    strange: list[str] = field(default_factory=list)
    """requests that were not answered, and why"""


def granted_of(
    agent: str, skill: str, task: str, nonce: str, inputs: dict[str, Json], deadline: float, hole: str
) -> Granted:
    holes: tuple[Hole, ...] = ()
    handoff = HandOff()
    if hole:
        result = {"there": [inputs[hole]]}
        output = Output(value=result, digest=digest(result))
        prior = Prior(
            path="before", skill="some.skill", agent="other", task="0-0", digest=output.digest, output=output
        )
        holes, handoff = (Hole(at=(hole,), prior="before", path=("there", 0)),), HandOff(priors=(prior,))
        inputs = {**inputs, hole: None}
    return Granted(
        path="step",
        task=task,
        attempt=1,
        agent=agent,
        skill=skill,
        inputs=inputs,
        holes=holes,
        handoff=handoff,
        deadline=deadline,
        nonce=nonce,
    )


def word_of(what: bytes) -> bytes:
    """The word of an acknowledgement: `+ACK`, `-NAK`, `+TERM` or `+WPI`."""
    return what.split(b" ")[0] or b"+ACK"
