"""The one who says whether a text may go out.

Skill `comply.screen`. Masks what must not leave, finds what must not be said and what is
missing, all by rules that the plan may give. With a model it also objects to claims and tone;
an objection can stop a text, and never lets one pass that the rules stop.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from consort_agents import Agent, Context, Decline
from consort_agents.specialists.objecting import objections_to
from consort_agents.specialists.screening import Rules, Screened, screened, verdict_of
from consort_agents.specialists.with_model import thought

LONGEST = 500_000
"""Characters of a text that is screened."""

agent = Agent(
    "compliance",
    version="1.0",
    description="Says whether a text may go out: masks what must not leave, finds what must not be said.",
    slots=2,
    profile="profiles/compliance.toml",
)


class ScreenRequest(BaseModel):
    """The text, and what holds for it."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1)
    rules: Rules = Field(
        default=Rules(), description="without them, personal data is masked and promises are refused"
    )
    basis: str = Field(default="", description="what the text was made from, for whoever judges its claims")


@agent.skill("comply.screen")
def screen(request: ScreenRequest, ctx: Context) -> Screened:
    """Holds a text against rules: whether it may go out, why not, and the text without what must not leave."""
    if len(request.text) > LONGEST:
        raise Decline(f"a text has up to {LONGEST} characters, this one {len(request.text)}")
    if not any(char.isalpha() for char in request.text):
        raise Decline("there is no word in it: texts are screened here, nothing else")
    found = screened(request.text, request.rules)
    ctx.progress(f"{len(found.findings)} findings by the rules")
    judged = thought(ctx, "the verdict", lambda: objections_to(found.text, request.basis, request.rules, ctx))
    objections, dropped = judged.value or ([], [])
    findings = [*found.findings, *objections]
    verdict = verdict_of(findings)
    if verdict == "refuse":
        ctx.log.warning("a text is refused: %s", ", ".join(sorted({one.rule for one in findings})))
    return found.model_copy(
        update={
            "verdict": verdict,
            "findings": findings,
            "dropped": dropped,
            "without_model": judged.trouble,
        }
    )
