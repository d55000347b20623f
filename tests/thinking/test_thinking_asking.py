"""Asking a model once: through the real SDK, before a scripted Messages API."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field
from thinking_kit import MODEL, SOON, claude, scripted

from consort_agents.context import Context
from consort_agents.models.port import Message, ToolSpec, assistant, user
from consort_agents.thinking import errors
from consort_agents.thinking.shaping import Misfit, shape_of
from consort_agents.thinking.trickle import Trickle
from consort_shared.profile import Profile, ThinkingLimits


class City(BaseModel):
    name: str
    people: int = Field(gt=0)


PARIS = "rules: [{answer: Paris}]"


async def test_an_answer_with_who_the_agent_is_and_what_it_cost() -> None:
    """S80: the profile is the beginning of the system prompt; money comes from the price list."""
    async with claude("rules: [{answer: {text: Paris, usage: {input: 1000, output: 100}}}]") as desk:
        context = await desk.context({"role": "a geographer", "goal": "Be brief.", "effort": "low"})
        answer = await context.model.ask("Capital of France?", system="Answer in one word.")
        assert (answer.text, answer.stop_reason, answer.cut, answer.replayed) == (
            "Paris",
            "end_turn",
            False,
            False,
        )
        assert answer.usage.calls == 1
        assert answer.usage.input_tokens == 1000
        assert context.usage == answer.usage
        assert answer.usage.cost > 0
        assert answer.usage.unpriced == 0
    body = desk.bodies[0]
    assert str(body["system"]).count("You are a geographer.") == 1
    assert "Answer in one word." in str(body["system"])
    assert body["model"] == MODEL
    assert body["output_config"]["effort"] == "low"
    assert body["stream"] is True


async def test_a_conversation_goes_on_from_an_answer() -> None:
    """A prompt chain: what was answered is part of what is asked next."""
    async with claude(
        "rules: [{when: {turn: 1}, answer: Paris}, {when: {turn: 2}, answer: '2 million'}]"
    ) as desk:
        context = await desk.context()
        first = await context.model.ask("Capital of France?")
        second = await context.model.ask([*first.messages, user("How many people?")])
    assert second.text == "2 million"
    assert [one["role"] for one in desk.bodies[1]["messages"]] == ["user", "assistant", "user"]


async def test_an_unknown_price_is_counted_and_stops_nothing() -> None:
    async with claude(PARIS) as desk:
        context = await desk.context()
        context.means.providers["anthropic:my-own"] = desk.provider
        answer = await context.model.ask("?", model="anthropic:my-own")
    assert answer.usage.unpriced == 1
    assert answer.usage.cost == 0


async def test_no_model_says_how_to_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """S15: without a model a skill is told so, and can compute instead."""
    monkeypatch.delenv("CONSORT_MODEL", raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    context = Context.offline()
    assert not context.model.available
    with pytest.raises(errors.NoModel, match=r"CONSORT_MODEL.*ANTHROPIC_API_KEY.*scripted") as raised:
        await context.model.ask("?")
    assert (raised.value.kind, raised.value.retry) == ("no-model", False)
    named = Context.offline(profile=Profile(model="claude-sonnet-5-5"))
    assert "ANTHROPIC_API_KEY" in named.model.trouble
    unknown = Context.offline(model="nobody:x")
    assert "there is no provider 'nobody'" in unknown.model.trouble
    with pytest.raises(errors.NoModel):
        await unknown.model.ask("?")


async def test_which_model_is_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The call goes before the profile, that before the agent, that before the environment."""
    for name in ("call", "profile", "agent", "environment"):
        (tmp_path / f"{name}.yaml").write_text(f"rules: [{{answer: {name}}}]")

    def named(name: str) -> str:
        return f"scripted:{tmp_path / name}.yaml"

    monkeypatch.setenv("CONSORT_MODEL", named("environment"))
    bare, agent = Context.offline(), Context.offline(model=named("agent"))
    profile = Context.offline(model=named("agent"), profile=Profile(model=named("profile")))
    assert (await bare.model.ask("?")).text == "environment"
    assert (await agent.model.ask("?")).text == "agent"
    assert (await profile.model.ask("?")).text == "profile"
    assert (await profile.model.ask("?", model=named("call"))).text == "call"
    assert profile.model.available


# --- shapes


