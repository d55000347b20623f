"""Walks through a run's facts and says which of them break the rules of its plan.

Written against the plan's documentation, not against the orchestrator: it knows
when needs are met, that a step counts once and with its newest attempt, and
nothing about how decisions are made.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from consort_shared.entries import (
    Accepted,
    Closed,
    Doubted,
    Fact,
    Failure,
    GivenUp,
    Granted,
    Opened,
    Reopened,
    Shared,
    Skipped,
    Submitted,
)
from consort_shared.plan.model import AtLeast, JoinRule, Plan, Step

DONE, FAILED, SKIPPED, OPEN = "done", "failed", "skipped", "open"
_SEGMENT = re.compile(r"([a-z][a-z0-9_]*)(?:\[\d+\])?")
Fault = tuple[str, str]
"""A step's path, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A step of the plan and the path of the block it lies in."""

    step: Step
    scope: str


def place_of(plan: Plan, path: str, plans: Mapping[str, Plan] | None = None) -> Place | None:
    """Where in the plan an instance of a step belongs; None for what the plan does not have.

    `plans` are those that came while the run was going on, by the path of the block that carries them out.
    """
    steps: Mapping[str, Step] | None = plan.steps
    scope = ""
    parts = path.split(".")
    for at, part in enumerate(parts):
        match = _SEGMENT.fullmatch(part)
        step = steps.get(match[1]) if match is not None and steps is not None else None
        if step is None:
            return None
        if at == len(parts) - 1:
            return Place(step, scope)
        scope = f"{scope}.{part}" if scope else part
        brought = (plans or {}).get(scope)
        steps = step.steps if brought is None else brought.steps
    return None


class Replay:
    """One run, fact by fact."""

    def __init__(self, *, own_skills: bool = False) -> None:
        self._own_skills = own_skills
        self._plan: Plan | None = None
        self._plans: dict[str, Plan] = {}
        self._state: dict[str, str] = {}
        self._newest: dict[str, str] = {}
        self._accepted: set[str] = set()
        self._entries: dict[str, list[int]] = defaultdict(list)
        self.under_way: set[str] = set()

    def take(self, fact: Fact) -> list[Fault]:
        """Go on by one fact; what is wrong with it."""
        match fact:
            case Submitted():
                self._plan = fact.plan
            case Granted():
                return list(self._granted(fact))
            case Accepted():
                return list(self._taken(fact))
            case Failure():
                self.under_way.discard(fact.path)
                if fact.retry_at is None:
                    self._state[fact.path] = FAILED
            case Doubted() | GivenUp():
                self.under_way.discard(fact.path)
            case Opened():
                self._state.setdefault(fact.path, OPEN)
                if fact.plan is not None:
                    self._plans[fact.path] = fact.plan
            case Closed():
                self._state[fact.path] = DONE if fact.done else FAILED
            case Skipped():
                self._state[fact.path] = SKIPPED
            case Shared():
                self._state[fact.path] = self._state.get(fact.source, OPEN)
            case Reopened():
                self._reopened(fact.path)
            case _:
                pass
        return []

    def noted(self, fact: Fact, number: int) -> None:
        """Remember in which entry a step was granted or accepted."""
        if isinstance(fact, Granted | Accepted):
            self._entries[fact.path].append(number)

    def about(self, path: str) -> tuple[int, ...]:
        """The entries in which a step was granted or accepted so far."""
        return tuple(self._entries.get(path, ())[-3:])

    def _granted(self, fact: Granted) -> Iterator[Fault]:
        path = fact.path
        if path in self._accepted:
            yield path, f"task {fact.task} was granted after the step was done"
        self._newest[path] = fact.task
        self.under_way.add(path)
        self._state.setdefault(path, OPEN)
        if "!" in path or self._plan is None:
            return  # what undoes a step needs what is no longer in the plan's order
        place = place_of(self._plan, path, self._plans)
        if place is None:
            yield path, f"task {fact.task} is for a step that the plan does not have"
        elif why := self._unmet(place):
            yield path, f"task {fact.task} was granted too early: {why}"

    def _unmet(self, place: Place) -> str:
        step = place.step
        names = [f"{place.scope}.{need}" if place.scope else need for need in step.needs]
        states = [self._state.get(name, OPEN) for name in names]
        done, left = states.count(DONE), states.count(OPEN)
        told = ", ".join(f"{name} is {state}" for name, state in zip(names, states, strict=True))
        if step.join is JoinRule.ENDED:
            return told if left else ""
        wanted = len(states)
        if isinstance(step.join, AtLeast):
            wanted = step.join.at_least
        elif step.join is JoinRule.ANY:
            wanted = min(1, wanted)
        return told if done < wanted else ""

    def _taken(self, fact: Accepted) -> Iterator[Fault]:
        path = fact.path
        if path in self._accepted:
            yield path, f"a second result counts, of task {fact.task}"
        if self._newest.get(path) != fact.task:
            yield path, f"the result of task {fact.task} counts, the last granted is {self._newest.get(path)}"
        value = fact.output.value
        if self._own_skills and isinstance(value, dict) and value.get("task") != fact.task:
            yield path, f"the result taken for that of task {fact.task} was made by task {value.get('task')}"
        self._accepted.add(path)
        self.under_way.discard(path)
        self._state[path] = DONE

    def _reopened(self, path: str) -> None:
        """What failed, and all that could not start or close because of it, is open again."""
        self._accepted.discard(path)
        self._state = {step: state for step, state in self._state.items() if state == DONE}
        self._state.pop(path, None)
