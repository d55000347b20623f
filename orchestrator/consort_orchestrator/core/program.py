"""A plan made ready to run: scopes, and who waits for whom.

Computed from the plan, once per run, and once more for each plan that comes while it
goes on; never stored: the plan in the entry is what counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consort_shared.plan.model import Plan, Step


@dataclass(frozen=True, slots=True)
class Scope:
    """Steps that may need one another: those of the plan, or of one block."""

    specs: Mapping[str, Spec]
    sinks: tuple[str, ...]
    """the steps that nobody needs, in plan order"""


@dataclass(frozen=True, slots=True)
class Spec:
    """A step of the plan with what can be known of it before it runs."""

    name: str
    step: Step
    body: Scope | None
    dependents: tuple[str, ...]
    undo: Spec | None = None
    """what takes the step back once it is completed"""

    @property
    def is_block(self) -> bool:
        """Whether there are steps inside, also if they are known only when it opens."""
        return self.body is not None or self.step.plan is not None


def scope_of(steps: Mapping[str, Step]) -> Scope:
    dependents: dict[str, list[str]] = {name: [] for name in steps}
    for name, step in steps.items():
        for need in dict.fromkeys(step.needs):
            dependents[need].append(name)
    specs = {name: _spec(name, step, tuple(dependents[name])) for name, step in steps.items()}
    return Scope(specs, tuple(name for name in steps if not dependents[name]))


def _spec(name: str, step: Step, dependents: tuple[str, ...]) -> Spec:
    body = scope_of(step.steps) if step.steps else None
    return Spec(name, step, body, dependents, _undoing(name, step) if step.undo is not None else None)


def _undoing(name: str, step: Step) -> Spec:
    """What undoes a step, as a step of its own that nothing needs and that needs nothing."""
    undo = step.undo
    assert undo is not None
    made = Step(skill=undo.skill, with_=undo.with_, timeout=undo.timeout, retry=undo.retry)
    return Spec(name, made, None, ())


def program(plan: Plan) -> Scope:
    """A plan's outermost scope. Raises KeyError for a need that does not exist: check the plan first."""
    return scope_of(plan.steps)
