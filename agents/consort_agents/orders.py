"""What an agent's process remembers of its orders: which tasks are called off, which runs are paused.

Orders are not stored, so one may be missed, and one may come before the task it is
about. Memory is therefore a hint with an end: the oldest is forgotten first, and
whether a paused run is still paused is asked again.

A task of a paused run is parked: kept, without a slot, until the run goes on. It is not
given back to the bus meanwhile, because how often a task was delivered tells whether
it kills its processes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from consort_agents.tasks import Task
from consort_bus.pull import Delivery

REMEMBERED = 4096
MOST_PARKED = 1000

T = TypeVar("T")


@dataclass(slots=True)
class Parked:
    """A task of a paused run."""

    task: Task
    delivery: Delivery


class Orders:
    """The orders of one process."""

    def __init__(self) -> None:
        self._stopped: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._held: OrderedDict[str, None] = OrderedDict()
        self.parked: dict[tuple[str, str], Parked] = {}

    @property
    def any(self) -> bool:
        """Whether there is anything to look up at all."""
        return bool(self._stopped or self._held)

    def stop(self, run: str, task: str) -> None:
        _remember(self._stopped, (run, task))

    def stopped(self, key: tuple[str, str]) -> bool:
        return key in self._stopped

    def hold(self, run: str) -> None:
        _remember(self._held, run)

    def held(self, run: str) -> bool:
        return run in self._held

    def release(self, run: str) -> list[Parked]:
        """A run goes on; its tasks that were parked."""
        self._held.pop(run, None)
        return [self.parked.pop(key) for key in [key for key in self.parked if key[0] == run]]

    def park(self, task: Task, delivery: Delivery) -> bool:
        """Keep a task until its run goes on; whether there is room."""
        if task.key not in self.parked and len(self.parked) >= MOST_PARKED:
            return False
        self.parked[task.key] = Parked(task, delivery)
        return True

    def one_of_each(self) -> list[Parked]:
        """A parked task of every run that has one."""
        return list({key[0]: parked for key, parked in self.parked.items()}.values())


def _remember(memory: OrderedDict[T, None], what: T) -> None:
    memory[what] = None
    memory.move_to_end(what)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