async def test_an_answer_that_does_not_fit_is_mended_with_the_reason() -> None:
    """E1: the model is told why its answer does not fit, and answers again."""
    script = """
    rules:
    - when: {turn: 1}
      answer: {json: {name: Paris, people: 0}}
    - when: {turn: 2, user: "people: Input should be greater than 0"}
      answer: {json: {name: Paris, people: 2000000}}
    """
    async with claude(script) as desk:
        context = await desk.context()
        answer = await context.model.ask("A city, please", schema=City)
    assert answer.value == City(name="Paris", people=2_000_000)
    assert answer.usage.calls == 2
    schema = desk.bodies[0]["output_config"]["format"]["schema"]
    assert set(schema["required"]) == {"name", "people"}
    assert len(desk.journal.slots) >= 4, "each repair is a call of its own in the journal"


async def test_an_answer_that_never_fits() -> None:
    """E1: after the repairs that are allowed the task fails, and says what did not fit."""
    async with claude("rules: [{answer: 'I would rather not'}]") as desk:
        context = await desk.context()
        with pytest.raises(errors.AnswerMisfit, match=r"asked 3 times.*not JSON") as raised:
            await context.model.ask("A city, please", schema=City)
        assert raised.value.kind == "model-misfit"
        with pytest.raises(errors.AnswerMisfit, match="asked 1 times"):
            await context.model.ask("Another city", schema=City, mends=0)
    assert len(desk.bodies) == 4


@pytest.mark.parametrize(
    ("kind", "said", "value"),
    [
        (list[int], '{"value": [1, 2]}', [1, 2]),
        (City | None, '{"value": null}', None),
        (City, '```json\n{"name": "Rome", "people": 3}\n```', City(name="Rome", people=3)),
        (City, 'Here it is: {"name": "Rome", "people": 3}. Ask for more.', City(name="Rome", people=3)),
        (dict[str, float], '{"value": {"a": 1.5}}', {"a": 1.5}),
        (date, '{"value": "2026-11-28"}', date(2026, 11, 28)),
    ],
)
def test_shapes(kind: Any, said: str, value: Any) -> None:
    shape = shape_of(kind)
    assert shape.schema["type"] == "object"
    assert shape.read(said) == value


@pytest.mark.parametrize("said", ["", "   ", "[1]", "{}", '{"value": "x"}', '{"value": [1], "more": 2}', "{"])
def test_what_does_not_fit(said: str) -> None:
    with pytest.raises(Misfit):
        shape_of(list[int]).read(said)


def test_a_type_that_is_no_shape() -> None:
    with pytest.raises(TypeError, match="schema="):
        shape_of(re.Match)


class Tree(BaseModel):
    name: str
    children: list[Tree] = Field(default_factory=list)


def test_a_shape_that_contains_itself() -> None:
    assert shape_of(Tree).read('{"name": "a", "children": [{"name": "b"}]}').children[0].name == "b"
    assert shape_of(list[Tree]).read('{"value": [{"name": "a"}]}')[0].name == "a"


# --- the seven stop reasons


async def test_a_text_that_is_cut_says_so() -> None:
    async with claude("rules: [{answer: {text: 'It begins', stop_reason: max_tokens}}]") as desk:
        answer = await (await desk.context()).model.ask("?")
    assert answer.cut
    assert answer.text == "It begins"


async def test_a_shape_that_is_cut_gets_twice_the_room_once() -> None:
    script = """
    rules:
    - when: {schema: true}
      times: 1
      answer: {text: '{"name": "Pa', stop_reason: max_tokens}
    - answer: {json: {name: Paris, people: 3}}
    """
    async with claude(script) as desk:
        answer = await (await desk.context({"max_tokens": 100})).model.ask("?", schema=City)
    assert answer.value.name == "Paris"
    assert [body["max_tokens"] for body in desk.bodies] == [100, 200]
    async with claude("rules: [{answer: {text: '{', stop_reason: max_tokens}}]") as desk:
        with pytest.raises(errors.AnswerCut, match="200 tokens") as raised:
            await (await desk.context({"max_tokens": 100})).model.ask("?", schema=City)
    assert raised.value.kind == "model-cut"


async def test_a_pause_is_continued_with_what_was_said() -> None:
    script = """
    rules:
    - when: {turn: 1}
      answer: {text: "First half, ", stop_reason: pause_turn}
    - when: {turn: 2}
      answer: "second half."
    """
    async with claude(script) as desk:
        answer = await (await desk.context()).model.ask("?")
    assert answer.text == "First half, second half."
    assert [one["role"] for one in desk.bodies[1]["messages"]] == ["user", "assistant"]
    assert [one.role for one in answer.messages] == ["user", "assistant"]


