"""Plans that come while a run goes on: whether a result is one, and what a block that carries one out begins with.

A plan is judged when it is reported, against what is on offer then; whoever made it
is told every fault and may try again. When the block opens it is only read once
more: what is missing by then is waited for, as with any plan.
"""

from __future__ import annotations

from consort_orchestrator.core.resolve import NeedArtefacts, View
from consort_orchestrator.core.state import Node, Run, planning_depth
from consort_shared.card import AgentCard
from consort_shared.entries import Opened
from consort_shared.errors import PlanError
from consort_shared.messages import Output
from consort_shared.offers import skills_of
from consort_shared.plan.expressions import ExpressionError, parse
from consort_shared.plan.model import DEFAULT_MAX_STEPS, Plan
from consort_shared.plan.planned import MAX_PLANNING, in_words, inputs_for, planned
from consort_shared.values import Json, NoSuchPath

BAD_PLAN = "bad-plan"
"""The kind of failure of an attempt whose result should have been a plan that can be carried out, and is none."""


def refusal(run: Run, node: Node, value: Json, cards: tuple[AgentCard, ...]) -> str:
    """Why a task's result is not the plan that it should be, or nothing."""
    assert node.spec is not None
    step = node.spec.step
    try:
        planned(
            value,
            skills=skills_of(cards),
            max_steps=step.max_steps or DEFAULT_MAX_STEPS,
            given=_given(run, node),
            plans_again=planning_depth(run, node) + 2 <= MAX_PLANNING,
        )
    except PlanError as exc:
        name = value.get("name") if isinstance(value, dict) else None
        return in_words(exc, name[:80] if isinstance(name, str) else "")
    return ""


def wants_plan(node: Node) -> bool:
    return node.spec is not None and node.spec.step.returns == "plan"


def value_of(view: View, output: Output) -> Json:
    """A result, also one that is stored. Raises NeedArtefacts."""
    if output.ref is None:
        return output.value
    if output.ref.artefact not in view.blobs:
        raise NeedArtefacts([output.ref])
    return view.blobs[output.ref.artefact]


def opened_with_plan(run: Run, node: Node, view: View) -> Opened:
    """The beginning of a block whose steps are those of a plan.

    Raises PlanError for what is no plan, or lacks an input; ExpressionError, NoSuchPath, NeedArtefacts.
    """
    assert node.spec is not None
    step = node.spec.step
    assert step.plan is not None
    depth = planning_depth(run, node) + 1
    plan = planned(view.value(step.plan), plans_again=depth < MAX_PLANNING)
    inputs = inputs_for(plan, {name: view.value(value) for name, value in step.with_.items()})
    return Opened(path=node.path, plan=plan, inputs=inputs)


def without_output(within: View, plan: Plan) -> str | None:
    """Why a plan that is done gives nothing, None when it does; `within` is the view of what carries it out."""
    try:
        within.given(plan)
    except (ExpressionError, NoSuchPath) as exc:
        return f"output: {exc}"
    return None


def _given(run: Run, node: Node) -> set[str] | None:
    """The inputs that a plan will be given by the blocks beside this step that carry it out; None without one."""
    assert node.spec is not None
    at = node
    if at.index >= 0 and at.parent is not None:
        at = run.nodes[at.parent]
    scope = run.scope_parent(at).scope
    assert scope is not None
    given: set[str] | None = None
    for name in node.spec.dependents:
        step = scope.specs[name].step
        if step.plan is not None and _names(step.plan, node.spec.name):
            given = set(step.with_) if given is None else given & set(step.with_)
    return given


def _names(text: str, step: str) -> bool:
    try:
        reference = parse(text).reference
    except ExpressionError:
        return False
    return reference is not None and reference.root == "steps" and reference.path[:1] == (step,)
