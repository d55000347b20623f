"""What can go wrong in an agent.

ConsortError
└── AgentError          the agent itself is not usable: its definition, its start
Exception
├── SkillError          raised by a skill: this task cannot be done
└── Decline             raised by a skill: not mine, let another agent try
"""

from __future__ import annotations

from consort_shared.errors import ConsortError


class AgentError(ConsortError):
    """The agent cannot be used as it is defined or started."""

    exit_code = 2


class SkillError(Exception):
    """A skill cannot do this task. The text is for a person; `retry` says whether trying again makes sense."""

    def __init__(self, message: str, *, retry: bool = True, kind: str = "skill-error") -> None:
        super().__init__(message)
        self.retry = retry
        self.kind = kind


class Decline(Exception):
    """A skill does not take this task; another agent with the skill may."""
