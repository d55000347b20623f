"""From a stored message to something that was said, or a reason why it does not count.

Checks who speaks: the broker vouches for the sender's name in the subject, the
code for a report's attempt. What cannot be read or proved is refused whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from consort_bus.artefacts import ArtefactCorrupt, ArtefactMissing, Artefacts
from consort_bus.envelope import CONTENT_TYPE, FORWARDED, TRACE, OrchestratorSeal, body_of
from consort_bus.letters import REFUSED, UNREADABLE
from consort_bus.pull import Delivery
from consort_bus.subjects import InboxSubject, IncomingSubject
from consort_orchestrator.core import Run, Said, Unreadable
from consort_orchestrator.core.decide import Forged
from consort_shared.codec import decode, unpack
from consort_shared.errors import DecodeError
from consort_shared.messages import Redrive, Wake, agent_message, client_message, person_message
from consort_shared.telemetry.span_ids import parse_traceparent


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message for one run, as delivered."""

    subject: InboxSubject
    delivery: Delivery


@lru_cache(maxsize=4096)
def _published(agent: str, run: str) -> str:
    """The subject that an agent's reports were published on, before the inbox stored them under another."""
    return str(IncomingSubject("agent", agent, run))


@dataclass(frozen=True, slots=True)
class Opened:
    """What a message says, and why it is to be set aside, if it is; what was said may be that it does not count."""

    said: Said | None
    refusal: str = ""
    kind: str = REFUSED
    submits: bool = False
    """whether it was to hand its run in, although it cannot be read"""
    redrive: tuple[str, Redrive] | None = None
    """who wants which dead letter judged again; what it says is in that letter"""


async def open_message(incoming: Incoming, run: Run, seal: OrchestratorSeal, artefacts: Artefacts) -> Opened:
    """Read one message against the run it is for. Raises BusError when its stored body cannot be had now."""
    delivery = incoming.delivery
    if incoming.subject.kind == "timer":
        return Opened(Said("timer", Wake()))
    opened = await read_message(
        incoming.subject, delivery.data, delivery.headers, delivery.seq, run, seal, artefacts
    )
    if opened.said is None or incoming.subject.kind == "agent":
        return opened
    return replace(
        opened, said=replace(opened.said, at=delivery.time.timestamp(), caller=_caller(delivery.headers))
    )


async def read_message(
    who: InboxSubject,
    data: bytes,
    headers: Mapping[str, str],
    seq: int,
    run: Run,
    seal: OrchestratorSeal,
    artefacts: Artefacts,
) -> Opened:
    """Read a message of the inbox that is no timer's. Raises BusError when its stored body cannot be had now."""
    sender = f"{who.kind}.{who.who}"
    if headers and FORWARDED in headers:
        return _forged(
            sender, seq, "forwarded by the server on somebody's request, not sent by the one it names"
        )
    try:
        body = await body_of(data, headers, artefacts)
        content_type = headers.get(CONTENT_TYPE) if headers else None
        if who.kind == "client":
            return Opened(Said(sender, decode(client_message, body, content_type)))
        if who.kind == "person":
            told = decode(person_message, body, content_type)
            if isinstance(told, Redrive):
                return Opened(None, redrive=(sender, told))
            return Opened(Said(sender, told))
        message = decode(agent_message, body, content_type)
    except (DecodeError, ArtefactMissing, ArtefactCorrupt) as exc:
        why = exc.why if isinstance(exc, DecodeError) else str(exc)
        if who.kind == "client":
            said = Said(sender, Unreadable(why))
            return Opened(said, why, UNREADABLE, submits=_meant_to_submit(exc, headers))
        return Opened(Said(sender, Forged(seq, f"it cannot be read: {why}")), why, UNREADABLE)
    nonce = run.nonces.get(message.task)
    if nonce is None:
        return _forged(sender, seq, f"there is no task {message.task} in this run")
    assert who.who is not None
    genuine = seal.genuine_report(
        _published(who.who, who.run), data, headers, run=run.id, agent=who.who, task=message.task, nonce=nonce
    )
    if not genuine:
        return _forged(sender, seq, f"its code does not prove that {sender} received task {message.task}")
    return Opened(Said(sender, message))


def _caller(headers: Mapping[str, str]) -> str:
    """The span that something was said under; what is no `traceparent` is ignored, as its standard says."""
    header = headers.get(TRACE)
    return header.strip() if header is not None and parse_traceparent(header) is not None else ""


def _meant_to_submit(error: Exception, headers: Mapping[str, str] | None) -> bool:
    """Whether what cannot be read says at least that it is a submission: a plan with a fault in its form."""
    if not isinstance(error, DecodeError):
        return False
    try:
        value = unpack(error.raw, headers.get(CONTENT_TYPE) if headers else None)
    except DecodeError:
        return False
    return isinstance(value, dict) and value.get("say") == "submit"


def _forged(sender: str, seq: int, why: str) -> Opened:
    return Opened(Said(sender, Forged(seq, why)), why)
