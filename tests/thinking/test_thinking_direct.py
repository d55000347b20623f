"""Tools that a skill calls itself, with no model in between."""

from __future__ import annotations

import pytest

from consort_agents import Context, tool
from consort_agents.journal import attempting as journal
from consort_agents.journal import rehearsal
from consort_agents.journal.calls import Calls
from consort_agents.models.errors import ModelError
from consort_agents.thinking.errors import (
    AnswerCut,
    AnswerMisfit,
    LimitReached,
    ModelRefused,
    NoModel,
    NoSuchTool,
    ToolFailed,
)
from consort_agents.thinking.means import Means
from consort_shared.profile import Profile, ThinkingLimits
from consort_shared.telemetry.metrics import KNOWN_KINDS

made: list[str] = []


@tool(cost=5)
def weigh(parcel: str, grams: int = 0) -> dict[str, int]:
    """Weigh a parcel."""
    made.append(parcel)
    if grams < 0:
        raise ValueError("nothing weighs less than nothing")
    return {"grams": grams or len(parcel)}


def context(**limits: int) -> Context:
    profile = Profile(limits=ThinkingLimits(**limits))  # type: ignore[arg-type]
    return Context.offline(tools=[weigh], profile=profile)


async def test_a_tool_is_called_by_name_counted_and_journaled() -> None:
    """S9: as when a model calls it: counted, paid once for a task that comes again, by its value."""
    made.clear()
    journal = Calls()
    first = Context.offline(tools=[weigh], journal=journal)
    assert await first.call_tool("weigh", parcel="abc") == {"grams": 3}
    assert (first.usage.tool_calls, first.usage.cost) == (1, 5)
    assert made == ["abc"]
    told = context()
    assert await told.call_tool("weigh", parcel="x", grams=7) == {"grams": 7}


async def test_what_goes_wrong_is_told() -> None:
    """Bad input: unknown tools, arguments that do not fit, a tool that raises, the task's limit, a child process."""
    there = context(tool_calls=2)
    with pytest.raises(NoSuchTool, match="there is no tool 'measure'; the agent has weigh"):
        await there.call_tool("measure", parcel="x")
    with pytest.raises(ToolFailed, match=r"weigh: .*kilos"):
        await there.call_tool("weigh", parcel="x", kilos=1)
    with pytest.raises(ToolFailed, match="weighs less than nothing") as failed:
        await there.call_tool("weigh", parcel="x", grams=-1)
    assert (failed.value.kind, failed.value.retry) == ("tool-failed", True)
    with pytest.raises(LimitReached):
        await there.call_tool("weigh", parcel="x")
    there.means = Means(cannot="this is a child")
    with pytest.raises(ToolFailed, match="no tool can be called here: this is a child"):
        await there.call_tool("weigh", parcel="x")


def test_plain_functions_call_them_too() -> None:
    assert context().call_tool_sync("weigh", parcel="abcd") == {"grams": 4}


def test_figures_tell_every_kind_of_failure_apart() -> None:
    """Kinds that are ours have names of their own in `error.type`."""
    asked = {kind.kind for kind in _below(ModelError)} | {ModelError.kind}
    thought = {NoSuchTool("x", []).kind, ToolFailed("x", "no").kind, LimitReached("dollars", "no").kind}
    thought |= {NoModel("").kind, AnswerCut(1).kind, ModelRefused("m", None).kind, AnswerMisfit("", 1).kind}
    assert asked | thought | {journal.KIND, rehearsal.KIND} <= KNOWN_KINDS


def _below(kind: type[ModelError]) -> list[type[ModelError]]:
    return [found for sub in kind.__subclasses__() for found in (sub, *_below(sub))]
