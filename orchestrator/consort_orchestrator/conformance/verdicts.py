"""What is found about a rule, and the rules that are judged by the record alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from jsonschema import Draft202012Validator

from consort_bus.artefacts import ArtefactCorrupt, ArtefactMissing
from consort_orchestrator.conformance.record import Given, word_of
from consort_orchestrator.conformance.stage import Stage
from consort_shared.codec import unpack
from consort_shared.errors import DecodeError
from consort_shared.messages import Output, Report
from consort_shared.values import Json, digest

KEPT, BROKEN, NOT_TRIED = "kept", "broken", "not tried"
_ttl = re.compile(r"([1-9][0-9]*)s")
_LONGEST_LIFE = 60
"""Seconds that a sign of life may last."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about one rule."""

    rule: str
    state: Literal["kept", "broken", "not tried"]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """Tasks to try an agent with; without a skill the first of its card. A long one takes one and a half leases."""

    skill: str = ""
    inputs: dict[str, Json] = field(default_factory=dict)
    long_skill: str = ""
    long_inputs: dict[str, Json] = field(default_factory=dict)
    patience: float = 15.0
    """seconds for a task, and for joining four times as many"""


def verdict(rule: str, fault: str) -> Verdict:
    return Verdict(rule, "broken", fault) if fault else Verdict(rule, "kept")


async def wrong_output(stage: Stage, output: Output, schema: dict[str, Json] | None) -> str:
    """What is wrong with a result, empty for nothing. Raises BusError."""
    value = output.value
    if output.ref is not None:
        try:
            value = unpack(await stage.artefacts.get(output.ref))
        except (ArtefactMissing, ArtefactCorrupt, DecodeError) as exc:
            return f"its result is stored, and cannot be had: {exc}"
    if output.digest != digest(value):
        return f"the digest {output.digest} is not that of the result; it may be left out"
    faults = Draft202012Validator(schema or {}).iter_errors(value)
    return next((f"the result does not fit its schema: {fault.message}" for fault in faults), "")


def wrong_acknowledgement(stage: Stage, given: Given) -> str:
    """What is wrong with how a task that is done was acknowledged."""
    mine = stage.said_of(given)
    reported = next(
        at for at, one in enumerate(stage.record.said) if one in mine and isinstance(one.message, Report)
    )
    for _, _, what, before in stage.acks_of(given):
        word = word_of(what)
        if word == b"+WPI":
            continue
        if before <= reported:
            return "it acknowledged before it reported: a process that dies in between loses the task"
        return "" if word == b"+ACK" else f"it {in_words(word)}; wanted is +ACK"
    return "it did not acknowledge, so the task comes again"


def wrong_lives(stage: Stage, seconds: float) -> str:
    """What is wrong with its signs of life, of which two are wanted in so many seconds."""
    lives = stage.record.lives
    if not lives:
        return "there was none"
    for _, ttl, fault in lives:
        if fault:
            return fault
        found = _ttl.fullmatch(ttl)
        if found is None or int(found.group(1)) > _LONGEST_LIFE:
            return f"the header Nats-TTL is {ttl!r}; wanted is `10s`"
    return "" if len(lives) > 1 else f"there was one, and no other within {seconds:g} s"


def wrong_words(stage: Stage) -> str:
    """What is wrong with anything that was said while the agent was tried."""
    for one in stage.record.said:
        fault = one.fault
        if not fault and not one.heard.reply:
            fault = "it is published without asking for a receipt"
        if not fault and one.message is not None and one.message.instance not in stage.instances:
            fault = f"it names the instance {one.message.instance!r}, which was not announced"
        if fault:
            return f"{one.message.say if one.message is not None else 'a message'}: {fault}"
    return (stage.record.strange or [""])[-1]


def in_words(acked: bytes | None) -> str:
    return "did not acknowledge it" if acked is None else f"answered {acked.decode(errors='replace')}"
