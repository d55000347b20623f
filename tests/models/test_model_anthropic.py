"""The `anthropic` provider: the real SDK against the fake of the Messages API."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import httpx2
import pytest
from models_kit import KEY, MODEL, SEARCH, asking, claude
from pydantic import BaseModel, Field

from consort_agents.fake_llm import client, read_script
from consort_agents.models.anthropic import PUBLIC, Anthropic
from consort_agents.models.errors import (
    ContextExceeded,
    KeyRefused,
    ModelError,
    ModelUnknown,
    ModelUnusable,
    NoKey,
    Overloaded,
    RateLimited,
    RequestRefused,
    TookTooLong,
    Unreachable,
)
from consort_agents.models.port import Message, Opaque, Text, ToolResult, ToolUse, assistant, user
from consort_agents.models.refusals import retry_after, seen_limits

SETTINGS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_PROFILE")


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


async def test_without_a_key_it_says_so_and_names_what_works_without(
    no_settings: pytest.MonkeyPatch,
) -> None:
    """J16: no key is needed to go on working."""
    with pytest.raises(NoKey, match=r"ANTHROPIC_API_KEY.*CONSORT_MODEL=scripted:FILE"):
        Anthropic()
    no_settings.setenv("ANTHROPIC_API_KEY", "   ")
    with pytest.raises(NoKey):
        Anthropic()
    no_settings.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9/v1/")
    assert Anthropic().base_url == "http://127.0.0.1:9"


def test_a_key_that_cannot_be_one_is_refused_unshown(no_settings: pytest.MonkeyPatch) -> None:
    no_settings.setenv("ANTHROPIC_API_KEY", "sk-ant-first\nsk-ant-second")
    with pytest.raises(NoKey, match="ANTHROPIC_API_KEY is no key") as told:
        Anthropic()
    assert "first" not in str(told.value)


@pytest.mark.parametrize("address", ["localhost:8080", "ftp://x", "http://", "https://me:pw@host"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ModelUnusable, match="ANTHROPIC_BASE_URL"):
        Anthropic(api_key=KEY, base_url=address)


def test_the_account_is_named_without_giving_the_key_away() -> None:
    """C13: what shares limits is the key at an address."""
    one, same = Anthropic(api_key=KEY), Anthropic(api_key=KEY, base_url=f"{PUBLIC}/")
    assert one.key == same.key
    assert one.key.startswith("anthropic-")
    assert len(one.key) == len("anthropic-") + 8
    assert one.key != Anthropic(api_key=f"{KEY}x").key
    assert one.key != Anthropic(api_key=KEY, base_url="http://127.0.0.1:1").key


async def test_everything_of_a_request_arrives() -> None:
    async with claude("otherwise: {answer: yes}".replace("yes", '"yes"')) as (provider, fake):
        await provider.ask(
            asking(
                system="Be brief.",
                tools=(SEARCH,),
                tool_choice="search",
                max_tokens=99,
                effort="xhigh",
                stop_sequences=("END",),
                agent="researcher",
            )
        )
    [asked] = fake.requests
    assert asked.agent == "researcher"
    assert asked.body == {
        "model": MODEL,
        "max_tokens": 99,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "tools": [SEARCH.model_dump()],
        "tool_choice": {"type": "tool", "name": "search"},
        "output_config": {"effort": "xhigh"},
        "stop_sequences": ["END"],
    }


async def test_the_public_server_is_not_told_who_asks() -> None:
    provider = Anthropic(api_key=KEY)
    assert "extra_headers" not in provider._options(asking(agent="researcher"), 1.0)
    assert "extra_headers" in Anthropic(api_key=KEY, base_url="http://127.0.0.1:1")._options(
        asking(agent="researcher"), 1.0
    )


STOPS = {
    "end_turn": 'answer: "done"',
    "max_tokens": 'answer: "a text that is much longer than what it may be"',
    "stop_sequence": 'answer: "one END two"',
    "tool_use": "answer: {use: [{tool: search, input: {q: tea}}]}",
    "pause_turn": "answer: {text: wait, stop_reason: pause_turn}",
    "refusal": "answer: {text: sorry, stop_reason: refusal, stop_details: {type: refusal, category: cyber}}",
    "model_context_window_exceeded": "answer: {text: long, stop_reason: model_context_window_exceeded}",
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("reason", STOPS)
async def test_each_stop_reason_comes_through(reason: str, streamed: bool) -> None:
    heard: list[str] = []
    async with claude(f"rules: [{{{STOPS[reason]}}}]") as (provider, _):
        reply = await provider.ask(
            asking(max_tokens=3 if reason == "max_tokens" else 100, stop_sequences=("END",), tools=(SEARCH,)),
            heard.append if streamed else None,
        )
    assert reply.stop_reason == reason
    assert reply.request_id
    assert reply.model == MODEL
    if streamed:
        assert "".join(heard) == reply.text
    if reason == "refusal":
        assert reply.stop_details is not None
        assert reply.stop_details["category"] == "cyber"
    if reason == "stop_sequence":
        assert reply.text == "one "


@pytest.mark.parametrize(
    ("status", "kind", "passing"),
    [
        (400, RequestRefused, False),
        (401, KeyRefused, False),
        (402, KeyRefused, False),
        (403, KeyRefused, False),
        (404, ModelUnknown, False),
        (408, TookTooLong, True),
        (409, Overloaded, True),
        (413, RequestRefused, False),
        (422, RequestRefused, False),
        (429, RateLimited, True),
        (500, Overloaded, True),
        (502, Overloaded, True),
        (503, Overloaded, True),
        (504, Overloaded, True),
        (529, Overloaded, True),
    ],
)
async def test_each_status_is_an_error_of_its_kind_asked_once(
    status: int, kind: type[ModelError], passing: bool
) -> None:
    """C13: nobody retries behind the back of whoever counts."""
    script = f"rules: [{{fail: {{status: {status}, message: why, headers: {{retry-after: '7'}}}}}}]"
    async with claude(script) as (provider, fake):
        for deliver in (None, lambda text: None):
            with pytest.raises(ModelError, match="why") as told:
                await provider.ask(asking(), deliver)
            assert type(told.value) is kind
            assert told.value.status == status
            assert told.value.passing is passing
            assert told.value.retry_after == 7
            assert told.value.request_id.startswith("req_")
    assert len(fake.requests) == 2


async def test_a_wrong_key_and_an_unknown_model_are_told_apart() -> None:
    async with claude(f"{{keys: [{KEY}], models: [{MODEL}], otherwise: {{answer: ok}}}}") as (provider, _):
        assert (await provider.ask(asking())).text == "ok"
        with pytest.raises(ModelUnknown, match="claude-of-tomorrow"):
            await provider.ask(asking(model="claude-of-tomorrow"))
    async with claude("{keys: [another], otherwise: {answer: ok}}") as (provider, _):
        with pytest.raises(KeyRefused) as told:
            await provider.ask(asking())
    assert KEY not in str(told.value)
    assert "was asked, the key is that in ANTHROPIC_API_KEY" in str(told.value)


async def test_too_long_a_request_is_told_apart_from_a_faulty_one() -> None:
    async with claude("{context_window: 50, otherwise: {answer: ok}}") as (provider, _):
        with pytest.raises(ContextExceeded, match="longer than the model takes"):
            await provider.ask(asking("x" * 1000))
        reply = await provider.ask(asking("x" * 160, max_tokens=4096))
    assert reply.text == "ok"


async def test_the_window_ends_an_answer() -> None:
    script = f"{{context_window: 50, otherwise: {{answer: {'a' * 300}}}}}"
    async with claude(script) as (provider, _):
        reply = await provider.ask(asking("x" * 100))
    assert reply.stop_reason == "model_context_window_exceeded"


async def test_secrets_in_what_the_provider_says_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    prompt = "my password=hunter22"
    echo = f"you sent {prompt} with {KEY} and someone@example.org"
    async with claude(f"rules: [{{fail: {{status: 400, message: '{echo}'}}}}]") as (provider, _):
        with pytest.raises(RequestRefused) as told:
            await provider.ask(asking(prompt))
    logging.getLogger("consort.agent").error("task failed", exc_info=told.value)
    for secret in ("hunter22", KEY, "someone@"):
        assert secret not in str(told.value)
        assert secret not in caplog.text


async def test_limits_are_read_off_answers_and_refusals() -> None:
    """C13: one 429 tells everything that is needed to slow down once."""
    script = "{limit: {requests_per_minute: 1, tokens_per_minute: 9000}, otherwise: {answer: ok}}"
    async with claude(script) as (provider, _):
        assert provider.limits() is None
        await provider.ask(asking())
        seen = provider.limits()
        assert seen is not None
        assert (seen.requests_per_minute, seen.requests_left) == (1, 0)
        assert seen.tokens_per_minute == 9000
        with pytest.raises(RateLimited) as told:
            await provider.ask(asking())
    assert told.value.retry_after == pytest.approx(60, abs=20)
    assert told.value.limits is not None
    assert told.value.limits.requests_per_minute == 1


def test_limits_on_input_alone_are_limits_on_tokens() -> None:
    seen = seen_limits(
        {"anthropic-ratelimit-input-tokens-limit": "500", "anthropic-ratelimit-input-tokens-remaining": "0"}
    )
    assert seen is not None
    assert (seen.tokens_per_minute, seen.tokens_left) == (500, 0)
    assert seen_limits({"anthropic-ratelimit-requests-limit": "many"}) is None


async def test_credentials_that_cannot_be_fetched_are_said(no_settings: pytest.MonkeyPatch) -> None:
    no_settings.setenv("ANTHROPIC_PROFILE", "nobody")
    with pytest.raises(ModelUnusable, match="the credentials cannot be used"):
        await Anthropic().ask(asking(), timeout=5)


def test_waits_are_told_as_numbers_or_dates() -> None:
    now = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}, now) == 1.5
    assert retry_after({"retry-after": "Sat, 28 Nov 2026 12:00:30 GMT"}, now) == 30
    assert retry_after({"retry-after": "Sat, 28 Nov 2026 11:00:00 GMT"}, now) == 0
    assert retry_after({"retry-after": "soon"}, now) is None
    assert retry_after({"retry-after": "nan"}, now) is None
    assert retry_after({}, now) is None


async def test_a_stream_that_ends_early_is_no_answer() -> None:
    heard: list[str] = []
    async with claude('rules: [{answer: "one two three four five", cut: 11}]') as (provider, _):
        with pytest.raises(Unreachable):
            await provider.ask(asking(), heard.append)
        assert "".join(heard) == "one two thr"
        with pytest.raises(Unreachable):
            await provider.ask(asking())


@pytest.mark.parametrize(
    ("kind", "error"),
    [("overloaded_error", Overloaded), ("rate_limit_error", RateLimited), ("timeout_error", TookTooLong)],
)
async def test_an_error_in_the_midst_of_a_stream_is_one_of_its_kind(
    kind: str, error: type[ModelError]
) -> None:
    heard: list[str] = []
    rule = f"{{answer: one two three, fail: {{status: 529, type: {kind}, message: busy, within: 7}}}}"
    async with claude(f"rules: [{rule}]") as (provider, _):
        with pytest.raises(error, match=r"in the midst of the answer.*busy") as told:
            await provider.ask(asking(), heard.append)
    assert "".join(heard) == "one two"
    assert told.value.status is None


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_stalls_ends_at_the_time_given(streamed: bool) -> None:
    async with claude('rules: [{answer: "one two three", stall: 60}]') as (provider, _):
        with pytest.raises(TookTooLong, match=r"within 0\.1 s"):
            await provider.ask(asking(), (lambda text: None) if streamed else None, timeout=0.1)


async def test_cancelling_is_no_error_of_a_model() -> None:
    async with claude('rules: [{answer: "one two three", stall: 60}]') as (provider, fake):
        asked = asyncio.create_task(provider.ask(asking()))
        async with asyncio.timeout(10):
            while not fake.requests:
                await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked


@pytest.mark.slow
async def test_no_server_is_unreachable() -> None:
    provider = Anthropic(api_key=KEY, base_url="http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="connection") as told:
        await provider.ask(asking(), timeout=5)
    assert KEY not in str(told.value)
    await provider.close()


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_and_unknown_blocks_go_back_as_they_came(streamed: bool) -> None:
    script = """
    rules:
      - when: {turn: 1}
        answer:
          thinking: let me see
          text: I look.
          use: [{tool: search, input: {q: tea, deep: {rows: [1, null]}}}]
          blocks:
            - {type: redacted_thinking, data: b2s=}
            - {type: server_tool_use, id: srv1, name: web_search, input: {query: tea}}
      - {answer: "{{ result }} it is"}
    """
    async with claude(script) as (provider, fake):
        first = asking(tools=(SEARCH,))
        reply = await provider.ask(first, (lambda text: None) if streamed else None)
        kinds = [block.kind if isinstance(block, Opaque) else block.type for block in reply.content]
        assert kinds == ["thinking", "text", "redacted_thinking", "server_tool_use", "tool_use"]
        [use] = reply.tool_uses
        assert use.input == {"q": "tea", "deep": {"rows": [1, None]}}
        result = ToolResult(tool_use_id=use.id, content="green")
        again = first.model_copy(
            update={"messages": (*first.messages, reply.message, Message(role="user", content=(result,)))}
        )
        assert (await provider.ask(again)).text == "green it is"
    sent = fake.requests[-1].body["messages"][1]["content"]
    assert sent[0] == {"type": "thinking", "thinking": "let me see", "signature": "c2NyaXB0ZWQ="}
    assert sent[2] == {"type": "redacted_thinking", "data": "b2s="}
    assert sent[3] == {
        "type": "server_tool_use",
        "id": "srv1",
        "name": "web_search",
        "input": {"query": "tea"},
    }


async def test_empty_texts_are_not_sent() -> None:
    async with claude("otherwise: {answer: ok}") as (provider, fake):
        use = ToolUse(id="t1", name="search", input={"q": "x"})
        turn = Message(role="assistant", content=(Text(text=""), use))
        result = Message(role="user", content=(ToolResult(tool_use_id="t1", content="", is_error=True),))
        await provider.ask(asking(messages=(user("hello"), turn, result), tools=(SEARCH,)))
    sent = fake.requests[0].body["messages"]
    assert [block["type"] for block in sent[1]["content"]] == ["tool_use"]
    assert sent[2]["content"][0]["is_error"] is True


class Finding(BaseModel):
    claim: str = Field(min_length=3)
    score: int = Field(ge=1, le=5)
    note: str | None = None


class Findings(BaseModel):
    findings: list[Finding] = Field(min_length=2)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_schema_is_sent_in_the_strict_form_and_an_answer_fits_it(streamed: bool) -> None:
    """E1: what is asked for can be checked."""
    async with claude("otherwise: {schema: true}") as (provider, fake):
        reply = await provider.ask(
            asking(output_schema=Findings.model_json_schema(), effort="low"),
            (lambda text: None) if streamed else None,
        )
    sent = fake.requests[0].body["output_config"]
    assert sent["effort"] == "low"
    schema = sent["format"]["schema"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["findings"]
    assert schema["$defs"]["Finding"]["additionalProperties"] is False
    found = Findings.model_validate_json(reply.text)
    assert len(found.findings) == 2


class Loose(BaseModel):
    name: str
    values: dict[str, int]


async def test_a_schema_with_free_keys_is_asked_for_in_words() -> None:
    async with claude("otherwise: {answer: {json: {name: a, values: {x: 1}}}}") as (provider, fake):
        reply = await provider.ask(asking(system="Be brief.", output_schema=Loose.model_json_schema()))
    body = fake.requests[0].body
    assert "output_config" not in body
    assert body["system"].startswith("Be brief.\n\nAnswer with one JSON value")
    assert Loose.model_validate_json(reply.text).values == {"x": 1}


async def test_a_schema_that_is_none_is_refused_with_the_reason() -> None:
    async with claude("otherwise: {schema: true}") as (provider, fake):
        with pytest.raises(RequestRefused, match="the schema of the answer cannot be used"):
            await provider.ask(asking(output_schema={"type": "object", "properties": {"a": {"minimum": 1}}}))
    assert fake.requests == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_tokens_are_counted_as_they_are_told(streamed: bool) -> None:
    usage = "{input: 10, output: 7, cache_read: 100, cache_write: 20, thinking: 3}"
    async with claude(f"otherwise: {{answer: {{text: ok, usage: {usage}}}}}") as (provider, _):
        reply = await provider.ask(asking(), (lambda text: None) if streamed else None)
    assert reply.usage.calls == 1
    assert reply.usage.input_tokens == 130
    assert reply.usage.cache_read_tokens == 100
    assert reply.usage.cache_write_tokens == 20
    assert reply.usage.output_tokens == 7
    assert reply.usage.reasoning_tokens == 3


async def test_a_request_can_be_counted() -> None:
    async with claude("otherwise: {answer: ok}") as (provider, fake):
        counted = await provider.count(asking("x" * 400, system="y" * 400, tools=(SEARCH,)))
        assert 200 < counted < 300
        reply = await provider.ask(asking("x" * 400, system="y" * 400, tools=(SEARCH,)))
    assert reply.usage.input_tokens == counted
    assert len(fake.requests) == 1


async def test_a_turn_that_was_paused_goes_on() -> None:
    script = """
    rules:
      - {when: {turn: 1}, answer: {text: half, stop_reason: pause_turn}}
      - {answer: the other half}
    """
    async with claude(script) as (provider, _):
        first = await provider.ask(asking())
        second = await provider.ask(asking(messages=(user("hello"), first.message)))
    assert (first.stop_reason, second.text) == ("pause_turn", "the other half")


async def test_an_assistant_turn_is_kept_as_it_is() -> None:
    async with claude("otherwise: {answer: ok}") as (provider, fake):
        await provider.ask(asking(messages=(user("a"), assistant("b"), user("c"))))
    assert [message["role"] for message in fake.requests[0].body["messages"]] == ["user", "assistant", "user"]


def answering(body: str | bytes, kind: str = "application/json") -> Anthropic:
    """A provider whose server always answers with status 200 and this body."""
    answer = httpx2.MockTransport(
        lambda _: httpx2.Response(200, content=body, headers={"content-type": kind})
    )
    http = httpx2.AsyncClient(transport=answer)
    return Anthropic(api_key=KEY, base_url="http://nearly.invalid", http_client=http)


@pytest.mark.parametrize(
    "body",
    [
        "<html>Log in first</html>",
        "",
        "[]",
        "{}",
        '{"model": "m", "content": [], "stop_reason": null}',
        '{"model": "m", "content": [], "stop_reason": "tired"}',
        '{"model": "m", "content": [{"type": "tool_use"}], "stop_reason": "tool_use"}',
        '{"model": "m", "content": "text", "stop_reason": "end_turn"}',
        b"\xff\xfe",
    ],
)
async def test_an_answer_that_is_none_of_the_api_is_said(body: str | bytes) -> None:
    with pytest.raises(ModelError, match="the answer"):
        await answering(body).ask(asking())


@pytest.mark.parametrize(
    "body",
    [
        "",
        'event: message_stop\ndata: {"type": "message_stop"}\n\n',
        "event: message_start\ndata: {\n\n",
        'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 3}\n\n',
        "<html>Log in first</html>",
    ],
)
async def test_a_stream_that_is_none_of_the_api_is_said(body: str) -> None:
    with pytest.raises(ModelError, match=r"the answer|broke off"):
        await answering(body, "text/event-stream").ask(asking(), lambda text: None)


async def test_cache_fields_may_be_absent() -> None:
    body = (
        '{"id": "m1", "model": "m", "content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn", '
        '"usage": {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": null}}'
    )
    usage = (await answering(body).ask(asking())).usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (3, 0, 0)
    assert (await answering(body.replace(', "usage"', ', "usages"')).ask(asking())).usage.input_tokens == 0


async def test_a_token_works_in_place_of_a_key(no_settings: pytest.MonkeyPatch) -> None:
    async with client(read_script("{keys: [token-1], otherwise: {answer: ok}}")) as (http, fake):
        no_settings.setenv("ANTHROPIC_AUTH_TOKEN", "token-1")
        no_settings.setenv("ANTHROPIC_BASE_URL", fake.url)
        assert (await Anthropic(http_client=http).ask(asking())).text == "ok"
