"""Plans in Python, as short as in YAML.

    plan = PlanBuilder("market", inputs={"question": str})
    gather = plan.step("gather", "research.gather", question=plan.input("question"))
    trends = plan.step("trends", "analyse.trends", facts=gather.output["facts"])
    plan.step("report", "write.report", trends=trends.output, needs=[gather])
    made = plan.build()

A builder only writes down what a file would say and gives it to the same model
and the same check. What it adds is comfort: references are objects, and a step
that uses the output of another needs it without saying so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from consort_shared.errors import PlanError
from consort_shared.plan.check import SkillInfo, check
from consort_shared.plan.expressions import OPEN, ExpressionError, condition, texts_in
from consort_shared.plan.faults import faults_of
from consort_shared.plan.model import ForEach, Plan, Repeat, Retry, Undo
from consort_shared.plan.reader import Document
from consort_shared.plan.tokens import Reference
from consort_shared.values import Json

__all__ = [
    "BlockBuilder",
    "PlanBuilder",
    "Ref",
    "StepBuilder",
    "expr",
    "index",
    "item",
    "iteration",
    "offers",
    "output",
    "previous",
]

_Each: TypeAlias = "ForEach | Mapping[str, Any] | Ref | str | list[Any] | tuple[Any, ...]"
_Needed: TypeAlias = "StepBuilder | BlockBuilder | str"
_TYPES = {str: "string", float: "number", int: "integer", bool: "boolean", list: "array", dict: "object"}


class Ref:
    """A path into what an expression sees; `ref["facts"][0]` leads further, `str(ref)` is `${{ … }}`.

    So it works as an input of a step and inside an f-string alike.
    """

    def __init__(self, root: str, *path: str | int) -> None:
        self._reference = Reference(root, path)

    def __getitem__(self, part: str | int) -> Ref:
        return Ref(self._reference.root, *self._reference.path, part)

    def __getattr__(self, part: str) -> Ref:
        if part.startswith("_"):
            raise AttributeError(part)
        return self[part]

    # Without this a reference would be iterable, without end.
    __iter__ = None

    @property
    def path(self) -> str:
        """The path without braces, to write an expression with."""
        return str(self._reference)

    def __str__(self) -> str:
        return f"{OPEN} {self._reference} }}}}"

    def __repr__(self) -> str:
        return f"Ref({self._reference})"


item = Ref("item")
"""The item of the `for_each` around."""
index = Ref("index")
"""Its place in the list, from 0."""
iteration = Ref("iteration")
"""The iteration of the `repeat` around, from 1."""
offers = Ref("offers")
"""In the inputs of a task: what agents offer when it is given out."""
previous = Ref("previous")
"""What the last iteration gave: `previous["draft"]["output"]`, or `previous["output"]` of a repeated task."""
output = Ref("output")
"""In what undoes a step: the result of that step."""


def expr(text: str) -> str:
    """An expression as the value of an input: `expr("size(steps.a.output)")`."""
    return f"{OPEN} {text} }}}}"


class StepBuilder:
    """A step that was written down; others refer to it."""

    def __init__(self, name: str, written: dict[str, Json]) -> None:
        self.name = name
        self._written = written

    @property
    def output(self) -> Ref:
        return Ref("steps", self.name, "output")


class _Steps:
    """Steps side by side: of the plan or of a block."""

    def __init__(self, around: _Steps | None = None) -> None:
        self._around = around
        self._own: StepBuilder | None = None
        self._steps: dict[str, dict[str, Json]] = {}

    def step(
        self,
        name: str,
        skill: str,
        /,
        *,
        needs: Iterable[_Needed] = (),
        with_: Mapping[str, Any] | None = None,
        for_each: _Each | None = None,
        repeat: Repeat | Mapping[str, Any] | None = None,
        if_: str | Ref | None = None,
        join: str | Mapping[str, int] | None = None,
        key: str | Ref | None = None,
        context: Iterable[str] = (),
        timeout: float | str | None = None,
        retry: Retry | Mapping[str, Any] | None = None,
        undo: Undo | Mapping[str, Any] | str | None = None,
        returns: Literal["plan"] | None = None,
        max_steps: int | None = None,
        title: str | None = None,
        **inputs: Any,
    ) -> StepBuilder:
        """Adds a task. Further keywords are inputs of the skill; `with_` takes those whose names are taken here.

        `undo` is what takes the task back once it is done: what a file would say there, or just a skill.
        """
        written = {"skill": skill, "title": title, "join": join, "if": if_, "for_each": _each(for_each)}
        written |= {
            "repeat": repeat,
            "timeout": timeout,
            "retry": retry,
            "key": key,
            "context": list(context),
            "undo": {"skill": undo} if isinstance(undo, str) else undo,
            "returns": returns,
            "max_steps": max_steps,
        }
        return self._add(name, needs, {**written, "with": {**inputs, **(with_ or {})}})

    def block(
        self,
        name: str,
        /,
        *,
        needs: Iterable[_Needed] = (),
        for_each: _Each | None = None,
        repeat: Repeat | Mapping[str, Any] | None = None,
        if_: str | Ref | None = None,
        join: str | Mapping[str, int] | None = None,
        title: str | None = None,
    ) -> BlockBuilder:
        """Adds a block; its steps are added to what this returns."""
        block = BlockBuilder(self, name)
        written = {"title": title, "join": join, "if": if_, "for_each": _each(for_each)}
        written |= {"repeat": repeat}
        block._own = self._add(name, needs, written)
        block._own._written["steps"] = block._steps  # which the block goes on filling
        return block

    def carry_out(
        self,
        name: str,
        plan: Ref | str,
        /,
        *,
        needs: Iterable[_Needed] = (),
        with_: Mapping[str, Any] | None = None,
        for_each: _Each | None = None,
        repeat: Repeat | Mapping[str, Any] | None = None,
        if_: str | Ref | None = None,
        join: str | Mapping[str, int] | None = None,
        title: str | None = None,
        **inputs: Any,
    ) -> StepBuilder:
        """Adds a block with the steps of a plan: the output of a step that `returns` one, or an input."""
        written = {"plan": plan, "title": title, "join": join, "if": if_, "for_each": _each(for_each)}
        written |= {"repeat": repeat, "with": {**inputs, **(with_ or {})}}
        return self._add(name, needs, written)

    def _add(self, name: str, needs: Iterable[_Needed], written: Mapping[str, Any]) -> StepBuilder:
        if name in self._steps:
            raise ValueError(f"there is a step `{name}` already")
        named = [need if isinstance(need, str) else need.name for need in needs]
        step = {key: _plain(value) for key, value in written.items() if value not in (None, [], {})}
        self._steps[name] = {"needs": named, **step} if named else step
        built = StepBuilder(name, self._steps[name])
        for used in _uses(built._written):
            self._need(built, used)
        return built

    def _need(self, user: StepBuilder | None, used: str) -> None:
        """Adds a need where the used step lies: here, or for the block around."""
        if user is None or used == user.name:
            return
        if used in self._steps:
            needs = user._written.setdefault("needs", [])
            if used not in needs:
                needs.append(used)
        elif self._around is not None:
            self._around._need(self._own, used)


class BlockBuilder(_Steps):
    """A block that is being written; others may need it like a step."""

    def __init__(self, around: _Steps, name: str) -> None:
        super().__init__(around)
        self.name = name

    @property
    def output(self) -> Ref:
        """The outputs of its steps by name; a list of such under a `for_each`."""
        return Ref("steps", self.name, "output")


class PlanBuilder(_Steps):
    """A plan that is being written."""

    def __init__(
        self,
        name: str,
        *,
        inputs: Mapping[str, type | str | Mapping[str, Any]] | None = None,
        goal: str = "",
        description: str = "",
        version: str = "1",
        timeout: float | str | None = None,
    ) -> None:
        """`inputs` maps names to Python types, JSON type names, or what a file would say there.

        `timeout` is for the whole run: seconds, or text such as `1h`.
        """
        super().__init__()
        self._head: dict[str, Json] = {
            "name": name,
            "version": version,
            "goal": goal,
            "description": description,
            "timeout": timeout,
        }
        self._head["inputs"] = {key: _input(spec) for key, spec in (inputs or {}).items()}
        self._output: Json = None

    def input(self, name: str) -> Ref:
        return Ref("inputs", name)

    def output(self, value: Any) -> None:
        """What the run gives; by default the outputs of the steps nobody needs."""
        self._output = _plain(value)

    def build(self, skills: Mapping[str, SkillInfo] | None = None) -> Plan:
        """The plan, checked. Raises PlanError with every fault."""
        written = {key: value for key, value in self._head.items() if value not in (None, "", {})}
        written |= {"steps": self._steps} | ({"output": self._output} if self._output is not None else {})
        source = str(self._head["name"])
        try:
            plan = Plan.model_validate(written)
        except ValidationError as exc:
            errors: list[Any] = exc.errors(include_url=False)
            raise PlanError(faults_of(errors, Document(written)), source) from exc
        if faults := check(plan, skills=skills):
            raise PlanError(faults, source)
        return plan


def _input(spec: type | str | Mapping[str, Any]) -> Json:
    if isinstance(spec, type):
        return {"type": _TYPES.get(spec, "any")}
    return {"type": spec} if isinstance(spec, str) else _plain(spec)


def _each(items: _Each | None) -> Any:
    """A bare list or expression is the `items` of a `for_each`."""
    return {"items": items} if isinstance(items, Ref | str | list | tuple) else items


def _plain(value: Any) -> Json:
    """References as text, models as what a file would say, tuples as lists."""
    match value:
        case Ref():
            return str(value)
        case ForEach() | Repeat() | Retry() | Undo():
            return _plain(value.model_dump(by_alias=True, exclude_unset=True))
        case Mapping():
            return {str(key): _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case type() if value in _TYPES:
            return _TYPES[value]
        case _:
            return value


def _uses(step: Mapping[str, Json]) -> Iterator[str]:
    """The steps that the expressions of a step read, in their order."""
    bare = [step.get("if"), step.get("key"), (step.get("repeat") or {}).get("until")]
    undo = (step.get("undo") or {}).get("with")
    full = [text for _, text in texts_in([step.get("for_each"), step.get("with"), step.get("plan"), undo])]
    for text in [*full, *(text for text in bare if isinstance(text, str))]:
        try:
            found = condition(text).references()  # the braces of `full` are there already
        except ExpressionError:
            continue  # `build` tells of it
        for reference in found:
            if reference.root == "steps" and reference.path:
                yield str(reference.path[0])