async def test_a_refusal_ends_the_task() -> None:
    script = (
        "rules: [{answer: {text: '', stop_reason: refusal, stop_details: {type: refusal, category: cyber}}}]"
    )
    async with claude(script) as desk:
        with pytest.raises(errors.ModelRefused, match="cyber") as raised:
            await (await desk.context()).model.ask("?")
    assert (raised.value.kind, raised.value.retry) == ("model-refused", False)
    assert raised.value.details is not None
    assert len(desk.bodies) == 1


async def test_a_stop_sequence_and_a_tool_use_are_answers() -> None:
    spec = ToolSpec(name="search", input_schema={"type": "object"})
    script = """
    rules:
    - when: {offers: search}
      answer: {use: [{tool: search, input: {q: x}}]}
    - answer: {text: one, stop_reason: stop_sequence, stop_sequence: END}
    """
    async with claude(script) as desk:
        context = await desk.context()
        assert (await context.model.ask("?", stop=["END"])).stop_reason == "stop_sequence"
        answer = await context.model.ask("?", tools=[spec], tool_choice="search")
    assert [use.name for use in answer.tool_uses] == ["search"]
    assert desk.bodies[0]["stop_sequences"] == ["END"]
    assert desk.bodies[1]["tool_choice"] == {"type": "tool", "name": "search"}


def _long(turns: int, length: int = 4000) -> list[Message]:
    messages = [user("The goal stays.")]
    for n in range(turns):
        messages += [assistant(f"thought {n} " + "x" * length), user(f"go on {n}")]
    return messages


@pytest.mark.parametrize("how", ["refused", "stopped"])
async def test_a_conversation_that_is_too_long_for_the_model_is_shortened_once(how: str) -> None:
    """D7: it is asked again with the older part summarised."""
    refuse = "fail: {status: 400, type: invalid_request_error, message: 'prompt is too long: 9 > 8 maximum'}"
    stop = "answer: {text: '', stop_reason: model_context_window_exceeded}"
    script = f"rules: [{{times: 1, {refuse if how == 'refused' else stop}}}, {{answer: done}}]"
    async with claude(script) as desk:
        answer = await (await desk.context()).model.ask(_long(12))
    assert answer.text == "done"
    first, second = (str(body["messages"]) for body in desk.bodies)
    assert len(second) < len(first) * 0.6
    assert "The goal stays." in second
    assert "[Summary of " in second
    async with claude("rules: [{answer: {text: '', stop_reason: model_context_window_exceeded}}]") as desk:
        with pytest.raises(errors.ContextFull) as raised:
            await (await desk.context()).model.ask(_long(12))
    assert (raised.value.kind, raised.value.retry) == ("model-context", False)
    assert len(desk.bodies) == 2


async def test_a_prompt_that_cannot_be_shortened() -> None:
    async with claude(PARIS) as desk:
        context = await desk.context(Profile(limits=ThinkingLimits(context_tokens=1000)))
        with pytest.raises(errors.ContextFull, match="context_tokens"):
            await context.model.ask("x" * 10_000)
    assert desk.bodies == []


# --- what goes wrong


@pytest.mark.parametrize(
    "fail",
    [
        f"fail: {{status: 429, {SOON}}}",
        f"fail: {{status: 529, {SOON}}}",
        f"fail: {{status: 500, {SOON}}}",
    ],
)
async def test_what_passes_is_asked_again_visibly(fail: str, caplog: pytest.LogCaptureFixture) -> None:
    """S101: each try is a line in the log and a word to whoever watches; `retry-after` is kept."""
    async with claude(f"rules: [{{times: 2, {fail}}}, {{answer: Paris}}]") as desk:
        context = await desk.context()
        answer = await context.model.ask("Secret: hunter2 hunter2")
    assert answer.text == "Paris"
    assert len(desk.bodies) == 3
    assert answer.usage.calls == 1
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([line for line in told if "asked again in" in line]) == 2
    assert "hunter2" not in caplog.text


@pytest.mark.slow
async def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    async with claude("rules: [{times: 1, answer: 'A long answer', cut: 4}, {answer: whole}]") as desk:
        assert (await (await desk.context()).model.ask("?")).text == "whole"
    assert len(desk.bodies) == 2


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "model-unusable"), (404, "model-unusable"), (400, "model-request")]
)
async def test_what_does_not_pass_ends_the_task_at_once(status: int, kind: str) -> None:
    async with claude(f"rules: [{{fail: {{status: {status}}}}}]") as desk:
        with pytest.raises(errors.ModelFailed) as raised:
            await (await desk.context()).model.ask("?")
    assert (raised.value.kind, raised.value.retry) == (kind, False)
    assert len(desk.bodies) == 1


