"""Prompt caching: where requests are marked, and that it saves what it should."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from models_kit import SEARCH, asking, claude

from consort_agents.fake_llm.requests import MOST_MARKS, fault_of
from consort_agents.models.asked import asked_of
from consort_agents.models.caching import marked
from consort_agents.models.port import Message, Request, Text, ToolResult, ToolUse, assistant, user
from consort_agents.models.wire import body_of

LONG = "All of this is known. " * 300


def marks(request: Request) -> list[str]:
    """Where the marks of a request are."""
    body = marked(body_of(request))
    found = [f"tools[{at}]" for at, tool in enumerate(body.get("tools", ())) if "cache_control" in tool]
    if not isinstance(body.get("system", ""), str):
        found += ["system" for block in body["system"] if "cache_control" in block]
    for at, message in enumerate(body["messages"]):
        found += [f"messages[{at}]" for block in message["content"] if "cache_control" in block]
    return found


def test_a_short_request_is_not_marked() -> None:
    assert marks(asking(system="Be brief.", tools=(SEARCH,))) == []


def test_a_long_system_prompt_is_marked_and_covers_the_tools() -> None:
    assert marks(asking(system=LONG)) == ["system"]
    wordy = SEARCH.model_copy(update={"description": LONG})
    assert marks(asking(tools=(SEARCH, wordy))) == ["tools[1]", "messages[0]"]


def test_a_single_question_is_not_marked_but_a_conversation_is() -> None:
    assert marks(asking(LONG)) == []
    talk = (user(LONG), assistant("yes"), user("and?"))
    assert marks(asking(messages=talk)) == ["messages[0]", "messages[2]"]


def test_thinking_bears_no_mark() -> None:
    thought = {
        "type": "opaque",
        "kind": "thinking",
        "data": {"type": "thinking", "thinking": "x", "signature": "y"},
    }
    turn = Message.model_validate({"role": "assistant", "content": (thought,)})
    assert marks(asking(messages=(user(LONG), turn))) == ["messages[0]"]


async def test_a_tool_loop_reads_what_it_sent_before_from_the_cache() -> None:
    """S86: what was read once is not paid for again."""
    script = """
    rules:
      - {when: {turn: [1, 2, 3]}, answer: {use: [{tool: search, input: {q: tea}}]}}
      - {answer: done}
    """
    read, written, plain = [], [], []
    async with claude(script) as (provider, _):
        request = asking("go on", system=LONG, tools=(SEARCH,))
        for _turn in range(4):
            reply = await provider.ask(request)
            usage = reply.usage
            read.append(usage.cache_read_tokens)
            written.append(usage.cache_write_tokens)
            plain.append(usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens)
            results = tuple(ToolResult(tool_use_id=use.id, content="green " * 200) for use in reply.tool_uses)
            more = (reply.message, *((Message(role="user", content=results),) if results else ()))
            request = request.model_copy(update={"messages": (*request.messages, *more)})
    assert read[0] == 0
    assert read[1:] == [sum(written[:turn]) for turn in (1, 2, 3)]
    assert max(plain) < 20


parts = st.lists(
    st.sampled_from([Text(text=LONG), Text(text="a"), ToolUse(id="t", name="search")]), max_size=4
)


@given(st.lists(parts, min_size=1, max_size=7), st.booleans(), st.booleans())
def test_marking_changes_nothing_else(turns: list[list[Any]], system: bool, tools: bool) -> None:
    messages = tuple(
        Message(role="assistant" if at % 2 else "user", content=tuple(turn)) for at, turn in enumerate(turns)
    )
    request = asking(messages=messages, system=LONG if system else "", tools=(SEARCH,) if tools else ())
    plain, made = body_of(request), marked(body_of(request))
    assert asked_of(made).tokens == asked_of(plain).tokens
    assert len(asked_of(made).prefixes) <= MOST_MARKS
    assert "cache_control" not in str(plain)
    assert "cache_control" not in fault_of(made)
