"""What can go wrong in a tool host.

ConsortError
└── AgentError
    ├── HostError        a host cannot be started as it is: its file, its name
    └── UnknownTools     an agent names tools that no host is approved to serve
"""

from __future__ import annotations

from consort_agents.errors import AgentError


class HostError(AgentError):
    """The host cannot be started as it is."""


class UnknownTools(AgentError):
    """An agent names shared tools that there are none of; the text says which there are."""
