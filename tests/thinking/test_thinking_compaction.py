"""Keeping a conversation short: pure, so over conversations of all kinds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consort_agents.models.port import Block, Message, Text, ToolResult, ToolUse, assistant, user
from consort_agents.thinking import compaction
from consort_agents.thinking.compaction import Shortened, TooLong, cut_results, extract, part, squeeze
from consort_agents.thinking.estimating import Scale, estimate_messages, tokens_of
from consort_shared.values import bytes_digest


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Turns of answers and of tool calls with their results, of very different lengths."""
    messages = [user("GOAL " + "g" * draw(st.integers(0, 200)))]
    for turn in range(draw(st.integers(1, 12))):
        said: list[Block] = [Text(text="t" * draw(st.sampled_from([1, 50, 3000])))]
        uses = draw(st.integers(0, 3))
        said += [ToolUse(id=f"{turn}-{n}", name="tool", input={"n": n}) for n in range(uses)]
        messages.append(Message(role="assistant", content=tuple(said)))
        results = [
            ToolResult(tool_use_id=f"{turn}-{n}", content="r" * draw(st.sampled_from([0, 100, 700, 8000])))
            for n in range(uses)
        ]
        messages.append(Message(role="user", content=tuple(results) or (Text(text="go on"),)))
    return messages


def shortened(messages: list[Message], room: int) -> Shortened:
    """As the loop does it."""
    target = int(room * compaction.SHARE)
    done = cut_results(messages, target)
    if estimate_messages(done.messages) > target and (parted := part(done.messages, target)) is not None:
        done = compaction.joined(done, parted.with_summary(extract(parted.old)))
    if estimate_messages(done.messages) > room:
        done = compaction.joined(done, squeeze(done.messages, room))
    return done


@given(conversations(), st.integers(300, 8000))
@settings(max_examples=150, deadline=None)
def test_short_enough_whole_pairs_and_nothing_lost(messages: list[Message], room: int) -> None:
    """D7: the limit is kept, or it is said that it cannot be; calls and results stay together."""
    try:
        done = shortened(messages, room)
    except TooLong:
        stays = [messages[0], messages[-2], messages[-1]]
        assert estimate_messages(stays) + compaction.LONGEST_SUMMARY / 4 > room * 0.3
        return
    assert estimate_messages(done.messages) <= room
    assert done.messages[0] == messages[0]
    _whole(done.messages)
    last = done.messages[-1]
    assert [type(one) for one in last.content] == [type(one) for one in messages[-1].content]
    for original in done.originals:
        assert bytes_digest(original.content) == original.digest
    named = str(done.messages) + "".join(one.content.decode() for one in done.originals)
    assert all(original.digest in named for original in done.originals)


def _whole(messages: tuple[Message, ...]) -> None:
    asked: set[str] = set()
    for message in messages:
        if message.role == "assistant":
            assert not asked, "an answer of the model while results are missing"
        for block in message.content:
            if isinstance(block, ToolUse):
                asked.add(block.id)
            elif isinstance(block, ToolResult):
                asked.remove(block.tool_use_id)
    assert not asked


@given(conversations())
@settings(max_examples=30, deadline=None)
def test_what_is_short_stays_as_it_is(messages: list[Message]) -> None:
    assert cut_results(messages, 10**9) == Shortened(tuple(messages))


def test_results_that_lie_back_are_cut_first_and_named() -> None:
    messages = _with_results(6)
    done = cut_results(messages, estimate_messages(messages) - 100)
    assert len(done.originals) == 1
    assert done.originals[0].content == ("0" * 4000).encode()
    cut = done.messages[2].content[0]
    assert isinstance(cut, ToolResult)
    assert cut.content.startswith("0" * 400 + "\n[cut: 3600 more characters; the original is artefact ")
    assert done.messages[3:] == tuple(messages[3:])


def test_a_summary_says_that_it_is_one() -> None:
    """D7: how much it stands for, and where the original is."""
    messages = _with_results(8)
    parted = part(messages, 3000)
    assert parted is not None
    done = parted.with_summary("They counted.")
    [summary] = [one for one in done.messages if "[Summary of" in one.text]
    assert f"[Summary of {len(parted.old)} messages that stood here" in summary.text
    [original] = done.originals
    assert original.digest in summary.text
    read = [Message.model_validate(one) for one in json.loads(original.content)]
    assert tuple(read) == parted.old
    assert part(messages[:3], 10) is None


def test_a_summary_of_a_summary_keeps_the_way_back() -> None:
    first = part(_with_results(8), 3000)
    assert first is not None
    once = first.with_summary(extract(first.old))
    again = part([*once.messages, *_with_results(8)[1:]], 3000)
    assert again is not None
    twice = again.with_summary(extract(again.old))
    assert once.originals[0].digest in str(twice.messages)


def test_what_is_said_of_an_old_part_is_bounded() -> None:
    long = [user("goal"), *(assistant(f"thought {n} " * 100) for n in range(300))]
    text = extract(long)
    assert len(text) <= compaction.LONGEST_SUMMARY
    assert "goal" in text
    assert "thought 299" in text
    assert "lines left out" in text


def test_what_has_to_stay_and_is_too_long() -> None:
    with pytest.raises(TooLong, match="have to stay"):
        squeeze([user("x" * 10_000)], 1000)


def test_an_estimate_learns_from_what_was_really_read() -> None:
    assert tokens_of(9) == 3
    assert estimate_messages([user("東京" * 400)]) > 2 * estimate_messages([user("ab" * 400)]) > 0
    assert Scale().learned(100, 150).of(1000) == 1500
    assert Scale().learned(100, 0) == Scale()
    assert Scale().learned(100, 100_000).factor == 4.0


def _with_results(turns: int) -> list[Message]:
    messages = [user("goal")]
    for n in range(turns):
        messages.append(Message(role="assistant", content=(ToolUse(id=str(n), name="read"),)))
        result = ToolResult(tool_use_id=str(n), content=str(n) * 4000)
        messages.append(Message(role="user", content=(result,)))
    return messages
