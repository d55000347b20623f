"""What can go wrong in a tool host.

ConsortError
└── AgentError
    ├── HostError        a host cannot be started as it is: its file, its name
    └── UnknownTools     an agent names tools that no host is approved to serve
        └── ClashingTools    two of an agent's tools have the same name
"""

from __future__ import annotations

from consort_agents.errors import AgentError


class HostError(AgentError):
    """The host cannot be started as it is."""


class UnknownTools(AgentError):
    """An agent names shared tools that there are none of; the text says which there are."""


class ClashingTools(UnknownTools):
    """Two of an agent's tools are the same to a model, which could then not say which one it wants."""

    def __init__(self, name: str, first: object, second: object) -> None:
        super().__init__(
            f"{name!r} is the name of {first!r} and of {second!r}; give one of them another name"
        )
        self.name = name
