"""Plans that come as a value while a run goes on: the result of a step, or an input.

Whoever made such a plan is told everything that is wrong with it in one go, in
sentences with places, because it is that text from which it is mended. Beside what
holds for every plan: it is bounded, asks only for what it will be given, and has no
time of its own, because the run has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from consort_shared.errors import Fault, InvalidInput, PlanError
from consort_shared.plan.check import SkillInfo, check, check_inputs
from consort_shared.plan.model import Plan, Step
from consort_shared.plan.scopes import Path, size_and_depth
from consort_shared.plan.source import of_value
from consort_shared.plan.wording import dotted, kind_of, listed
from consort_shared.values import Json, canonical

MAX_PLANNING = 4
"""Plans inside one another; the one that was handed in is not counted."""
TOLD = 20
"""Faults of one plan that are told; whoever mends these will be told of the rest."""
MOST_BYTES = 256 * 1024
"""Of a plan that is returned: judging it takes time that other runs wait for."""
_ENDLESS = 1 << 62


def planned(
    value: Json,
    *,
    skills: Mapping[str, SkillInfo] | None = None,
    max_steps: int | None = None,
    given: Collection[str] | None = None,
    plans_again: bool = True,
) -> Plan:
    """The plan in a value, fit to be carried out inside a run. Raises PlanError with every fault.

    `given` are the names of the inputs that it will have, None where that is not known. `plans_again`: whether
    steps of it may be plans in their turn.
    """
    if max_steps is not None and (size := _size(value)) > MOST_BYTES:
        what = f"is {size // 1024} KiB large" if size < _ENDLESS else "is nested too deep"
        raise PlanError([Fault("", f"{what}; a plan has at most {MOST_BYTES // 1024} KiB")])
    if not isinstance(value, Mapping):
        raise PlanError(
            [Fault("", f"the result is {kind_of(value)}, not a plan: a mapping with `name` and `steps`")]
        )
    try:
        plan = of_value(value, checked=False)
    except PlanError:
        raise
    except InvalidInput as exc:
        raise PlanError([Fault("", str(exc))]) from exc
    size, _ = size_and_depth(plan)
    if max_steps is not None and size > max_steps:
        raise PlanError([Fault("steps", f"{size} steps; at most {max_steps} are allowed here")])
    faults = [*check(plan, skills=skills), *_inside(plan, given, plans_again)]
    if faults:
        raise PlanError(faults)
    return plan


def _size(value: Json) -> int:
    """Bytes, as canonical JSON."""
    try:
        return len(canonical(value))
    except (TypeError, ValueError, RecursionError):
        return _ENDLESS


def in_words(error: PlanError, name: str = "") -> str:
    """Why a plan is refused, for whoever made it: a line for each fault."""
    more = len(error.faults) - TOLD
    lines = [str(fault) for fault in error.faults[:TOLD]]
    if more > 0:
        lines.append(f"and {more} more")
    called = f"the plan `{name}`" if name else "the plan"
    return "\n".join([f"{called} cannot be carried out:", *lines])


def inputs_for(plan: Plan, given: Mapping[str, Json]) -> dict[str, Json]:
    """The inputs of a plan inside a run; what it does not ask for is left out. Raises PlanError."""
    return check_inputs(plan, {name: value for name, value in given.items() if name in plan.inputs})


def _inside(plan: Plan, given: Collection[str] | None, plans_again: bool) -> list[Fault]:
    """What only matters because the plan is carried out inside a run."""
    faults = []
    if plan.timeout is not None:
        what = "a plan inside a run has no time of its own; give its steps a `timeout`"
        faults.append(Fault("timeout", what))
    for name, spec in plan.inputs.items():
        if given is not None and spec.required and name not in given:
            what = f"nobody gives this input; there are {listed(sorted(given))}; or give it a `default`"
            faults.append(Fault(f"inputs.{name}", what))
    if not plans_again:
        what = f"plans are nested more than {MAX_PLANNING} deep"
        faults += [Fault(dotted((*path, "plan")), what) for path in _plan_blocks(plan.steps, ("steps",))]
    return faults


def _plan_blocks(steps: Mapping[str, Step], path: Path) -> list[Path]:
    found: list[Path] = []
    for name, step in steps.items():
        if step.plan is not None:
            found.append((*path, name))
        found += _plan_blocks(step.steps or {}, (*path, name, "steps"))
    return found
