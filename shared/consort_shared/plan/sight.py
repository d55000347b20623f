"""What an expression may refer to from where it stands.

Every expression sees all inputs; the steps that its step needs, directly or
through others, and those that the blocks around it need; `item` and `index` in
and below a `for_each`, `iteration` and `previous` in and below a `repeat`. An
`if` is decided once, before the step's own modifier, so it sees none of the
modifier's names, nor does `for_each.items`. `repeat.until` sees the steps of its
block, or `output` of its task, and the names of its loop. What undoes a step sees
what that step's inputs see, and its `output`: of one item, of one iteration. The
plan's `output` sees the steps of the top. A task's `with` sees what is on offer.

The steps of a plan that is known only at run time are no part of this plan: they
see nothing of it, and it sees nothing of them but the block's `output`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consort_shared.plan.contracts import SkillInfo, missing_member
from consort_shared.plan.model import Plan
from consort_shared.plan.scopes import Path, Place, Scope
from consort_shared.plan.tokens import Reference
from consort_shared.plan.wording import did_you_mean, dotted, listed

STEP_FIELDS = ("output", "status")
"""What an expression may ask of a step; `status` is a word such as `done`, `failed` or `skipped`."""


@dataclass(frozen=True, slots=True)
class View:
    """What one expression may see."""

    place: Place | None = None
    """the step whose needs count; None for the output of the plan"""
    item: bool = False
    loop: Place | None = None
    """the innermost repeated step around the expression"""
    until: Place | None = None
    """the repeated step whose `until` this is"""
    undone: Place | None = None
    """the step that is undone with this"""
    offers: bool = False
    """whether it is an input of a task, and so is read when that is given out"""


def in_for_each(place: Place | None) -> bool:
    return place is not None and any(p.step.for_each is not None for p in place.outwards())


def loop_of(place: Place | None) -> Place | None:
    if place is None:
        return None
    return next((p for p in place.outwards() if p.step.repeat is not None), None)


@dataclass(frozen=True, slots=True)
class Sight:
    """Judges what one expression refers to, from where it stands."""

    plan: Plan
    top: Scope
    places: Mapping[str, Place]
    """every step of the plan, by name"""
    skills: Mapping[str, SkillInfo]
    """those on offer; empty when they are not known"""
    view: View

    def fault(self, reference: Reference) -> str:
        """Why the reference cannot be followed, or nothing."""
        view, path = self.view, reference.path
        match reference.root:
            case "inputs":
                return self._input(path)
            case "steps":
                return self._steps(path)
            case "item" | "index" if not view.item:
                own = view.place is not None and view.place.step.for_each is not None
                return f"`{reference.root}` is known only in and below a `for_each`" + (
                    "; `if` and `items` are read once, before the first item" if own else ""
                )
            case "iteration" if view.loop is None:
                return "`iteration` is known only in and below a `repeat`"
            case "previous":
                return self._previous(path)
            case "output":
                return self._own_output(path)
            case "offers":
                return "" if view.offers else "`offers` is known only in the `with` of a task"
            case "item" | "index" | "iteration":
                return ""
            case root:
                known = ["inputs", "steps", "item", "index", "iteration", "previous", "output", "offers"]
                return f"there is nothing called `{root}`" + (
                    did_you_mean(root, known) or f"; write steps.{root}.output or inputs.{root}"
                )

    def _input(self, path: Path) -> str:
        inputs = list(self.plan.inputs)
        if not path or path[0] in inputs:
            return ""
        name = str(path[0])
        hint = did_you_mean(name, inputs) or f"; it has {listed(inputs)}"
        return f"the plan has no input `{name}`{hint}"

    def _steps(self, path: Path) -> str:
        if not path or not isinstance(path[0], str):
            return "`steps` must be followed by the name of a step, written out"
        name, view = path[0], self.view
        if view.until is not None and name in (view.until.step.steps or {}):
            return self._output(_child(view.until, name), path[1:])
        if view.place is None:
            return (
                self._output(self.top.place(name), path[1:])
                if name in self.top.steps
                else self._unseen(name, None)
            )
        for outer in view.place.outwards():
            if outer.scope.comes_after(outer.name, name):
                return self._output(outer.scope.place(name), path[1:])
        return self._unseen(name, view.place)

    def _unseen(self, name: str, place: Place | None) -> str:
        target = self.places.get(name)
        if target is None:
            hint = did_you_mean(name, list(self.places))
            return f"there is no step `{name}`{hint}"
        outwards = list(place.outwards()) if place is not None else []
        if place is not None and name == place.name:
            if self.view.undone is not None:
                return f"what undoes `{name}` knows its output as `output`"
            return f"`{name}` cannot use its own output" + (
                "; the last iteration's is `previous.output`" if place.step.repeat else ""
            )
        if name in {outer.name for outer in outwards}:
            return f"`{name}` is the block this step is in; its output is not there yet"
        for outer in outwards:
            if name in outer.scope.steps:
                return (
                    f"`{outer.name}` does not need `{name}`; add `{name}` to {dotted((*outer.path, 'needs'))}"
                )
        blocks = [p.name for p in target.outwards()][:0:-1]
        return f"`{name}` is inside the block `{blocks[-1]}`; use steps.{'.output.'.join((*blocks, name))}"

    def _output(self, place: Place, path: Path) -> str:
        """Why a path below `steps.<place>` cannot be followed, or nothing."""
        shown = f"steps.{place.name}"
        if not path:
            return f"`{shown}` is not a value; write {shown}.output"
        if path[0] == "status":
            return ""
        if path[0] not in STEP_FIELDS:
            return f"a step has no `{path[0]}` but an output: write {dotted((shown, 'output', *path))}"
        rest, step = path[1:], place.step
        if step.for_each is not None and rest:
            if not isinstance(rest[0], int):
                return f"the output of `{place.name}` is a list, one for each item: write {shown}.output[0]"
            rest = rest[1:]
        if not rest:
            return ""
        return self._within(place, rest)

    def _within(self, place: Place, rest: Path) -> str:
        """Why a path into one result of a step cannot be followed, or nothing."""
        step = place.step
        if step.steps is not None:
            if rest[0] not in step.steps:
                hint = (
                    did_you_mean(str(rest[0]), list(step.steps)) or f"; there are {listed(list(step.steps))}"
                )
                return f"the block `{place.name}` has no step `{rest[0]}`{hint}"
            return self._output(_child(place, str(rest[0])), ("output", *rest[1:]))
        info = self.skills.get(step.skill or "")
        missing = missing_member(info.output_schema, rest) if info is not None else ""
        return f"the output of `{place.name}` (skill `{step.skill}`): {missing}" if missing else ""

    def _previous(self, path: Path) -> str:
        loop = self.view.loop
        if loop is None:
            return "`previous` is known only in and below a `repeat`"
        if not path:
            return ""
        if loop.step.steps is None:
            return "" if path[0] == "output" else f"the last iteration of `{loop.name}` is `previous.output`"
        if path[0] not in loop.step.steps:
            body = list(loop.step.steps)
            hint = did_you_mean(str(path[0]), body) or f"; there are {listed(body)}"
            return f"`{path[0]}` is not a step of the repeated block `{loop.name}`{hint}"
        what = self._output(_child(loop, str(path[0])), path[1:])
        return what.replace(f"steps.{path[0]}", f"previous.{path[0]}")

    def _own_output(self, path: Path) -> str:
        until, undone = self.view.until, self.view.undone
        if undone is not None:
            return self._within(undone, path) if path else ""
        if until is None:
            return (
                "`output` alone is known only in the `until` of a repeated task and in an `undo`; "
                "write steps.<name>.output"
            )
        if until.step.steps is not None:
            return (
                "a repeated block has no `output` in its `until`; write steps.<name>.output of a step in it"
            )
        return self._output(until, ("output", *path))


def _child(block: Place, name: str) -> Place:
    """A step inside a block. Only its name and what it is matter to whoever asks, not its order."""
    steps = block.step.steps or {}
    inner = Scope(steps, block, (*block.path, "steps"), {}, {})
    return inner.place(name)


def no_plan(reference: Reference, plan: Plan, places: Mapping[str, Place]) -> str:
    """Why a reference that can be followed leads to no plan, or nothing, also where only the run can tell."""
    path = reference.path
    match reference.root:
        case "inputs" if len(path) == 1:
            kind = plan.inputs[str(path[0])].type
            return (
                "" if kind in ("plan", "any") else f"the input `{path[0]}` is no plan: say `type: plan` there"
            )
        case "steps" if path[1:2] == ("output",):
            place = places[str(path[0])]
            for name in path[2:]:
                if isinstance(name, str) and name in (place.step.steps or {}):
                    place = _child(place, name)
            if place.step.returns != "plan":
                return f"step `{place.name}` gives no plan: say `returns: plan` there"
            is_list = place.step.for_each is not None and not any(isinstance(part, int) for part in path)
            return f"`{place.name}` gives a list of plans: go through it with a `for_each`" if is_list else ""
        case "item" | "inputs":
            return ""
        case root:
            return f"`{root}` gives no plan; write steps.<name>.output, inputs.<name> or item"
