"""From a stored message to something that was said, or a reason why it does not count.

Checks who speaks: the broker vouches for the sender's name in the subject, the
code for a report's attempt. What cannot be read or proved is refused whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from consort_bus.artefacts import ArtefactCorrupt, ArtefactMissing, Artefacts
from consort_bus.envelope import CONTENT_TYPE, FORWARDED, OrchestratorSeal, body_of
from consort_bus.pull import Delivery
from consort_bus.subjects import InboxSubject, IncomingSubject
from consort_orchestrator.core import Run, Said, Unreadable
from consort_shared.codec import decode
from consort_shared.errors import DecodeError
from consort_shared.messages import Wake, agent_message, client_message, person_message


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
    """What an incoming message says, and why it is to be set aside, if it is."""

    said: Said | None
    refusal: str = ""


async def open_message(incoming: Incoming, run: Run, seal: OrchestratorSeal, artefacts: Artefacts) -> Opened:
    """Read one message against the run it is for. Raises BusError when its stored body cannot be had now."""
    who, delivery = incoming.subject, incoming.delivery
    if who.kind == "timer":
        return Opened(Said("timer", Wake()))
    sender = f"{who.kind}.{who.who}"
    headers = delivery.headers
    if headers and FORWARDED in headers:
        return Opened(None, "forwarded by the server on somebody's request, not sent by the one it names")
    try:
        body = await body_of(delivery.data, headers, artefacts)
        content_type = headers.get(CONTENT_TYPE) if headers else None
        if who.kind == "client":
            return Opened(Said(sender, decode(client_message, body, content_type)))
        if who.kind == "person":
            return Opened(Said(sender, decode(person_message, body, content_type)))
        message = decode(agent_message, body, content_type)
    except (DecodeError, ArtefactMissing, ArtefactCorrupt) as exc:
        why = exc.why if isinstance(exc, DecodeError) else str(exc)
        return Opened(Said(sender, Unreadable(why)) if who.kind == "client" else None, why)
    nonce = run.nonces.get(message.task)
    if nonce is None:
        return Opened(None, f"there is no task {message.task} in this run")
    assert who.who is not None
    genuine = seal.genuine_report(
        _published(who.who, who.run),
        delivery.data,
        headers,
        run=run.id,
        agent=who.who,
        task=message.task,
        nonce=nonce,
    )
    if not genuine:
        return Opened(None, f"its code does not prove that {sender} received task {message.task}")
    return Opened(Said(sender, message))
