"""Whether an entry can be the delivery of the task it grants, or a copy must be sent."""

from __future__ import annotations

from collections.abc import Callable

from consort_orchestrator.core import Run
from consort_orchestrator.core.handoff import delivered
from consort_shared.codec import MSGPACK
from consort_shared.entries import Accepted, Fact, Failure, Granted, Opened


def addressed(
    run: Run, facts: tuple[Fact, ...], reads: Callable[[str], str]
) -> tuple[tuple[Fact, ...], Granted | None]:
    """Whether an entry may be addressed to an agent, and the facts as that agent needs them.

    It may when it gives exactly one task and holds nothing else of the run than what that task's hand-off holds
    anyway: the results that its step needs, or the failure of the attempt before. Entries are msgpack, so the
    agent must read that: `reads` tells the content type.
    """
    grant: Granted | None = None
    for fact in facts:
        if isinstance(fact, Granted):
            if grant is not None:
                return facts, None
            grant = fact
    if grant is None or reads(grant.agent) != MSGPACK:
        return facts, None
    shown = {prior.path for prior in grant.handoff.priors}
    at_hand: set[str] = set()
    for fact in facts:
        if isinstance(fact, Accepted) and fact.path in shown:
            at_hand.add(fact.path)
        elif not (
            fact is grant
            or (isinstance(fact, Failure) and fact.path == grant.path)
            or (isinstance(fact, Opened) and fact.items is None and fact.plan is None)
        ):
            return facts, None
    full = delivered(run, grant, at_hand)
    return tuple(full if fact is grant else fact for fact in facts), grant
