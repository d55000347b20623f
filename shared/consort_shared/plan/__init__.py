"""Plans: the model, the expression language, checking, files, drawing, and the builder."""

from consort_shared.plan.build import BlockBuilder, PlanBuilder, Ref, StepBuilder, expr
from consort_shared.plan.check import SkillInfo, check, check_inputs
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
)
from consort_shared.plan.schema import schema
from consort_shared.plan.source import LoadedPlan, load, load_checked, loads

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
    "as_mermaid",
    "as_svg",
    "as_text",
    "check",
    "check_inputs",
    "condition",
    "evaluate_tree",
    "expr",
    "load",
    "load_checked",
    "loads",
    "parse",
    "schema",
    "templates_in",
    "truth",
]
