"""The tools of a box one by one, each still behind the box's rules and approved digests.

For whoever wants tools and not a box: an agent, a piece of work. Tools that no rule could ever
allow the agent are left out, so no model is told of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from consort_agents.tools.collection import ToolBox
from consort_agents.tools.definition import Caller, Definition, Given, Tool, ToolAnswer
from consort_shared.values import Json


class Guarded:
    """A tool of a box, called through it."""

    def __init__(self, box: ToolBox, name: str) -> None:
        self._box = box
        self._name = name

    def __repr__(self) -> str:
        return repr(self._box[self._name])

    @property
    def definition(self) -> Definition:
        return self._box[self._name].definition

    @property
    def takes_key(self) -> bool:
        return bool(getattr(self._box[self._name], "takes_key", False))

    async def call(self, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer:
        return await self._box.call(self._name, arguments, caller)


def guarded(box: ToolBox, agent: str) -> tuple[Tool, ...]:
    """The tools of a box that an agent may be told of."""
    return tuple(Guarded(box, spec.name) for spec in box.specs(agent))


def one_by_one(given: Iterable[Given], agent: str) -> tuple[Given, ...]:
    """Tools and names of tools, where a box, or one name, may have been given in their place."""
    if isinstance(given, str):
        return (given,)
    return guarded(given, agent) if isinstance(given, ToolBox) else tuple(given)
