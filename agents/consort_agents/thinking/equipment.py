"""What one process of an agent gives its tasks to think with.

Made once by the worker, from the agent and from what reaches the bus; each task gets its
`Means` from it. Decides nothing: which profile a task is done under is the grant's matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consort_agents.pacing import Pacing, Unpaced
from consort_agents.thinking.means import Means

if TYPE_CHECKING:
    from consort_agents.hosting.shared import SharedTools
    from consort_agents.kit import Agent
    from consort_agents.tools.definition import Tool


@dataclass(slots=True)
class Equipment:
    """Of one process."""

    agent: Agent
    pacing: Pacing = field(default_factory=Unpaced)
    now: Callable[[], float] = time.time
    shared: SharedTools | None = None
    """where tools of hosts on the bus are found"""

    async def means(self) -> Means:
        """For one attempt. Raises UnknownTools for shared tools that there are none of, BusError."""
        tools: tuple[Tool, ...] = tuple(self.agent.own_tools)
        if self.shared is not None and self.agent.shared_tools:
            from consort_agents.hosting.shared import distinct

            tools = distinct((*tools, *await self.shared.resolve(self.agent.shared_tools)))
        return Means(
            agent=self.agent.name,
            model=self.agent.model,
            tools=tools,
            pacing=self.pacing,
            now=self.now,
        )
