"""The plan for a goal: first it is planned, then that plan is carried out.

A goal is a sentence. Whoever offers the skill `plan` breaks it into steps, told what
is on offer at that moment; a plan that cannot be carried out goes back to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from consort_shared.errors import InvalidInput
from consort_shared.plan.model import DEFAULT_MAX_STEPS, InputSpec, Plan
from consort_shared.values import Json

SKILL = "plan"
"""What an agent offers that makes plans."""
ATTEMPTS = 3
LONGEST = 4_000
"""Characters of a goal."""
_FILES = frozenset({".yaml", ".yml", ".json", ".py"})


def plan_for_goal(
    goal: str,
    inputs: Mapping[str, Json] | None = None,
    *,
    max_steps: int = DEFAULT_MAX_STEPS,
    carry_out: bool = True,
) -> Plan:
    """The plan that a goal is handed in as. With `carry_out` false it gives the plan that was made, and does nothing.

    Each of the inputs becomes one of the plan's own; what is made for the goal may use them by their names, and
    the goal as `goal`. Raises InvalidInput for an empty or endless goal, or an input named `goal`.
    """
    named = dict(inputs or {})
    if not goal.strip() or len(goal) > LONGEST:
        raise InvalidInput(f"a goal is a sentence of up to {LONGEST} characters")
    if "goal" in named:
        raise InvalidInput("the input `goal` is the goal itself; give the other another name")
    given = {name: f"${{{{ inputs.{name} }}}}" for name in named}
    steps: dict[str, Json] = {
        "plan": {
            "skill": SKILL,
            "returns": "plan",
            "max_steps": max_steps,
            "title": "Break the goal into steps",
            "retry": {"attempts": ATTEMPTS},
            "with": {"goal": "${{ inputs.goal }}", "inputs": given, "offers": "${{ offers }}"},
        }
    }
    if carry_out:
        steps["work"] = {
            "plan": "${{ steps.plan.output }}",
            "title": "Carry the steps out",
            "needs": ["plan"],
            "with": {"goal": "${{ inputs.goal }}", **given},
        }
    return Plan.model_validate(
        {
            "name": "goal" if carry_out else "plan for a goal",
            "goal": goal,
            "inputs": {
                "goal": InputSpec(type="string", default=goal),
                **{name: InputSpec() for name in named},
            },
            "steps": steps,
            "output": f"${{{{ steps.{'work' if carry_out else 'plan'}.output }}}}",
        }
    )


def is_goal(text: str) -> bool:
    """Whether a text is a goal in words, not meant as the name of a plan's file.

    One word alone is no sentence: it is a name that was mistyped rather than a goal.
    """
    words = text.split()
    return len(words) > 1 and PurePath(words[-1]).suffix.lower() not in _FILES
