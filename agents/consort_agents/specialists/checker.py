"""The checker: whether a report says what the facts say.

Skill `check.facts`. It reads the facts from the run's context, where the researcher
put them, and not from the writer, so nobody between the two can have changed them.
With a model it also judges whether the report answers the question; that is an opinion, and
sends a report back at most once.
"""

from __future__ import annotations

from pydantic import BaseModel, Field, ValidationError

from consort_agents import Agent, Context, SkillError
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.judging import Judged, judged, problem_of
from consort_agents.specialists.problems import Problem
from consort_agents.specialists.verifying import Verdict, verify
from consort_agents.specialists.with_model import Thought, thought

MAX_PROBLEMS_BYTES = 40 * 1024
"""Problems told at a time, as JSON: what is left over shows in the next round."""

agent = Agent(
    "checker",
    version="1.1",
    description="Counts every figure of a report again from the facts and follows every citation.",
    slots=2,
    profile="profiles/checker.toml",
)


class CheckRequest(BaseModel):
    """The report to check, as Markdown."""

    report: str
    round: int | None = Field(
        default=None,
        description="which draft this is, from 1, where another can follow: a judge may refuse the first",
    )


class Checked(BaseModel):
    """Whether everything holds, and if not, what does not."""

    ok: bool
    problems: list[Problem]
    found: int = Field(description="problems in all; `problems` may leave some for the next round")
    figures: int = Field(description="figures held against the facts")
    citations: int = Field(description="citations followed")
    judged: Judged | None = Field(
        default=None, description="whether it answers the question, as a model sees it"
    )
    without_model: str = Field(default="", description="why a model that is configured judged nothing")


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
    opinion = _opinion(request, facts, verdict, ctx)
    problems = verdict.problems
    if opinion.value is not None and opinion.value.verdict == "reject" and request.round == 1:
        problems = (problem_of(opinion.value), *problems)
    return Checked(
        ok=not problems,
        problems=_first(problems),
        found=len(problems),
        figures=verdict.figures,
        citations=verdict.citations,
        judged=opinion.value,
        without_model=opinion.trouble,
    )


def _opinion(request: CheckRequest, facts: Facts, verdict: Verdict, ctx: Context) -> Thought[Judged]:
    """What a model thinks of a report whose figures hold, or that is the first: others are written again anyway."""
    if verdict.problems and request.round != 1:
        return Thought()
    return thought(ctx, "the judgement", lambda: judged(request.report, facts.question, request.round, ctx))


def _first(problems: tuple[Problem, ...]) -> list[Problem]:
    told: list[Problem] = []
    room = MAX_PROBLEMS_BYTES
    for problem in problems:
        room -= len(problem.model_dump_json().encode())
        if told and room < 0:
            break
        told.append(problem)
    return told
