"""The planner: from a goal to a plan.

Skill `plan`. With a model, the model drafts it; where there is none, where it gives nothing
that is a plan, or where two of its plans were refused, the plan is computed. Recipes are
plan files: those that come with the package, and those in the folder that `CONSORT_RECIPES`
names. They are read anew for each task, so a new one needs no restart; one that is no plan is
left out, and its log says why.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from consort_agents import Agent, Context, SkillError
from consort_agents.specialists.plan_drafting import drafted_plan
from consort_agents.specialists.planning import Missing, compute_plan, is_planning
from consort_agents.specialists.with_model import thought
from consort_shared.errors import InvalidInput
from consort_shared.plan.source import load_checked
from consort_shared.values import Json

RECIPES = "CONSORT_RECIPES"
FORMATS = (".yaml", ".yml", ".json")
LAST_DRAFT = 2
"""Attempts that are left to a model, if a plan can be computed as well."""

agent = Agent(
    "planner",
    version="1.1",
    description="Makes plans from recipes and from what agents offer; with a model, the model drafts them.",
    slots=4,
    profile="profiles/planner.toml",
)


@agent.skill("plan")
def plan(
    goal: str, offers: list[dict[str, Any]], ctx: Context, inputs: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Breaks a goal into steps for the skills on offer: a plan, as plan files say it."""
    given = inputs or {}
    computed, missing = _computed(goal, offers, given, ctx)
    if computed is not None and (not ctx.model.available or ctx.attempt > LAST_DRAFT):
        ctx.progress(f"planned {computed['name']}")
        return computed
    drafted = thought(ctx, "the plan", lambda: drafted_plan(goal, _offers(offers), given, ctx))
    made = drafted.value or computed
    if made is None:
        hint = "" if ctx.model.available else "; a model may find one: CONSORT_MODEL says which"
        raise SkillError(f"no plan for this goal: {missing}{hint}", kind="no-plan")
    ctx.progress(f"planned {made['name']}")
    return made


def _computed(
    goal: str, offers: list[dict[str, Any]], inputs: dict[str, Any], ctx: Context
) -> tuple[dict[str, Json] | None, str]:
    """The plan that needs no model, or what is missing for one."""
    try:
        return compute_plan(goal, offers, inputs, ctx.trouble, recipes(ctx)), ""
    except Missing as exc:
        return None, str(exc)


def _offers(offers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without planning itself: a plan that only plans again is none."""
    return [offer for offer in offers if not is_planning(str(offer["skill"]))]


def recipes(ctx: Context) -> list[dict[str, Json]]:
    """The plans that are known, in the order of their files' names; the user's own come first."""
    folders = [Path(str(files("consort_agents.specialists") / "recipes"))]
    if own := os.environ.get(RECIPES):
        folders.insert(0, Path(own))
        if not folders[0].is_dir():
            ctx.log.warning("%s names %s, which is no folder", RECIPES, own)
    found: dict[str, dict[str, Json]] = {}
    for file in [file for folder in folders for file in sorted(folder.glob("*")) if file.suffix in FORMATS]:
        try:
            known = load_checked(file).model_dump(mode="json", by_alias=True, exclude_unset=True)
        except InvalidInput as exc:
            ctx.log.warning("recipe %s is left out: %s", file.name, exc)
            continue
        found.setdefault(str(known["name"]), known)
    return list(found.values())
