"""What an expression in a plan means, here and now in a run.

A reference that stands alone is passed on as a reference where it can be: the
task gets a hole and, in its hand-off, the result that fills it, so a result
travels once and a large one not at all. Any other expression is evaluated here.
Results that are stored out of line are not at hand in a pure function; one that
is needed to decide raises `NeedArtefacts`, and the caller tries again with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from consort_orchestrator.core.bound import Bound, NeedArtefacts, Path, each, filled, read
from consort_orchestrator.core.state import Node, Phase, Role, Run, child_path
from consort_shared.entries import Hole
from consort_shared.messages import Output
from consort_shared.plan.expressions import OPEN, Reference, Template, condition, parse, truth
from consort_shared.plan.model import Plan
from consort_shared.values import STORED, Json, NoSuchPath, canonical, pick

__all__ = ["Bound", "NeedArtefacts", "View", "filled"]


@dataclass(frozen=True, slots=True)
class View:
    """What one instance of a step can see: the run from its place, and the stored values at hand."""

    run: Run
    node: Node
    blobs: Mapping[str, Json]
    undoing: bool = False
    """whether it is not this step that looks but the one that undoes it, which is handed its result"""
    within: bool = False
    """whether it is not this block that looks but the plan that it carries out, which sees nothing around it"""
    offers: Callable[[], Json] | None = None
    """what agents offer; None where that is not to be known"""

    def inputs(self, value: Json, at: Path = ()) -> Bound:
        """The inputs of a task: references become holes, other expressions values.

        Raises ExpressionError, NoSuchPath, NeedArtefacts.
        """
        if isinstance(value, str):
            if OPEN not in value:
                return Bound(value)
            template, reference, all_references = read(value)
            if reference is not None:
                bound = self._refer(reference, at)
            else:
                bound = Bound(template.evaluate(self._names(template)))
            bound.sources += self._sources(all_references)
            return bound
        if isinstance(value, dict):
            bound = Bound({})
            for key, inner in each(value.items(), lambda key, part: self.inputs(part, (*at, key))):
                bound.put(key, inner)
            return bound
        if isinstance(value, (list, tuple)):
            bound = Bound([])
            for index, inner in each(enumerate(value), lambda index, part: self.inputs(part, (*at, index))):
                bound.put(index, inner)
            return bound
        return Bound(value)

    def value(self, value: Json) -> Json:
        """An expression, or a value with expressions in it, evaluated whole."""
        if isinstance(value, str):
            template = parse(value)
            return template.evaluate(self._names(template))
        if isinstance(value, dict):
            return dict(each(value.items(), lambda _, part: self.value(part)))
        if isinstance(value, (list, tuple)):
            return [part for _, part in each(enumerate(value), lambda _, part: self.value(part))]
        return value

    def holds(self, text: str) -> bool:
        """A condition. Raises ExpressionError when it gives anything but true or false."""
        template = condition(text)
        return truth(template.evaluate(self._names(template)))

    def text(self, text: str) -> str:
        """A key: whatever the expression gives, as text."""
        template = condition(text)
        value = template.evaluate(self._names(template))
        return value if isinstance(value, str) else canonical(value).decode()

    def result(self, value: Json) -> Json:
        """The run's result: as `value`, but a stored result that is named whole stays a reference."""
        if isinstance(value, str):
            template = parse(value)
            if template.reference is not None:
                return self._plain(self._refer(template.reference, ()))
            return template.evaluate(self._names(template))
        if isinstance(value, dict):
            return dict(each(value.items(), lambda _, part: self.result(part)))
        if isinstance(value, (list, tuple)):
            return [part for _, part in each(enumerate(value), lambda _, part: self.result(part))]
        return value

    def given(self, plan: Plan) -> Json:
        """What a plan gives, of which this is the outermost scope: its output, or those of the steps nobody needs."""
        if plan.output is not None:
            return self.result(plan.output)
        assert self.node.scope is not None
        return {name: self._plain(self._sink(name, (), ())) for name in self.node.scope.sinks}

    def _sink(self, name: str, path: Path, at: Path) -> Bound:
        return self._output(self.run.nodes[child_path(self.node, name)], path, at)

    def _plain(self, bound: Bound) -> Json:
        value = bound.value
        for hole in bound.holes:
            output = self.run.nodes[hole.prior].output
            assert output is not None
            if hole.path or output.ref is None:
                filling = pick(self._load(output), hole.path)
            else:
                filling = {STORED: output.ref.model_dump(mode="json")}
            value = filled(value, hole.at, filling)
        return value

    def _refer(self, ref: Reference, at: Path) -> Bound:
        root, path = ref.root, ref.path
        if root == "steps" and len(path) >= 2:
            target = self._sees(str(path[0]))
            if path[1] == "status":
                return Bound(target.phase.value)
            return self._output(target, path[2:], at)
        if root == "previous":
            before = self._previous()
            if before is None:
                return Bound(None)
            return self._in_iteration(before, path, at)
        if root == "output":
            return self._output(self.node, path, at)
        return Bound(pick(self._ambient(root), path))

    def _in_iteration(self, iteration: Node, path: Path, at: Path) -> Bound:
        if not path:
            return Bound(self._previous_value())
        if iteration.role is Role.BLOCK and iteration.planned is None:
            inner = self.run.nodes[child_path(iteration, str(path[0]))]
            return self._output(inner, path[2:], at)
        return self._output(iteration, path[1:], at)

    def _output(self, node: Node, path: Path, at: Path) -> Bound:
        """A step's result, or part of it: null unless it is done.

        Of a block an object of its steps' results, of a `for_each` a list, of a `repeat` the last iteration's.
        """
        if node.phase is not Phase.DONE:
            return Bound(None)
        if node.role is Role.TASK:
            return self._leaf(node, path, at)
        if node.role is Role.LOOP:
            return self._output(self.run.nodes[f"{node.path}[{node.started}]"], path, at)
        if node.role is Role.EACH:
            return self._items(node, path, at)
        assert node.scope is not None
        if node.planned is not None:
            return self._of_plan(node, node.planned.plan, path, at)
        if path:
            if path[0] not in node.scope.specs:
                raise NoSuchPath(f"block `{node.path}` has no step `{path[0]}`")
            return self._output(self.run.nodes[child_path(node, str(path[0]))], path[1:], at)
        bound = Bound({})
        for name in node.scope.specs:
            bound.put(name, self._output(self.run.nodes[child_path(node, name)], (), (*at, name)))
        return bound

    def _of_plan(self, node: Node, plan: Plan, path: Path, at: Path) -> Bound:
        """What the plan gives that a block has carried out, or part of it."""
        inner = View(self.run, node, self.blobs, within=True)
        if plan.output is not None:
            return inner._part(plan.output, path, at)
        assert node.scope is not None
        if path:
            if path[0] not in node.scope.sinks:
                raise NoSuchPath(f"the plan of `{node.path}` gives no `{path[0]}`")
            return inner._sink(str(path[0]), path[1:], at)
        bound = Bound({})
        for name in node.scope.sinks:
            bound.put(name, inner._sink(name, (), (*at, name)))
        return bound

    def _part(self, value: Json, path: Path, at: Path) -> Bound:
        """As `inputs`, of the part that a path leads to: a reference on the way is followed on."""
        if not path:
            return self.inputs(value, at)
        if isinstance(value, (dict, list, tuple)):
            return self._part(
                pick(list(value) if isinstance(value, tuple) else value, path[:1]), path[1:], at
            )
        if isinstance(value, str) and OPEN in value:
            template, reference, _ = read(value)
            if reference is not None:
                return self._refer(replace(reference, path=(*reference.path, *path)), at)
            return Bound(pick(template.evaluate(self._names(template)), path))
        return Bound(pick(value, path))

    def _items(self, node: Node, path: Path, at: Path) -> Bound:
        if path and isinstance(path[0], int):
            if not 0 <= path[0] < len(node.items):
                raise NoSuchPath(f"`{node.path}` has {len(node.items)} items, none at [{path[0]}]")
            return self._output(self.run.nodes[f"{node.path}[{path[0]}]"], path[1:], at)
        if path:
            raise NoSuchPath(f"the result of `{node.path}` is a list, it has no `{path[0]}`")
        bound = Bound([])
        for index in range(len(node.items)):
            bound.put(index, self._output(self.run.nodes[f"{node.path}[{index}]"], (), (*at, index)))
        return bound

    def _leaf(self, node: Node, path: Path, at: Path) -> Bound:
        output = node.output
        assert output is not None
        direct = self._needs(node)
        if output.ref is None and not direct:
            return Bound(pick(output.value, path))
        if output.ref is None:
            pick(output.value, path)  # refuse here what would fail there
        return Bound(None, [Hole(at=at, prior=node.path, path=path)])

    def _needs(self, target: Node) -> bool:
        """Whether the result is in the hand-off anyway, because this step needs that one directly, or undoes it."""
        if self.undoing:
            return target is self.node
        if self.within:
            return False
        spec = self.node.spec
        return spec is not None and target.spec is not None and target.spec.name in spec.step.needs

    def _sources(self, references: Iterable[Reference]) -> Iterator[str]:
        """Paths of the steps that an expression names, as far as this step does not need them directly."""
        for ref in references:
            if ref.root == "steps" and ref.path:
                target = self._sees(str(ref.path[0]))
                if not self._needs(target):
                    yield target.path
            elif ref.root == "previous":
                before = self._previous()
                if before is not None:
                    yield before.path

    def _load(self, output: Output) -> Json:
        if output.ref is None:
            return output.value
        if output.ref.artefact not in self.blobs:
            raise NeedArtefacts([output.ref])
        return self.blobs[output.ref.artefact]

    def _names(self, template: Template) -> dict[str, Json]:
        """The values of all that an expression names."""
        named: dict[tuple[str, str], None] = {}
        for ref in template.references():
            named[ref.root, str(ref.path[0]) if ref.root == "steps" and ref.path else ""] = None
        names: dict[str, Json] = {}
        for (root, name), value in each(((place, None) for place in named), self._named):
            if root == "steps":
                names.setdefault("steps", {})[name] = value
            else:
                names[root] = value
        return names

    def _named(self, place: tuple[str, str], _: None) -> Json:
        root, name = place
        if root == "steps":
            target = self._sees(name)
            return {"output": self._whole(self._output(target, (), ())), "status": target.phase.value}
        if root == "previous":
            return self._previous_value()
        if root == "output":
            return self._whole(self._output(self.node, (), ()))
        return self._ambient(root)

    def _whole(self, bound: Bound) -> Json:
        value = bound.value
        outputs = {hole.prior: self.run.nodes[hole.prior].output for hole in bound.holes}
        loaded = dict(each(outputs.items(), lambda _, output: self._load(output) if output else None))
        for hole in bound.holes:
            value = filled(value, hole.at, pick(loaded[hole.prior], hole.path))
        return value

    def _previous_value(self) -> Json:
        before = self._previous()
        if before is None:
            return None
        if before.role is not Role.BLOCK or before.planned is not None:
            return {"output": self._whole(self._output(before, (), ()))}
        assert before.scope is not None
        outputs = self._whole(self._output(before, (), ()))
        return {name: {"output": output} for name, output in outputs.items()}

    def _ambient(self, root: str) -> Json:
        if root == "inputs":
            planned = self._home().planned
            return self.run.inputs if planned is None else planned.inputs
        if root == "offers" and self.offers is not None:
            return self.offers()
        if root in ("item", "index"):
            inside = self._inside(Role.EACH)
            assert inside.parent is not None
            return self.run.nodes[inside.parent].items[inside.index] if root == "item" else inside.index
        if root == "iteration":
            return self._inside(Role.LOOP).index
        raise NoSuchPath(f"`{root}` is not a name of the expression language")

    def _is_home(self, at: Node) -> bool:
        """Whether an instance carries out the plan that this one's step is a step of."""
        return at.parent is None or (at.planned is not None and (self.within or at is not self.node))

    def _home(self) -> Node:
        """What carries out the plan that this instance's step is a step of: a block, or the run itself."""
        at = self.node
        while not self._is_home(at):
            assert at.parent is not None
            at = self.run.nodes[at.parent]
        return at

    def _inside(self, role: Role) -> Node:
        """The nearest enclosing item or iteration in the same plan; this instance itself counts."""
        at = self.node
        while not self._is_home(at):
            assert at.parent is not None
            if at.index >= 0 and self.run.nodes[at.parent].role is role:
                return at
            at = self.run.nodes[at.parent]
        modifier = "for_each" if role is Role.EACH else "repeat"
        raise NoSuchPath(f"`{self.node.path}` is not inside a {modifier}")

    def _previous(self) -> Node | None:
        iteration = self._inside(Role.LOOP)
        return self.run.nodes.get(f"{iteration.parent}[{iteration.index - 1}]")

    def _sees(self, name: str) -> Node:
        """The step of that name in this scope or an enclosing one of the same plan.

        A condition of a loop looks from its iteration, so a block's own steps count as seen, but not those of a
        plan that it carries out.
        """
        at = self.node
        while True:
            home = self._is_home(at)
            sees = home or at.planned is None
            if sees and at.role is Role.BLOCK and at.scope is not None and name in at.scope.specs:
                return self.run.nodes[child_path(at, name)]
            if home or at.parent is None:
                break
            at = self.run.nodes[at.parent]
        raise NoSuchPath(f"there is no step `{name}` in sight of `{self.node.path}`")
