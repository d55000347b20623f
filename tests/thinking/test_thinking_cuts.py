"""A task whose process died behind any one of its records ends as if it had not, and has cost the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from thinking_kit import scripted

from consort_agents.context import Context
from consort_agents.journal.calls import Calls, offline_book
from consort_agents.journal.store import MemoryJournal
from consort_agents.tools.definition import Tool
from consort_agents.tools.functions import tool
from consort_shared.usage import Usage

SCRIPT = """
rules:
- when: {user: GOAL, turn: 1}
  answer: {use: [{tool: think, input: {about: one}}, {tool: think, input: {about: two}}]}
- when: {user: GOAL, turn: 2}
  answer: {use: [{tool: plainly, input: {about: three}}]}
- when: {user: GOAL}
  answer: "so be it"
- when: {user: {regex: "^consider (?P<it>.*)"}}
  answer: {text: "considered {{ match.it }}", usage: {input: 100, output: 10}}
- when: {user: {regex: "^inner (?P<it>\\\\w+)"}, turn: 1}
  answer: {use: [{tool: lookup, input: {name: "{{ match.it }}"}}]}
- when: {result: {of: lookup}}
  answer: {text: "looked up", usage: {input: 50, output: 5}}
"""
Skill = Callable[[Context], Awaitable[object]]


@tool(cost=1000)
def lookup(name: str) -> str:
    """Look up."""
    return name.upper()


def thinking_tools(context: Context) -> list[Tool]:
    @tool
    async def think(about: str) -> str:
        """Think, with a model and a tool of its own."""
        found = await context.model.work(f"inner {about}", tools=[lookup])
        return f"{found.text}: {(await context.model.ask(f'consider {about}')).text}"

    @tool
    def plainly(about: str) -> str:
        """Think in a thread."""
        return context.model.ask_sync(f"consider {about}").text

    return [think, plainly]


async def with_tools_that_think(context: Context) -> object:
    return (await context.model.work("GOAL", tools=thinking_tools(context))).text


async def side_by_side(context: Context) -> object:
    answers = await asyncio.gather(*(context.model.ask(f"consider {n}") for n in range(4)))
    last = await context.model.ask("consider the end")
    return [*(answer.text for answer in answers), last.text]


async def by_the_clock(context: Context) -> object:
    """The time and a random number in prompts, by way of the journal."""
    at = await context.journal.value("now", time.time)
    told = await context.model.ask(f"consider {at} and {await context.journal.random()}")
    return (await context.model.ask(f"consider {told.text}")).text


async def nested_by_hand(context: Context) -> object:
    """A call of the journal's own that asks a model, the same as the skill asks afterwards."""

    async def weigh(_: object) -> str:
        return (await context.model.ask("consider this")).text

    weighed = await context.journal.call("value", "weighed", None, weigh)
    return [weighed.value, (await context.model.ask("consider this")).text]


async def delivered(store: MemoryJournal, skill: Skill, times: int) -> tuple[object, Usage]:
    book = offline_book(store, delivered=times)
    await book.open()
    context = scripted(SCRIPT, journal=Calls(book, asyncio.get_running_loop()))
    context.artefacts.loop = asyncio.get_running_loop()
    result = await skill(context)
    assert (left := book.left_over()) is None, left
    assert context.model.allowance.calls == context.usage.calls
    return result, context.usage


@pytest.mark.parametrize("skill", [with_tools_that_think, side_by_side, by_the_clock, nested_by_hand])
async def test_cut_behind_every_record(skill: Skill) -> None:
    """S37, G6: also where tools ask models themselves: what they asked is neither missed nor forgotten in the total."""
    whole = MemoryJournal()
    result, usage = await delivered(whole, skill, 1)
    for kept in range(1, len(whole.slots) + 1):
        cut = MemoryJournal()
        cut.slots = {n: slot for n, slot in whole.slots.items() if n <= kept}
        again, spent = await delivered(cut, skill, 2)
        if skill is by_the_clock and kept < 6:
            assert again  # the time was not on record yet
            continue
        assert again == result, f"cut behind record {kept}"
        if skill is not nested_by_hand:  # only calls of tools tell what was used in them
            assert (spent.calls, spent.tool_calls, spent.cost, spent.input_tokens) == (
                *(usage.calls, usage.tool_calls, usage.cost, usage.input_tokens),
            ), f"cut behind record {kept}"
