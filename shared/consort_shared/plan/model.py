"""The plan: steps and what each needs.

One object whether it came from Python, a file or a planner. It is data and does
nothing; `consort_shared.plan.check` says whether it makes sense, the core of the
orchestrator carries it out. Times are in seconds here because plans are JSON;
files may write `30s`, `5m`, `1h`.

A step is a task (`skill`), a block of steps (`steps`), or a block whose steps are
those of a plan that is known only at run time (`plan`): the result of a task that
says `returns: plan`. Each kind may carry one of two modifiers: `for_each`, which runs it once per item of a list
known only at run time, and `repeat`, which runs it again until a condition
holds, with a stated bound.

Text of the form `${{ … }}` is an expression. Names in it: `inputs.<name>`,
`steps.<name>.output` of a step that this one needs, directly or through others,
and inside the modifiers `item`, `index` (from 0), `iteration` (from 1) and
`previous.<step>.output` (the last iteration's steps; for a repeated task,
`previous.output`; null in the first iteration). In the `with` of a task `offers` is
what the agents offer that are there when it is given out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from consort_shared.ids import Name, SkillName
from consort_shared.values import Json

DEFAULT_TIMEOUT = 900.0
"""Seconds an attempt may take from grant to report unless the step says otherwise."""

DEFAULT_MAX_STEPS = 50
"""Steps of a plan that a task may return unless its step says otherwise."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> object:
    """`1.5`, `"90s"`, `"5m"`, `"1h"`, `"200ms"` to seconds; anything else is left for pydantic to refuse."""
    if isinstance(value, str):
        text = value.strip()
        for unit in sorted(_UNITS, key=len, reverse=True):
            if text.endswith(unit):
                try:
                    return float(text[: -len(unit)]) * _UNITS[unit]
                except ValueError:
                    break
    return value


Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0, le=366 * 86400, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class InputSpec(_Part):
    """One input of the plan. `type` is a JSON type name; an input without default must be given."""

    type: Literal["string", "number", "integer", "boolean", "array", "object", "plan", "any"] = "any"
    description: str = ""
    default: Json = None
    required: bool = True

    @model_validator(mode="after")
    def _default_means_optional(self) -> InputSpec:
        if "default" in self.model_fields_set and "required" not in self.model_fields_set:
            object.__setattr__(self, "required", False)
        return self


class Retry(_Part):
    """How often and when a failed attempt is made again. `attempts` counts the first."""

    attempts: int = Field(default=3, ge=1, le=100)
    wait: Seconds = 1.0
    factor: float = Field(default=2.0, ge=1.0, le=10.0, description="the wait grows by this each time")
    longest: Seconds = 60.0


class ForEach(_Part):
    """Run the step once per item. `in_flight` bounds how many run at a time."""

    items: Json = Field(description="a list, or an expression that gives one")
    in_flight: int = Field(default=16, ge=1, le=10_000)
    tolerate: int = Field(
        default=0, ge=0, description="failed items that do not fail the step; their output is null"
    )


class Repeat(_Part):
    """Run the step again until the condition holds, at most `max` times."""

    until: str
    max: int = Field(ge=1, le=1000)
    exhausted: Literal["fail", "accept"] = Field(
        default="fail",
        description="when the bound is reached the step fails, or its last result stands",
    )


class JoinRule(StrEnum):
    """When the needs of a step are met. A skipped need counts as not done."""

    ALL = "all"
    """every need is done"""
    ANY = "any"
    """one need is done"""
    ENDED = "ended"
    """every need has ended, however"""


class AtLeast(_Part):
    """`join: {at_least: 2}`: two of the needs are done."""

    at_least: int = Field(ge=1)


Join = JoinRule | AtLeast


class Undo(_Part):
    """What takes back a completed step when its run is cancelled or fails.

    In `with`, `output` is the step's own result, besides all that the step itself may refer to.
    """

    skill: SkillName
    with_: dict[Name, Json] = Field(default_factory=dict, alias="with", description="inputs of the skill")
    timeout: Seconds = DEFAULT_TIMEOUT
    retry: Retry = Retry()


class Step(_Part):
    """A node of the plan. Exactly one of `skill`, `steps` and `plan` is given."""

    skill: SkillName | None = None
    steps: dict[Name, Step] | None = None
    plan: str | None = Field(
        default=None, description="an expression that gives a plan: its steps are those of this block"
    )
    returns: Literal["plan"] | None = Field(
        default=None, description="the skill's result must be a plan that can be carried out here and now"
    )
    max_steps: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description=f"of the plan that is returned; {DEFAULT_MAX_STEPS} if not said",
    )
    title: str = ""
    needs: tuple[Name, ...] = ()
    join: Join = JoinRule.ALL
    when: str | None = Field(default=None, alias="if", description="the step is skipped unless this holds")
    with_: dict[Name, Json] = Field(
        default_factory=dict, alias="with", description="inputs of the skill, or of the plan"
    )
    context: tuple[Name, ...] = Field(default=(), description="context keys the task must be given")
    for_each: ForEach | None = None
    repeat: Repeat | None = None
    key: str | None = Field(default=None, description="steps with the same key in a run are done once")
    timeout: Seconds = DEFAULT_TIMEOUT
    retry: Retry = Retry()
    undo: Undo | None = Field(
        default=None, description="done when the run is cancelled or fails after this step was completed"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Step:
        if [self.skill, self.steps, self.plan].count(None) != 2:
            raise ValueError("a step has either `skill` or `steps`, or `plan`")
        if self.steps is not None and not self.steps:
            raise ValueError("`steps` is empty")
        if self.steps is not None and (self.with_ or self.key or self.context or self.undo):
            raise ValueError(
                "`with`, `key`, `context` and `undo` belong to a step with a `skill`, not to a block"
            )
        if self.plan is not None and (self.key or self.context or self.undo):
            raise ValueError(
                "`key`, `context` and `undo` belong to a step with a `skill`: the plan's steps have their own"
            )
        if self.skill is None and self.model_fields_set & {"timeout", "retry"}:
            raise ValueError(
                "`timeout` and `retry` belong to a step with a `skill`: a block's steps have their own"
            )
        if self.returns is not None and self.skill is None:
            raise ValueError("`returns` belongs to a step with a `skill`")
        if self.max_steps is not None and self.returns is None:
            raise ValueError("`max_steps` belongs to a step with `returns: plan`")
        if self.for_each and self.repeat:
            raise ValueError("`for_each` and `repeat` exclude each other; put one inside a block")
        return self


class Plan(_Part):
    """A goal's steps, inputs and result."""

    name: str = Field(min_length=1, max_length=80)
    version: str = "1"
    description: str = ""
    goal: str = Field(
        default="", description="what the run is for, in words; expressions are not evaluated here"
    )
    inputs: dict[Name, InputSpec] = Field(default_factory=dict)
    timeout: Seconds | None = Field(
        default=None, description="the whole run fails when it is not done after this; null for never"
    )
    steps: dict[Name, Step] = Field(min_length=1)
    output: Json = Field(
        default=None, description="the run's result; null means the outputs of the steps nobody needs"
    )