async def test_no_try_goes_beyond_the_deadline() -> None:
    """A provider that wants a minute is not waited for when the task has ten seconds."""
    async with claude("rules: [{fail: {status: 429, headers: {retry-after: '60'}}}]") as desk:
        context = await desk.context()
        context.deadline = time.time() + 10
        with pytest.raises(errors.ModelFailed, match="no time left") as raised:
            await context.model.ask("?")
    assert (raised.value.kind, raised.value.retry) == ("model-limited", True)
    context.deadline = time.time() - 1
    with pytest.raises(errors.LimitReached) as late:
        await context.model.ask("?")
    assert late.value.kind == "limit-seconds"


async def test_a_bad_file_of_prices_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "prices.toml"
    file.write_text("[models.x]\ninput = -1\noutput = 1\n")
    monkeypatch.setenv("CONSORT_PRICES", str(file))
    async with claude(PARIS) as desk:
        with pytest.raises(errors.NoModel, match=r"prices\.toml"):
            await (await desk.context()).model.ask("?")


# --- the task's limits


@pytest.mark.parametrize(
    ("limits", "kind"),
    [
        ({"calls": 2}, "limit-calls"),
        ({"tokens": 2500}, "limit-tokens"),
        ({"dollars": 0.0250}, "limit-dollars"),
    ],
)
async def test_a_limit_holds_for_all_that_a_task_asks(limits: dict[str, Any], kind: str) -> None:
    """J16: a call that could exceed the limit is refused before it is made."""
    async with claude("rules: [{answer: {text: Paris, usage: {input: 10, output: 1000}}}]") as desk:
        context = await desk.context({"limits": limits, "max_tokens": 1000})
        await context.model.ask("one")
        await context.model.ask("two")
        with pytest.raises(errors.LimitReached) as raised:
            await context.model.ask("three")
    assert (raised.value.kind, raised.value.retry) == (kind, False)
    assert len(desk.bodies) == 2


async def test_calls_at_the_same_time_reserve_what_they_could_use() -> None:
    """J16: three at once cannot each have the last call."""
    async with claude("{latency: 0.02, rules: [{answer: Paris}]}") as desk:
        context = await desk.context({"limits": {"calls": 2}})
        asked = [context.model.ask(f"question {n}") for n in range(3)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert len(desk.bodies) == 2
    assert sum(isinstance(one, errors.LimitReached) for one in answers) == 1


# --- again


async def test_a_task_that_comes_again_is_answered_from_its_journal() -> None:
    """G6: nothing is asked twice; what it cost is counted once, and the limits go on where they were."""
    async with claude(
        "rules: [{when: {user: one}, answer: '1'}, {answer: {text: '2', usage: {input: 7}}}]"
    ) as desk:
        before = await desk.context({"limits": {"calls": 3}})
        first = await before.model.ask("one")
        again = await desk.context({"limits": {"calls": 3}})
        second = await again.model.ask("one")
        assert (second.text, second.replayed) == (first.text, True)
        assert (second.usage.calls, second.usage.replayed, second.usage.cost) == (1, 1, first.usage.cost)
        await again.model.ask("two")
        await again.model.ask("three")
        with pytest.raises(errors.LimitReached):
            await again.model.ask("four")
    assert [body["messages"][-1]["content"][0]["text"] for body in desk.bodies] == ["one", "two", "three"]


# --- plain functions, text as it is written


async def test_a_plain_function_asks_from_its_thread() -> None:
    context = scripted("rules: [{when: {schema: true}, answer: {json: {value: 3}}}, {answer: Paris}]")
    context.artefacts.loop = asyncio.get_running_loop()

    def skill() -> tuple[str, int]:
        return context.model.ask_sync("?").text, context.model.ask_sync("?", schema=int).value

    assert await asyncio.to_thread(skill) == ("Paris", 3)
    with pytest.raises(RuntimeError, match="_sync"):
        context.model.ask_sync("?")


async def test_a_prompt_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one message"):
        await scripted(PARIS).model.ask([])


async def test_text_is_told_in_few_pieces_and_whole() -> None:
    told: list[str] = []
    with Trickle(told.append) as trickle:
        for n in range(500):
            trickle.put(f"{n} ")
    assert "".join(told) == "".join(f"{n} " for n in range(500))
    assert len(told) == 2
