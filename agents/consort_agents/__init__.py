"""The kit for writing agents, the worker that runs one, and the specialists that ship.

    from consort_agents import Agent

    agent = Agent("greeter", description="Greets people.")

    @agent.skill("greet")
    def greet(name: str) -> str:
        return f"Hello, {name}!"

`consort agent start module:agent` runs it as a process of its own.
"""

from typing import TYPE_CHECKING, Any

from consort_agents.context import Context
from consort_agents.errors import AgentError, AttemptOver, Decline, NotDone, SkillError
from consort_agents.kit import Agent
from consort_shared.values import ArtefactRef

if TYPE_CHECKING:
    from consort_agents.tools.functions import tool

__all__ = [
    "Agent",
    "AgentError",
    "ArtefactRef",
    "AttemptOver",
    "Context",
    "Decline",
    "NotDone",
    "SkillError",
    "tool",
]


def __getattr__(name: str) -> Any:
    """`tool`, imported when it is asked for: most processes have no tools, and start sooner without."""
    if name == "tool":
        from consort_agents.tools.functions import tool

        return tool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
