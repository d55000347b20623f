"""The provider `replay`: answers what was recorded, once, and names the first difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consort_agents.models.errors import ModelUnusable, ReplayDrift
from consort_agents.models.finding import open_provider
from consort_agents.models.port import Provider, Reply, Request, Text, user
from consort_shared.journal import parts_of, request_digest, short
from consort_shared.journal_export import ExportedCall, Head, lines


def request(*texts: str, **more: Any) -> Request:
    return Request(model="then", messages=tuple(map(user, texts)), **more)


def recorded(n: int, asked: Request, answer: str, agent: str = "writer", **more: Any) -> ExportedCall:
    parts = parts_of(asked.model_dump(mode="json"))
    reply = Reply(model="then", content=(Text(text=answer),), stop_reason="end_turn")
    told: dict[str, Any] = {"step": "draft", "task": "1-0", "attempt": 1, **more}
    return ExportedCall(
        agent=agent,
        n=n,
        call="model",
        name="then",
        request=request_digest("model", "then", parts),
        parts=short(parts),
        answer=reply.model_dump(mode="json"),
        **told,
    )


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(*calls: ExportedCall) -> Provider:
        file = tmp_path / f"calls-{len(list(tmp_path.iterdir()))}.jsonl"
        file.write_text("".join(f"{line}\n" for line in lines(Head(run="0" * 32), calls)))
        return open_provider(f"replay:{file}")[0]

    return write


async def test_each_request_gets_its_recorded_answer_whatever_the_model_is_called(written: Any) -> None:
    """J15."""
    provider = written(
        recorded(1, request("one"), "first"), recorded(2, request("one", "two"), "second", agent="critic")
    )
    asked = request("one", "two", agent="critic").model_copy(update={"model": "now"})
    pieces: list[str] = []
    assert (await provider.ask(asked, pieces.append)).text == "second"
    assert pieces == ["second"]
    assert (await provider.ask(request("one", agent="writer"))).text == "first"
    assert provider.record.left == 0


async def test_equal_requests_are_answered_in_their_order_and_no_more_often(written: Any) -> None:
    provider = written(*(recorded(n, request("again"), f"answer {n}") for n in (1, 2)))
    assert [(await provider.ask(request("again", agent="writer"))).text for _ in (1, 2)] == [
        "answer 1",
        "answer 2",
    ]
    with pytest.raises(ReplayDrift, match="asks again what was recorded only as call 1 of draft"):
        await provider.ask(request("again", agent="writer"))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (request("one", "zwei"), r"than call 2 of draft .*: differs in messages\[1\]; now .*zwei"),
        (request("one", "two", system="be long"), r"differs in system; now \"be long\""),
        (request("one", "two", max_tokens=7, effort="low"), r"differs in max_tokens, effort; now 7"),
        (request("one", "two", "three"), r"differs in messages\[2\]; now .*three"),
    ],
)
async def test_the_first_difference_is_named(written: Any, asked: Request, told: str) -> None:
    provider = written(recorded(1, request("one"), "first"), recorded(2, request("one", "two"), "second"))
    await provider.ask(request("one", agent="writer"))
    with pytest.raises(ReplayDrift, match=told):
        await provider.ask(asked.model_copy(update={"agent": "writer"}))


async def test_of_tasks_at_the_same_time_the_nearest_is_compared(written: Any) -> None:
    provider = written(
        recorded(1, request("tea", system="a"), "x", task="1-0", step="left"),
        recorded(1, request("coffee", system="b"), "y", task="1-1", step="right"),
    )
    with pytest.raises(ReplayDrift, match=r"than call 1 of right .*differs in messages\[0\]"):
        await provider.ask(request("cocoa", system="b", agent="writer"))


async def test_another_agent_has_no_answers(written: Any) -> None:
    provider = written(recorded(1, request("one"), "first"))
    with pytest.raises(ReplayDrift, match="agent critic asks for more than was recorded of kind model"):
        await provider.ask(request("one", agent="critic"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("{}", "line 1: is no line of a record of calls"),
        ('{"record": "journal", "run": "0"}\n{"agent": "a"}', "line 2: .*: task: Field required"),
        ("not json", "line 1"),
    ],
)
def test_a_file_that_is_no_record_is_told_by_its_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text(text)
    with pytest.raises(ModelUnusable, match=told):
        open_provider(f"replay:{file}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="cannot be read: No such file"):
        open_provider(f"replay:{tmp_path / 'nowhere.jsonl'}")
