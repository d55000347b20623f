"""What an agent's process does when told something about its tasks, or when their time is up.

A task that is called off is interrupted where that can be: an async skill is cancelled,
a child process killed, what has not begun is dropped. A function in a thread cannot be
interrupted: its result is thrown away when it returns, and it may look at
`ctx.stopping` meanwhile. Every order about a task in hand is acknowledged within a
second, with what became of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from consort_agents.attendance import Attendance
from consort_agents.context import Context
from consort_agents.orders import Orders
from consort_agents.speaking import Speaker
from consort_agents.tasks import Task
from consort_bus.errors import BusError
from consort_bus.pull import Delivery
from consort_shared.messages import Answer, EffectAnswer, Hold, Stop

if TYPE_CHECKING:
    from consort_agents.task_spans import TaskSpans

STOP_LIMIT = 0.6
"""Seconds that a task may take to end when it is called off, before it is said that it cannot be stopped."""
OVERDUE_AFTER, LOOK_AGAIN, OVERDUE_ANYWAY = 1.0, 5.0, 30.0
"""Seconds past the deadline when the orchestrator is asked, between questions, and after which none is needed."""
WATCH_EVERY, PARKED_EVERY = 0.5, 5.0

log = logging.getLogger("consort.agent")


@dataclass(slots=True)
class InHand:
    """A task being worked on; `delivery` is the newest of it."""

    task: Task
    delivery: Delivery
    work: asyncio.Task[None]
    look_at: float
    """when to ask whether its time is up, in seconds since 1970 by the bus's clock"""
    context: Context | None = None
    """that of its skill, once that has begun"""
    in_thread: bool = False
    off: bool = False
    """called off: nothing is reported any more"""
    spans: TaskSpans | None = None
    """the spans of the work, where they are exported"""
    began: float = 0.0
    """by the monotonic clock, when its skill was called, until it is reported on; 0 for neither"""


class Heeding:
    """Carries out orders about the tasks of one process."""

    def __init__(
        self,
        in_hand: dict[tuple[str, str], InHand],
        speaker: Speaker,
        attendance: Attendance,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._in_hand = in_hand
        self._speaker = speaker
        self._attendance = attendance
        self._spawn = spawn
        self.orders = Orders()

    def ordered(self, order: Stop | Answer | EffectAnswer | Hold) -> None:
        """Do what the orchestrator says. Returns at once."""
        match order:
            case Stop():
                self._stop(order.run, order.task)
            case Hold():
                self._hold(order.run, order.on)
            case Answer() | EffectAnswer():
                self._speaker.answered(order)

    # --- before a task is begun

    async def may_begin(self, held: InHand, late: bool) -> bool:
        """Whether to begin a task; if not, it is seen to. `late`: it waited long or was delivered before."""
        task, orders = held.task, self.orders
        if orders.stopped(task.key):
            held.delivery.ack()
            self._heed(task, "stop", "dropped")
            return False
        wanted = await self._attendance.wanted(*task.key) if late else None
        if wanted == "no":
            log.info("task %s of run %s is not wanted any more", task.granted.task, task.run)
            held.delivery.ack()
            return False
        if wanted == "later":
            orders.hold(task.run)
        elif wanted == "yes":
            self._go_on(task.run)
        if orders.held(task.run):
            self._park(held)
            return False
        return True

    def parked(self, task: Task, delivery: Delivery) -> bool:
        """Whether a task is parked already; the newest delivery of it is kept."""
        parked = self.orders.parked.get(task.key)
        if parked is not None:
            parked.delivery = delivery
        return parked is not None

    def _park(self, held: InHand) -> None:
        if not self.orders.park(held.task, held.delivery):
            held.delivery.nak(LOOK_AGAIN)
            return
        self._heed(held.task, "pause", "held")

    # --- orders

    def _stop(self, run: str, task: str) -> None:
        self.orders.stop(run, task)
        held = self._in_hand.get((run, task))
        if held is not None and not held.off:
            log.info("task %s of run %s is called off", task, run)
            self._spawn(self._call_off(held, ordered=True))
        elif (parked := self.orders.parked.pop((run, task), None)) is not None:
            parked.delivery.ack()
            self._heed(parked.task, "stop", "dropped")

    def _hold(self, run: str, on: bool) -> None:
        if on:
            self.orders.hold(run)
        else:
            self._go_on(run)
        for held in self._in_hand.values():
            if held.task.run == run and not held.off:
                self._heed(held.task, "pause" if on else "resume", "goes-on")

    def _go_on(self, run: str) -> None:
        for parked in self.orders.release(run):
            parked.delivery.nak()  # comes again at once, to whoever has a free slot

    async def _call_off(self, held: InHand, *, ordered: bool) -> None:
        held.off = True
        begun = held.context is not None
        if held.context is not None:
            held.context.effects.called_off = True
        held.delivery.ack()
        if not held.in_thread:
            held.work.cancel()
        ended, _ = await asyncio.wait({held.work}, timeout=STOP_LIMIT)
        if not ended:
            log.warning(
                "task %s of run %s cannot be stopped: %s keeps its slot until it returns",
                held.task.granted.task,
                held.task.run,
                held.task.granted.skill,
            )
        if ordered:
            how: Literal["stopped", "cannot"] = "stopped" if ended else "cannot"
            self._heed(held.task, "stop", how if begun else "dropped")

    def _heed(
        self,
        task: Task,
        order: Literal["stop", "pause", "resume"],
        how: Literal["stopped", "dropped", "cannot", "goes-on", "held"],
    ) -> None:
        async def say() -> None:
            try:
                await self._speaker.heed(task, order, how)
            except BusError as exc:
                log.warning("that task %s heeds %s is not said: %s", task.granted.task, order, exc)

        self._spawn(say())

    # --- time

    async def watch(self) -> None:
        """See to what is overdue or parked, until cancelled."""
        look = 0.0
        while True:
            await asyncio.sleep(WATCH_EVERY)
            now = self._attendance.now()
            for held in self._in_hand.values():
                if held.look_at < now and not held.off:
                    held.look_at = now + LOOK_AGAIN
                    self._spawn(self._overdue(held))
            look += WATCH_EVERY
            if look >= PARKED_EVERY and self.orders.parked:
                look = 0.0
                self._spawn(self._look_at_parked())

    async def _overdue(self, held: InHand) -> None:
        """The attempt may have been given more time, which only the orchestrator knows."""
        granted = held.task.granted
        wanted = await self._attendance.wanted(*held.task.key)
        gone = self._attendance.now() - granted.deadline > OVERDUE_ANYWAY
        if held.off or held.work.done() or not (wanted == "no" or (wanted is None and gone)):
            return
        log.info("the time of task %s of run %s is up", granted.task, held.task.run)
        await self._call_off(held, ordered=False)

    async def _look_at_parked(self) -> None:
        """An order to go on may have been missed."""
        for parked in self.orders.one_of_each():
            wanted = await self._attendance.wanted(*parked.task.key)
            if wanted == "yes":
                self._go_on(parked.task.run)
            elif wanted == "no" and self.orders.parked.pop(parked.task.key, None) is not None:
                parked.delivery.ack()
