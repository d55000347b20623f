"""Plans: the model, the expression language, checking, files, drawing, and the builder.

Each name is imported when it is first used: whoever only needs the model, as every
process does, does not pay for the rest. `check` and `schema` are functions in the
modules of their names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consort_shared.plan.build import BlockBuilder, PlanBuilder, Ref, StepBuilder, expr
    from consort_shared.plan.check import SkillInfo, check_inputs
    from consort_shared.plan.draw import as_mermaid, as_svg, as_text
    from consort_shared.plan.expressions import (
        ExpressionError,
        Reference,
        Template,
        condition,
        evaluate_tree,
        parse,
        templates_in,
        truth,
    )
    from consort_shared.plan.model import (
        AtLeast,
        ForEach,
        InputSpec,
        Join,
        JoinRule,
        Plan,
        Repeat,
        Retry,
        Step,
        Undo,
    )
    from consort_shared.plan.source import LoadedPlan, load, load_checked, loads

_HOMES = {
    "AtLeast": "model",
    "BlockBuilder": "build",
    "ExpressionError": "expressions",
    "ForEach": "model",
    "InputSpec": "model",
    "Join": "model",
    "JoinRule": "model",
    "LoadedPlan": "source",
    "Plan": "model",
    "PlanBuilder": "build",
    "Ref": "build",
    "Reference": "expressions",
    "Repeat": "model",
    "Retry": "model",
    "SkillInfo": "check",
    "Step": "model",
    "StepBuilder": "build",
    "Template": "expressions",
    "Undo": "model",
    "as_mermaid": "draw",
    "as_svg": "draw",
    "as_text": "draw",
    "check_inputs": "check",
    "condition": "expressions",
    "evaluate_tree": "expressions",
    "expr": "build",
    "load": "source",
    "load_checked": "source",
    "loads": "source",
    "parse": "expressions",
    "templates_in": "expressions",
    "truth": "expressions",
}

__all__ = [
    "AtLeast",
    "BlockBuilder",
    "ExpressionError",
    "ForEach",
    "InputSpec",
    "Join",
    "JoinRule",
    "LoadedPlan",
    "Plan",
    "PlanBuilder",
    "Ref",
    "Reference",
    "Repeat",
    "Retry",
    "SkillInfo",
    "Step",
    "StepBuilder",
    "Template",
    "Undo",
    "as_mermaid",
    "as_svg",
    "as_text",
    "check_inputs",
    "condition",
    "evaluate_tree",
    "expr",
    "load",
    "load_checked",
    "loads",
    "parse",
    "templates_in",
    "truth",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
