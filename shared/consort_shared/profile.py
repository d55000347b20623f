"""Who an agent is and how it works, as configuration: role, goal, background, model, limits.

A profile is a file beside the code, or a version in the bucket of profiles, which takes
precedence. Nothing in it is a secret. It is data only: nobody reads a file here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from consort_shared.ids import Token


class ThinkingLimits(BaseModel):
    """What one task may use. None stands for no limit but those of its surroundings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    turns: int = Field(default=20, ge=1, le=1000, description="answers of the model in one tool loop")
    calls: int | None = Field(default=None, ge=0, description="calls of models in one task")
    tool_calls: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=1, description="in and out, of one task")
    dollars: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    context_tokens: int = Field(
        default=100_000, ge=1000, description="of one request; older parts are compacted"
    )


class Profile(BaseModel):
    """An agent's profile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str = Field(default="", max_length=200)
    goal: str = Field(default="", max_length=2000)
    background: str = Field(
        default="", max_length=20_000, description="what it should know; what others call a backstory"
    )
    instructions: str = Field(default="", max_length=50_000)
    model: str = Field(
        default="", description="`provider:model`, or a bare name for Anthropic; empty for the process's own"
    )
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    max_tokens: int = Field(default=4096, ge=1, le=1_000_000)
    tools: tuple[str, ...] | None = Field(
        default=None, description="names, or patterns with `*`, of the tools it may use; None for all it has"
    )
    limits: ThinkingLimits = ThinkingLimits()
    summaries: Literal["extract", "model"] = Field(
        default="extract",
        description="who summarises a conversation that is too long: put together from its messages, or the model",
    )
    divergence: Literal["fail", "restart"] = "fail"

    def system(self) -> str:
        """The beginning of the system prompt that says who the agent is; empty for an empty profile."""
        parts = []
        if self.role:
            parts.append(f"You are {self.role}.")
        if self.goal:
            parts.append(f"Your goal: {self.goal}")
        if self.background:
            parts.append(self.background)
        if self.instructions:
            parts.append(self.instructions)
        return "\n\n".join(parts)


class ProfileVersion(BaseModel):
    """A profile as it stands in the bucket: a version, who set it, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: Token
    profile: Profile | None = Field(description="null: the one that the agent brings itself stands again")
    by: str = ""
    why: str = ""
    back_to: int = Field(default=0, description="the revision that this one brings back, 0 for none")
