"""`@tool` on functions: schemas, arguments checked at the door, errors as answers, hangs, large results."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Literal

import pytest
from pydantic import BaseModel

from consort_agents import tool
from consort_agents.tools.definition import Caller, ToolAnswer
from consort_agents.tools.errors import ToolError

ANYBODY = Caller(run="r", agent="tester", call_id="c1")


class Order(BaseModel):
    item: str
    count: int = 1


@tool
def shout(text: str, times: int = 1) -> str:
    """Say it loudly.

    More that a model need not know.
    """
    return text.upper() * times


async def test_a_bare_decorator_makes_a_tool_and_leaves_the_function() -> None:
    """F11, S75: one line wraps a function."""
    assert shout("a", times=2) == "AA"
    assert shout.definition.name == "shout"
    assert shout.definition.description == "Say it loudly."
    assert shout.definition.input_schema["required"] == ["text"]
    assert shout.definition.output_schema == {"type": "string"}
    assert (shout.definition.risk, shout.definition.idempotent, shout.definition.cache) == (
        "read",
        True,
        True,
    )
    assert await shout.call({"text": "hi", "times": 2}, ANYBODY) == ToolAnswer(content="HIHI", value="HIHI")


async def test_everything_that_is_promised_can_be_said() -> None:
    """F11: name, schema, risk class, cost, idempotency, owner, data class, a digest over all of it."""

    @tool(
        name="buy",
        description="Buys.",
        risk="danger",
        cost=5_000,
        owner="sales",
        data_class="confidential",
        timeout=3,
    )
    async def purchase(order: Order, who: Caller) -> dict[str, str]:
        return {"item": order.item, "key": who.call_id}

    told = purchase.definition
    assert (told.name, told.risk, told.cost, told.owner) == ("buy", "danger", 5_000, "sales")
    assert (told.data_class, told.timeout) == ("confidential", 3.0)
    assert not told.idempotent
    assert not told.cache, "what is not only read is not answered with what it gave before"
    assert set(told.input_schema["properties"]) == {"item", "count"}
    assert (await purchase.call({"item": "pen"}, ANYBODY)).value == {"item": "pen", "key": "c1"}
    assert len(told.digest) == 64
    assert told.digest != told.model_copy(update={"risk": "read"}).digest


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "text: Field required"),
        ({"text": "a", "times": "many"}, "times: Input should be a valid integer"),
        ({"text": "a", "loud": True}, "loud: Extra inputs are not permitted"),
    ],
)
async def test_bad_arguments_are_told_so_that_they_can_be_mended(
    arguments: dict[str, object], told: str
) -> None:
    answer = await shout.call(arguments, ANYBODY)
    assert answer.is_error
    assert told in answer.content
    assert "The arguments are: text, times" in answer.content


async def test_what_a_tool_raises_is_an_answer_without_secrets() -> None:
    """F11: a tool that raises; no traceback, nothing that looks like a key."""

    @tool
    def broken(path: str) -> str:
        raise RuntimeError(f"cannot read {path}: token=sk-ant-abcdefghijklmnop1234")

    @tool
    async def stopping() -> str:
        return next(iter(()))

    answer = await broken.call({"path": "x"}, ANYBODY)
    assert answer.is_error
    assert answer.content.startswith("broken failed: RuntimeError: cannot read x")
    assert "sk-ant" not in answer.content
    assert "Traceback" not in answer.content
    assert "StopIteration" in (await stopping.call({}, ANYBODY)).content


async def test_even_leaving_the_process_or_stopping_an_iteration_is_an_answer() -> None:
    @tool
    def leaving(how: Literal["exit", "stop"]) -> str:
        if how == "exit":
            raise SystemExit(3)
        raise StopIteration

    assert "SystemExit" in (await leaving.call({"how": "exit"}, ANYBODY)).content
    assert "StopIteration" in (await leaving.call({"how": "stop"}, ANYBODY)).content


async def test_a_plain_function_that_hangs_is_given_up() -> None:
    """F11: a tool that hangs; the loop goes on meanwhile."""
    free = threading.Event()

    @tool(timeout=0.05)
    def hanging() -> str:
        free.wait(10)
        return "late"

    began = time.monotonic()
    answer = await hanging.call({}, ANYBODY)
    free.set()
    assert time.monotonic() - began < 5
    assert answer.is_error
    assert "did not end within 0.05 s" in answer.content
    assert "may still go on" in answer.content


async def test_an_async_function_that_swallows_its_cancellation_does_not_hold_the_caller() -> None:
    done = asyncio.Event()

    @tool(timeout=0.05)
    async def stubborn() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            done.set()
            await asyncio.sleep(0.1)
            return "still here"
        return "slept"

    assert "did not end" in (await stubborn.call({}, ANYBODY)).content
    await asyncio.wait_for(done.wait(), 5)


async def test_being_cancelled_is_passed_on_and_cancels_the_function() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    @tool
    async def long() -> str:
        begun.set()
        try:
            await asyncio.sleep(10)
        finally:
            ended.set()
        return ""

    call = asyncio.create_task(long.call({}, ANYBODY))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_plain_function_runs_beside_the_event_loop() -> None:
    loop_thread = threading.get_ident()

    @tool
    def where() -> bool:
        return threading.get_ident() != loop_thread

    assert (await where.call({}, ANYBODY)).value is True


async def test_results_are_json_or_text_and_cut_where_they_are_too_long() -> None:
    """F11: a tool that returns 50 MB."""

    @tool
    def much(megabytes: int) -> str:
        return "x" * (megabytes * 1_000_000)

    @tool(limit=10)
    def listed() -> list[int]:
        return list(range(100))

    @tool
    def odd() -> object:
        return object()

    @tool
    def endless() -> float:
        return float("inf")

    answer = await much.call({"megabytes": 50}, ANYBODY)
    assert answer.truncated == 50_000_000 - 50_000
    assert len(answer.content) < 50_100
    assert "[cut here: 49950000 more characters are not shown]" in answer.content
    assert answer.value is None
    short = await listed.call({}, ANYBODY)
    assert short.content.startswith("[0, 1, 2, ")
    assert short.truncated > 0
    assert "not JSON" in (await odd.call({}, ANYBODY)).content
    assert (await endless.call({}, ANYBODY)).is_error


async def test_a_result_of_another_type_than_declared_is_an_error() -> None:
    @tool
    def counting() -> int:
        return "none"  # type: ignore[return-value]

    assert "returned something else than it declares" in (await counting.call({}, ANYBODY)).content


async def test_a_tool_may_make_its_answer_itself() -> None:
    @tool
    def refusing() -> ToolAnswer:
        return ToolAnswer(content="not today", is_error=True)

    assert (await refusing.call({}, ANYBODY)).is_error
    assert refusing.definition.output_schema is None


def test_signatures_that_say_nothing_usable_are_refused() -> None:
    with pytest.raises(ToolError, match="parameter `args` must be an ordinary named one"):

        @tool
        def loose(*args: int) -> int:
            return sum(args)

    with pytest.raises(ToolError, match="name"):

        @tool(name="no spaces allowed")
        def spaced() -> int:
            return 1


class Chapter(BaseModel):
    title: str
    parts: list[Chapter] = []


def test_a_model_that_holds_itself_is_described_as_an_object() -> None:
    """F11: providers refuse a schema without a type at its top."""

    @tool
    def outline(chapter: Chapter) -> int:
        return len(chapter.parts)

    schema = outline.definition.input_schema
    assert (schema["type"], set(schema["properties"])) == ("object", {"title", "parts"})
    assert "$ref" not in schema
    assert "Chapter" in schema["$defs"]


async def test_what_a_generator_gives_is_a_list_and_ends() -> None:
    """F11: also of one that would go on for ever."""

    @tool
    def few(n: int):  # type: ignore[no-untyped-def]
        yield from range(n)

    @tool
    async def waited(n: int):  # type: ignore[no-untyped-def]
        for one in range(n):
            yield one

    for each in (few, waited):
        assert (await each.call({"n": 3}, ANYBODY)).value == [0, 1, 2]
        endless = await each.call({"n": 10**12}, ANYBODY)
        assert endless.is_error
        assert "more than 10,000 values" in endless.content


class Panic(BaseException):
    """As libraries in Rust raise it."""


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("trouble", "told"), [(Panic("b"), "Panic: b"), (Speechless(), "Speechless: it cannot")]
)
async def test_whatever_a_tool_raises_is_an_answer(trouble: BaseException, told: str) -> None:
    @tool
    def odd() -> str:
        raise trouble

    answer = await odd.call({}, ANYBODY)
    assert answer.is_error
    assert told in answer.content


async def test_an_answer_can_be_written_down() -> None:
    """A name of a file may hold half of a character."""

    @tool
    def names() -> str:
        return "a\ud800b"

    assert (await names.call({}, ANYBODY)) == ToolAnswer(content="a?b", value=None)


def test_what_is_no_function_is_told() -> None:
    with pytest.raises(ToolError, match="a function is wanted, not 'name'"):
        tool("name")  # type: ignore[call-overload]
    with pytest.raises(ToolError, match="a method of a class"):

        class Shop:
            @tool
            def sell(self, item: str) -> str:
                return item

    with pytest.raises(ToolError, match="JSON has no such type"):

        @tool
        def opened() -> threading.Event:
            return threading.Event()

    with pytest.raises(ToolError, match="timeout: Input should be a finite number"):
        tool(timeout=float("inf"))(lambda: 1)
