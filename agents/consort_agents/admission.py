"""Which delivered tasks are begun.

What is new is begun at once, without asking anybody. A task that comes again, waited
long, is older than this process's place on the bus, or is about a paused run needs the
orchestrator's word. One that was delivered
too often is not begun, because it may be what its processes died of.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Container
from typing import Protocol

from consort_agents.attendance import Attendance
from consort_agents.heeding import Heeding, InHand
from consort_bus.pull import Delivery
from consort_shared.card import AgentCard
from consort_shared.messages import POISON, Failed, Outcome
from consort_shared.upcast import TooNew

WAITED_LONG = 3.0
"""Seconds in the stream after which a task is begun only if it is still wanted."""
GIVEN_BACK = (1.0, 30.0)
"""Seconds until a task that goes back is delivered again: the first time, doubling, and at most."""

log = logging.getLogger("consort.agent")


class Reports(Protocol):
    """How the last word on an attempt is said."""

    def __call__(self, held: InHand, outcome: Outcome) -> Awaitable[None]: ...


class Admission:
    """The door of one process."""

    def __init__(
        self,
        card: AgentCard,
        skills: Container[str],
        heeding: Heeding,
        attendance: Attendance,
        report: Reports,
    ) -> None:
        self._card = card
        self._skills = skills
        self._heeding = heeding
        self._attendance = attendance
        self._report = report

    async def may_begin(self, held: InHand) -> bool:
        """Whether to begin a task; if not, it is seen to. Raises BusError."""
        delivery = held.delivery
        times = delivery.delivered
        stored = delivery.time.timestamp()
        late = times > 1 or self._attendance.now() - stored > WAITED_LONG or stored < self._attendance.joined
        if (late or self._heeding.orders.any) and not await self._heeding.may_begin(held, late):
            return False
        if times > self._card.poison_after and held.task.granted.skill in self._skills:
            told = f"its process died or gave up {times - 1} times while working on it"
            await self._report(held, Failed(kind=POISON, message=told))
            return False
        return True

    async def without_skill(self, held: InHand) -> None:
        """During an upgrade another process, of the newer version, may have it. Raises BusError."""
        granted = held.task.granted
        told = f"agent {self._card.name} {self._card.version} has no skill {granted.skill}"
        if held.delivery.delivered < self._card.poison_after:
            log.info("%s: task %s goes back", told, granted.task)
            held.delivery.nak(growing(held.delivery))
            return
        await self._report(held, Failed(kind="no-skill", message=told))

    def too_new(self, delivery: Delivery, exc: TooNew) -> None:
        """A newer process may take it. Without reading it nothing can be reported, so in the end its time is up."""
        if delivery.delivered < self._card.poison_after:
            log.warning("agent %s: a task goes back: %s", self._card.name, exc)
            delivery.nak(growing(delivery))
            return
        log.error("agent %s: a task is set aside: %s", self._card.name, exc)
        delivery.term(str(exc))


def growing(delivery: Delivery) -> float:
    """Seconds until a task that goes back is delivered again."""
    first, most = GIVEN_BACK
    return min(first * 2.0 ** min(delivery.delivered - 1, 30), most)
