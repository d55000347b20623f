"""The checker: whether a report says what the facts say.

Skill `check.facts`. It reads the facts from the run's context, where the researcher
put them, and not from the writer, so nobody between the two can have changed them.
"""

from __future__ import annotations

from pydantic import BaseModel, Field, ValidationError

from consort_agents import Agent, Context, SkillError
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.problems import Problem
from consort_agents.specialists.verifying import verify

MAX_PROBLEMS_BYTES = 40 * 1024
"""Problems told at a time, as JSON: what is left over shows in the next round."""

agent = Agent(
    "checker",
    version="1.0",
    description="Counts every figure of a report again from the facts and follows every citation.",
    slots=2,
)


class CheckRequest(BaseModel):
    """The report to check, as Markdown."""

    report: str


class Checked(BaseModel):
    """Whether everything holds, and if not, what does not."""

    ok: bool
    problems: list[Problem]
    found: int = Field(description="problems in all; `problems` may leave some for the next round")
    figures: int = Field(description="figures held against the facts")
    citations: int = Field(description="citations followed")


@agent.skill("check.facts")
def check(request: CheckRequest, ctx: Context) -> Checked:
    """Holds every figure, name, quotation and citation of a report against the facts in the context."""
    if "facts" not in ctx.context:
        raise SkillError("the step that checks must declare `context: [facts]`", retry=False)
    try:
        facts = Facts.model_validate(ctx.context["facts"])
    except ValidationError as exc:
        raise SkillError(
            f"the context key `facts` does not hold facts: {exc.error_count()} faults", retry=False
        ) from exc
    verdict = verify(request.report, facts)
    ctx.progress(f"held {verdict.figures} figures against the facts, {len(verdict.problems)} do not hold")
    return Checked(
        ok=not verdict.problems,
        problems=_first(verdict.problems),
        found=len(verdict.problems),
        figures=verdict.figures,
        citations=verdict.citations,
    )


def _first(problems: tuple[Problem, ...]) -> list[Problem]:
    told: list[Problem] = []
    room = MAX_PROBLEMS_BYTES
    for problem in problems:
        room -= len(problem.model_dump_json().encode())
        if told and room < 0:
            break
        told.append(problem)
    return told
