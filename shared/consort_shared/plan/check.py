"""Whether a plan makes sense, before anything runs.

Finds every fault, not only the first: needs and cycles, names, references to what
a step cannot see, expressions that do not compile, and, where the skills on offer
are known, inputs and outputs against their schemas. It says nothing of what only
the run can show: values, prices, which agent does the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from consort_shared.errors import Fault, PlanError
from consort_shared.plan.contracts import SkillInfo, input_faults
from consort_shared.plan.expressions import OPEN, ExpressionError, Template, condition, parse, texts_in
from consort_shared.plan.model import AtLeast, InputSpec, Plan, Repeat, Undo
from consort_shared.plan.scopes import Path, Place, Scope, cycles, graph, scopes, size_and_depth
from consort_shared.plan.sight import Sight, View, in_for_each, loop_of, no_plan
from consort_shared.plan.tokens import WORDS
from consort_shared.plan.wording import did_you_mean, dotted, has_type, kind_of, listed, type_words
from consort_shared.values import Json

__all__ = ["MAX_DEPTH", "MAX_STEPS", "SkillInfo", "check", "check_inputs"]

MAX_STEPS = 10_000
MAX_DEPTH = 8
"""Levels of steps; a plan without blocks has one."""


def check(
    plan: Plan,
    *,
    skills: Mapping[str, SkillInfo] | None = None,
    lines: Mapping[Path, int] | None = None,
) -> list[Fault]:
    """Every fault of a plan, in the order of the plan; none means it can be run.

    `skills` are those on offer; without them skills are not judged. `lines` says
    on which line of its file a path stands.
    """
    return _Check(plan, skills, lines or {}).run()


def check_inputs(plan: Plan, given: Mapping[str, Json]) -> dict[str, Json]:
    """The inputs of a run: those given, and the defaults of the others. Raises PlanError."""
    faults = []
    for name in given:
        if name not in plan.inputs:
            hint = did_you_mean(name, list(plan.inputs)) or f"; it has {listed(list(plan.inputs))}"
            faults.append(Fault(f"inputs.{name}", f"the plan has no input `{name}`{hint}"))
    inputs: dict[str, Json] = {}
    for name, spec in plan.inputs.items():
        if name in given:
            inputs[name] = given[name]
            if not _fits(spec, given[name]):
                faults.append(
                    Fault(f"inputs.{name}", f"is {kind_of(given[name])}, must be {type_words(spec.type)}")
                )
            elif spec.type == "plan" and given[name] is not None:
                faults += _plan_faults(name, given[name])
        elif spec.required:
            faults.append(Fault(f"inputs.{name}", f"is missing, must be {type_words(spec.type)}"))
        else:
            inputs[name] = spec.default
    if faults:
        raise PlanError(faults, plan.name)
    return inputs


def _fits(spec: InputSpec, value: Json) -> bool:
    """An input whose default is null may be null."""
    return has_type(value, spec.type) or (value is None and not spec.required and spec.default is None)


def _plan_faults(name: str, value: Json) -> list[Fault]:
    from consort_shared.plan.planned import planned  # which checks with this module

    try:
        planned(value)
    except PlanError as exc:
        return [Fault(f"inputs.{name}.{fault.where}".rstrip("."), fault.what) for fault in exc.faults]
    return []


class _Check:
    """One pass over one plan."""

    def __init__(self, plan: Plan, skills: Mapping[str, SkillInfo] | None, lines: Mapping[Path, int]) -> None:
        self.plan = plan
        self.skills = skills
        self.lines = lines
        self.faults: list[Fault] = []
        self.scopes: list[Scope] = []
        self.places: dict[str, Place] = {}

    def run(self) -> list[Fault]:
        size, depth = size_and_depth(self.plan)
        if size > MAX_STEPS:
            self._fault(("steps",), f"{size} steps; at most {MAX_STEPS} are allowed")
        if depth > MAX_DEPTH:
            self._fault(("steps",), f"blocks are nested {depth} deep; at most {MAX_DEPTH} are allowed")
        if self.faults:
            return self.faults
        self.scopes = list(scopes(self.plan))
        self._names()
        self._inputs()
        if self.plan.timeout == 0:
            self._fault(("timeout",), "must be more than 0; leave it out for a run without a limit")
        for scope in self.scopes:
            for cycle in cycles(graph(scope.steps)):
                drawn = " -> ".join(cycle if len(cycle) <= 12 else [*cycle[:10], "…", cycle[-1]])
                self._fault((*scope.path, cycle[0], "needs"), f"cycle: {drawn} (each needs the next)")
            for name in scope.steps:
                self._step(scope.place(name))
        self._texts(self.plan.output, ("output",), View())
        self.faults.sort(key=lambda fault: fault.line or 0)
        return self.faults

    def _fault(self, path: Path, what: str) -> None:
        self.faults.append(Fault(dotted(path), what, self._line(path)))

    def _line(self, path: Path) -> int | None:
        """The line of a path, or of the nearest around it that has one."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return self.lines.get(())

    # names, inputs, needs

    def _names(self) -> None:
        for scope in self.scopes:
            for name in scope.steps:
                place = scope.place(name)
                first = self.places.setdefault(name, place)
                if first.path != place.path:
                    line = self._line(first.path)
                    also = f"{dotted(first.path)}{f' on line {line}' if line else ''}"
                    self._fault(place.path, f"the step name `{name}` is used twice, also at {also}")
                self._word(place.path, name)

    def _word(self, path: Path, name: str) -> None:
        if name in WORDS:
            self._fault(path, f"`{name}` is a word of the expression language; choose another name")

    def _inputs(self) -> None:
        for name, spec in self.plan.inputs.items():
            self._word(("inputs", name), name)
            if not spec.required and not _fits(spec, spec.default):
                what = f"is {kind_of(spec.default)}, must be {type_words(spec.type)}"
                self._fault(("inputs", name, "default"), what)

    def _needs(self, place: Place) -> None:
        step, scope = place.step, place.scope
        named: set[str] = set()
        for at, need in enumerate(step.needs):
            path = (*place.path, "needs", at)
            if need in named:
                self._fault(path, f"`{need}` is named twice")
                continue
            named.add(need)
            if need in scope.steps:
                continue
            if need in {outer.name for outer in place.outwards()}:
                self._fault(path, f"`{need}` is the block this step is in; a step cannot need it")
            elif need in self.places:
                where = dotted(self.places[need].path)
                self._fault(path, f"`{need}` is not in the same block; needs stay inside one ({where})")
            else:
                others = [name for name in scope.steps if name != place.name]
                hint = did_you_mean(need, others) or f"; here are {listed(others)}"
                self._fault(path, f"there is no step `{need}`{hint}")
        if isinstance(step.join, AtLeast) and step.join.at_least > len(step.needs):
            what = f"{step.join.at_least} needs must be done, but only {len(step.needs)} are named"
            self._fault((*place.path, "join", "at_least"), what)

    # one step

    def _step(self, place: Place) -> None:
        step, path = place.step, place.path
        outside = View(place, in_for_each(place.scope.owner), loop_of(place.scope.owner))
        inside = View(place, in_for_each(place), loop_of(place))
        self._needs(place)
        if step.when is not None:
            self._condition(step.when, (*path, "if"), outside)
        if step.for_each is not None:
            self._items(step.for_each.items, (*path, "for_each", "items"), outside)
        if step.repeat is not None:
            self._until(step.repeat, place, outside)
        if step.key is not None:
            template = self._compiled(step.key, (*path, "key"), bare=True)
            if template is not None:
                self._references(template, (*path, "key"), inside)
        given = replace(inside, offers=step.skill is not None)
        self._texts(step.with_, (*path, "with"), given)
        if step.plan is not None:
            self._planned(step.plan, place, inside)
        if step.skill is not None:
            self._skill(step.skill, step.with_, path)
        if step.undo is not None:
            self._undo(step.undo, place, inside)

    def _planned(self, text: str, place: Place, view: View) -> None:
        """What a block's plan comes from, as far as that can be seen before it runs."""
        path = (*place.path, "plan")
        template = self._compiled(text, path)
        if template is None:
            return
        if template.reference is None:
            self._fault(path, f"must be one reference: write {OPEN} steps.<name>.output }}}}")
            return
        before = len(self.faults)
        self._references(template, path, view)
        if len(self.faults) == before and (why := no_plan(template.reference, self.plan, self.places)):
            self._fault(path, why)

    def _undo(self, undo: Undo, place: Place, inside: View) -> None:
        path = (*place.path, "undo")
        self._texts(undo.with_, (*path, "with"), View(place, inside.item, inside.loop, undone=place))
        self._skill(undo.skill, undo.with_, path)

    def _until(self, repeat: Repeat, place: Place, outside: View) -> None:
        view = View(place, outside.item, loop=place, until=place)
        self._condition(repeat.until, (*place.path, "repeat", "until"), view)

    def _items(self, items: Json, path: Path, view: View) -> None:
        if isinstance(items, str):
            if OPEN not in items:
                self._fault(path, f"must be a list or an expression; is text: write {OPEN} {items} }}}}")
                return
            template = self._compiled(items, path)
            if template is not None and template.expression is None:
                self._fault(path, "must be a list or one expression; text around an expression makes it text")
        elif not isinstance(items, list | tuple):
            self._fault(path, f"must be a list or an expression, is {kind_of(items)}")
        self._texts(items, path, view)

    def _skill(self, skill: str, given: Mapping[str, Json], path: Path) -> None:
        if self.skills is None:
            return
        if skill not in self.skills:
            offered = sorted(self.skills)
            hint = did_you_mean(skill, offered)
            known = f"{' On offer:' if hint else '; on offer:'} {listed(offered)}"
            self._fault((*path, "skill"), f"no agent offers `{skill}`{hint}{known}")
            return
        schema = self.skills[skill].input_schema
        if schema is not None:
            for below, what in input_faults(skill, schema, given):
                self._fault((*path, "with", *below), what)

    # expressions

    def _compiled(self, text: str, path: Path, bare: bool = False) -> Template | None:
        try:
            return condition(text) if bare else parse(text)
        except ExpressionError as exc:
            self._fault(path, str(exc))
            return None

    def _condition(self, text: str, path: Path, view: View) -> None:
        template = self._compiled(text, path, bare=True)
        if template is None:
            return
        if template.expression is None:
            self._fault(path, "must be one expression; text around an expression makes it text")
        self._references(template, path, view)

    def _texts(self, value: Json, at: Path, view: View) -> None:
        for path, text in texts_in(value, at):
            template = self._compiled(text, path)
            if template is not None:
                self._references(template, path, view)

    def _references(self, template: Template, path: Path, view: View) -> None:
        sight = Sight(self.plan, self.scopes[0], self.places, self.skills or {}, view)
        for what in dict.fromkeys(map(sight.fault, template.references())):
            if what:
                self._fault(path, what)
