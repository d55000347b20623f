"""What ends a task that thinks.

SkillError
└── ThinkingFailed
    ├── NoModel         no model is configured, or the one that is cannot be used here
    ├── ModelFailed     the model was asked and gave no answer, see `models.errors`
    ├── AnswerCut       the answer did not end within twice the tokens it was given
    ├── ModelRefused    the model declines to answer
    ├── ContextFull     what is to be asked is longer than the model, or the profile, takes
    ├── AnswerMisfit    the answer does not fit the schema, also after it was told why
    ├── NoSuchTool      a tool was named that the agent does not have
    ├── ToolFailed      a tool that the skill called itself answered with an error
    ├── LimitReached    the task's limits allow no further call
    └── GoesInCircles   the model repeats itself and does not stop when told

They are skill errors, so a skill that does not catch them ends as failed, with `kind` and
the text; both are on the run's log. No text holds a prompt.
"""

from __future__ import annotations

from typing import Any

from consort_agents.errors import SkillError
from consort_agents.models.errors import ModelError
from consort_shared.telemetry.redacting import excerpt, redacted_text

_LONGEST = 1000
"""Characters of a tool's error that are told on."""


class ThinkingFailed(SkillError):
    """A model or the tools given to it did not bring the task to its end."""


class NoModel(ThinkingFailed):
    """There is no model to ask."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="no-model", retry=False)


class ModelFailed(ThinkingFailed):
    """A model gave no answer. `cause` is the last refusal; trying again makes sense only if that is passing."""

    def __init__(self, cause: ModelError, *, tries: int = 1, late: bool = False) -> None:
        told = str(cause)
        if tries > 1:
            told += f" (asked {tries} times)"
        if late:
            told += " (there is no time left to ask again)"
        super().__init__(told, kind=cause.kind, retry=cause.passing)
        self.cause = cause
        self.tries = tries


class AnswerCut(ThinkingFailed):
    """The answer was cut off at the most tokens it may have, and again at twice as many."""

    def __init__(self, max_tokens: int) -> None:
        told = (
            f"the answer did not end within {max_tokens} tokens; give it more `max_tokens`, or ask for less"
        )
        super().__init__(told, kind="model-cut")


class ModelRefused(ThinkingFailed):
    """The model declines to answer; `details` is what the provider says of it."""

    def __init__(self, model: str, details: dict[str, Any] | None) -> None:
        why = f": {excerpt(details)}" if details else ""
        super().__init__(f"{model} refuses to answer{why}", kind="model-refused", retry=False)
        self.details = details


class ContextFull(ThinkingFailed):
    """The conversation is too long, and cannot be made shorter."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="model-context", retry=False)


class AnswerMisfit(ThinkingFailed):
    """The answer does not fit the schema. `reasons` are those of the last one."""

    def __init__(self, reasons: str, asked: int) -> None:
        super().__init__(f"the answer does not fit, asked {asked} times: {reasons}", kind="model-misfit")
        self.reasons = reasons


class NoSuchTool(ThinkingFailed):
    """A tool was named that the agent does not have."""

    def __init__(self, name: str, known: list[str]) -> None:
        told = f"there is no tool {name!r}; the agent has {', '.join(known) or 'none'}"
        super().__init__(told, kind="no-tool", retry=False)


class ToolFailed(ThinkingFailed):
    """A tool that the skill called itself could not do it; `told` is what the tool says."""

    def __init__(self, name: str, told: str) -> None:
        super().__init__(f"{name}: {redacted_text(told)[:_LONGEST]}", kind="tool-failed")
        self.told = told


class LimitReached(ThinkingFailed):
    """A limit would be exceeded: `what` is `turns`, `calls`, `tool-calls`, `tokens`, `dollars` or `seconds`."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message, kind=f"limit-{what}", retry=False)
        self.what = what


class GoesInCircles(ThinkingFailed):
    """The model does the same again and again; `kind` is `loop-same`, `loop-pingpong` or `loop-stuck`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message, kind=kind, retry=False)
