"""A tool that a skill calls itself, with no model in between.

The same tools as a model would have, by the same way: through the journal, within the task's
limits, counted, and for a shared one by its host's rules. Only the form differs: the skill gets
what the tool gave, and an error of the tool ends the task unless the skill catches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from consort_agents.models.port import ToolUse
from consort_agents.thinking.errors import ToolFailed
from consort_agents.thinking.toolset import Toolset
from consort_shared.values import Json

if TYPE_CHECKING:
    from consort_agents.context import Context
    from consort_agents.thinking.means import Means


async def call_tool(context: Context, means: Means, name: str, arguments: Mapping[str, Json]) -> Json:
    """What a tool of the agent gives: its value, or its text where it has none.

    Raises NoSuchTool, ToolFailed, LimitReached.
    """
    if means.cannot:
        raise ToolFailed(name, f"no tool can be called here: {means.cannot}")
    tools = Toolset(context, means, [name], (context.model.allowance,))
    known = next(iter(tools.tools), name)
    answer = await tools.call(ToolUse(id=f"skill-{known}", name=known, input=dict(arguments)))
    if answer.is_error:
        raise ToolFailed(name, answer.content)
    return answer.content if answer.value is None else answer.value
