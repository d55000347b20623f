"""Has a model draft a plan for a goal: what it is asked, the form of its answer, and the plan that it is.

The form is small: steps in a list, blocks one level deep, every value a text. Whether the plan
can be carried out is not judged here: the core does that, and says why not. The model sees the
goal, what is on offer and why a plan before was refused; of the inputs it sees names and types,
never values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from consort_agents import Context
from consort_agents.specialists.chaining import Offer
from consort_agents.specialists.offers_in_words import in_words
from consort_agents.specialists.with_model import prompt
from consort_shared.plan.wording import kind_of
from consort_shared.values import Json

_ASK = (
    "Make a plan for the goal from the skills in `offers`. A step has a name of its own (lower case, digits, _), one "
    "skill, the names of the steps it needs, and the inputs of the skill; it gets nothing that is not among its "
    "inputs. The value of an input is a text; `${{ steps.NAME.output.FIELD }}` within it stands for what a step it "
    "needs gave, `${{ steps.NAME.output }}` for all of that, `${{ inputs.NAME }}` for one of `inputs`; a number, list "
    "or truth value is written as `${{ 5 }}`, `${{ [1, 2] }}`, `${{ true }}`. Leave out an input you have nothing "
    "for, unless it is required. A skill that reads keys from the run's context needs them in `context`. `for_each` "
    "does a step once per item of a list, with `${{ item }}`. A step with `steps` instead of a skill is a block; with "
    "`repeat` it is done again until `until` holds, at most `max` times: inside, `${{ previous.STEP.output.FIELD }}` "
    "is what its step gave the time before (null at first), `${{ iteration }}` counts from 1. From outside, a step of "
    "a block is `${{ steps.BLOCK.output.STEP.FIELD }}`. `output` names what the run gives, from the steps at the top. "
    "Where `trouble` is not empty, the plan before was refused for these reasons."
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Given(_Part):
    """One value by its name."""

    name: str
    value: str


class Each(_Part):
    """Once per item."""

    items: str = Field(description="an expression that gives a list")


class Until(_Part):
    """Again and again."""

    until: str = Field(description="a condition over the block's steps")
    max: int = Field(ge=1, le=100)


class Inner(_Part):
    """A step that is a task."""

    name: str
    title: str = ""
    skill: str
    needs: list[str] = Field(default_factory=list)
    inputs: list[Given] = Field(default_factory=list)
    context: list[str] = Field(default_factory=list)
    when: str | None = Field(default=None, description="a condition; otherwise the step is skipped")
    for_each: Each | None = None


class Outer(Inner):
    """A step of the plan: a task, or a block with steps of its own."""

    skill: str | None = None  # type: ignore[assignment]  # a block has none
    steps: list[Inner] = Field(default_factory=list)
    repeat: Until | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Outer:
        if (self.skill is None) != bool(self.steps):
            raise ValueError(f"step {self.name!r} has either `skill` or `steps`")
        _different([step.name for step in self.steps])
        return self


class Drafted(_Part):
    """A plan, as a model gives it."""

    name: str
    steps: list[Outer] = Field(min_length=1)
    output: list[Given] = Field(default_factory=list)

    @field_validator("steps")
    @classmethod
    def _names(cls, steps: list[Outer]) -> list[Outer]:
        _different([step.name for step in steps])
        return steps


def _different(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two steps side by side have the name {twice[0]!r}")


def drafted_plan(
    goal: str, offers: Sequence[Offer], inputs: Mapping[str, Json], ctx: Context
) -> dict[str, Json]:
    """The plan that a model makes. Raises ThinkingFailed."""
    asked = {
        "goal": goal,
        "inputs": [{"name": "goal", "type": "text"}]
        + [{"name": name, "type": kind_of(value)} for name, value in inputs.items()],
        "offers": in_words(offers),
        "trouble": ctx.trouble,
    }
    drafted: Drafted = ctx.model.ask_sync(prompt(asked), schema=Drafted, system=_ASK).value
    return plan_of(drafted, goal, inputs)


def plan_of(drafted: Drafted, goal: str, inputs: Mapping[str, Json]) -> dict[str, Json]:
    """The plan as plan files say it."""
    made: dict[str, Json] = {
        "name": drafted.name,
        "goal": goal,
        "inputs": {"goal": {"type": "string", "default": goal}, **{name: {} for name in inputs}},
        "steps": {step.name: _step(step) for step in drafted.steps},
    }
    if drafted.output:
        made["output"] = _values(drafted.output)
    return made


def _step(step: Inner) -> dict[str, Json]:
    made: dict[str, Any] = {
        "title": step.title,
        "skill": step.skill,
        "needs": step.needs,
        "if": step.when,
        "for_each": step.for_each and step.for_each.model_dump(),
        "context": step.context,
        "with": _values(step.inputs),
    }
    if isinstance(step, Outer):
        made["repeat"] = step.repeat and step.repeat.model_dump()
        made["steps"] = {inner.name: _step(inner) for inner in step.steps}
    return {name: value for name, value in made.items() if value}


def _values(given: Sequence[Given]) -> dict[str, Json]:
    return {one.name: one.value for one in given}
