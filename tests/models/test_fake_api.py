"""The fake of the Messages API: what it refuses, streams and records, and the command that serves it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest
from models_kit import KEY, MODEL, SEARCH, asking

from consort_agents.fake_llm import Fake, client, read_script, serving
from consort_agents.fake_llm.record import read_record
from consort_agents.models.anthropic import Anthropic
from consort_agents.models.errors import Overloaded, TookTooLong, Unreachable
from consort_agents.models.fitting import fitting
from consort_shared.errors import InvalidInput

HELLO: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}


def sdk(http: Any, fake: Fake) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key=KEY, base_url=fake.url, http_client=http, max_retries=0)


async def posted(body: Any) -> tuple[int, dict[str, Any]]:
    async with client(read_script("otherwise: {answer: ok}")) as (http, fake):
        answer = await http.post(f"{fake.url}/v1/messages", json=body, headers={"x-api-key": KEY})
    return answer.status_code, answer.json()


def used(*ids: str) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": name, "name": "search", "input": {}} for name in ids],
    }


def given(*ids: str) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": name, "content": ""} for name in ids],
    }


ASK = HELLO["messages"][0]
STRICT = {"type": "json_schema", "schema": {"type": "object", "properties": {}}}
FAULTS = {
    "the body": (["no object"], "must be a JSON object"),
    "no model": ({**HELLO, "model": ""}, "model: Input should be a valid string"),
    "no max_tokens": ({key: HELLO[key] for key in ("model", "messages")}, "max_tokens: Field required"),
    "max_tokens": ({**HELLO, "max_tokens": 0}, "max_tokens: Input should be greater"),
    "no messages": ({**HELLO, "messages": []}, "at least one message"),
    "role": ({**HELLO, "messages": [{"role": "system", "content": "x"}]}, r"messages\.0\.role"),
    "first role": ({**HELLO, "messages": [{"role": "assistant", "content": "x"}]}, "must use the user role"),
    "empty text": (
        {**HELLO, "messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        "must be non-empty",
    ),
    "temperature": ({**HELLO, "temperature": 0}, "temperature: Extra inputs are not permitted"),
    "thread": ({**HELLO, "thread": {"type": "create"}}, "thread: threads are not supported"),
    "no result": ({**HELLO, "messages": [ASK, used("a", "b"), given("a")]}, "without `tool_result`.*b"),
    "no use": (
        {**HELLO, "messages": [ASK, used("a"), given("a"), used("b"), given("a")]},
        "unexpected `tool_use_id`",
    ),
    "late result": ({**HELLO, "messages": [ASK, used("a"), ASK, given("a")]}, "without `tool_result`"),
    "two tools": ({**HELLO, "tools": [SEARCH.model_dump()] * 2}, "Tool names must be unique"),
    "no such tool": ({**HELLO, "tool_choice": {"type": "tool", "name": "x"}}, "'x' not found"),
    "schema": ({**HELLO, "output_config": {"format": STRICT}}, "additionalProperties"),
    "thinking": (
        {
            **HELLO,
            "messages": [ASK, {"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}],
        },
        "signature: Field required",
    ),
    "marks": (
        {
            **HELLO,
            "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5,
        },
        "A maximum of 4 blocks",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_request_that_the_api_would_refuse_is_refused(fault: str) -> None:
    body, told = FAULTS[fault]
    status, answer = await posted(body)
    assert status == 400
    assert answer["type"] == "error"
    assert answer["error"]["type"] == "invalid_request_error"
    assert re.search(told, answer["error"]["message"]), answer


async def test_whole_conversations_are_taken() -> None:
    status, answer = await posted(
        {**HELLO, "messages": [ASK, used("a", "b"), given("b", "a"), used("c"), given("c")]}
    )
    assert (status, answer["stop_reason"]) == (200, "end_turn")


async def test_events_come_in_the_documented_order() -> None:
    script = read_script(
        "otherwise: {answer: {thinking: hm, text: hello, use: [{tool: search, input: {q: tea}}]}}"
    )
    async with client(script) as (http, fake):
        answer = await http.post(f"{fake.url}/v1/messages", json={**HELLO, "stream": True})
    events = [
        json.loads(line.removeprefix("data: "))
        for line in answer.text.splitlines()
        if line.startswith("data")
    ]
    shape = [
        f"{event['type']} {event.get('delta', {}).get('type', '') or event.get('content_block', {}).get('type', '')}"
        for event in events
    ]
    assert shape == [
        "message_start ",
        "ping ",
        "content_block_start thinking",
        "content_block_delta thinking_delta",
        "content_block_delta signature_delta",
        "content_block_stop ",
        "content_block_start text",
        "content_block_delta text_delta",
        "content_block_stop ",
        "content_block_start tool_use",
        "content_block_delta input_json_delta",
        "content_block_delta input_json_delta",
        "content_block_stop ",
        "message_delta ",
        "message_stop ",
    ]
    assert events[0]["message"]["stop_reason"] is None
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert answer.headers["request-id"].startswith("req_")


async def test_models_can_be_listed() -> None:
    async with client(read_script("{models: [a, b], otherwise: {answer: ok}}")) as (http, fake):
        api = sdk(http, fake)
        assert [model.id async for model in api.models.list()] == ["a", "b"]
        assert (await api.models.retrieve("b")).id == "b"
        with pytest.raises(anthropic.NotFoundError):
            await api.models.retrieve("c")
        with pytest.raises(anthropic.NotFoundError):
            await api.messages.create(**{**HELLO, "model": "c"})


async def test_it_works_with_the_sdk_as_people_use_it() -> None:
    async with client(read_script("otherwise: {schema: true}")) as (http, fake):
        schema = {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        }
        form: Any = {"format": {"type": "json_schema", "schema": schema}}
        message = await sdk(http, fake).messages.create(**HELLO, output_config=form)
    block = message.content[0]
    assert block.type == "text"
    assert json.loads(block.text) == fitting(schema) == {"a": 0}


async def test_who_asks_is_told_by_a_header_or_by_metadata() -> None:
    async with client(read_script("conversations: {writer: [hello]}")) as (http, fake):
        await sdk(http, fake).messages.create(**HELLO, metadata={"user_id": "writer"})
    assert fake.requests[0].agent == "writer"


async def test_it_records_what_it_was_asked(tmp_path: Path) -> None:
    """J16: assertions on what was asked. The same question counts once, however it is asked."""
    file = tmp_path / "asked.jsonl"
    script = read_script("rules: [{name: busy, nth: 3, fail: {status: 529}}, {name: good, answer: ok}]")
    async with client(script, record=file) as (http, fake):
        provider = Anthropic(api_key=KEY, base_url=fake.url, http_client=http)
        await provider.ask(asking("one", agent="researcher"))
        await provider.ask(asking("one"), lambda text: None)
        with pytest.raises(Overloaded, match="no room"):
            await provider.ask(asking("two"))
        lines = file.read_text(encoding="utf-8").splitlines()  # while it is still served
        await provider.ask(asking("three"))
        assert fake.distinct() == 2
        shown = (await http.get(f"{fake.url}/_fake/requests")).json()
    assert len(lines) == 3
    assert KEY not in file.read_text(encoding="utf-8")
    asked = read_record(file)
    assert [(one.status, one.rule, one.stream) for one in asked] == [
        (200, "good", False),
        (200, "good", True),
        (529, "busy", False),
        (200, "good", False),
    ]
    assert asked[0].agent == "researcher"
    assert asked[0].digest == asked[1].digest != asked[2].digest
    assert asked[0].body["messages"][0]["content"][0]["text"] == "one"
    assert asked[2].answer["error"]["type"] == "overloaded_error"
    assert shown["distinct"] == 2
    assert len(shown["requests"]) == 4


async def test_a_record_that_cannot_be_written_is_said() -> None:
    with pytest.raises(InvalidInput, match="cannot be written"):
        async with serving(read_script("rules: []"), record="nowhere/asked.jsonl"):
            pass


@pytest.mark.slow
async def test_over_a_socket_answers_break_off_and_stall_as_in_one_process() -> None:
    script = read_script(
        "rules: [{when: {user: cut}, answer: one two three, cut: 5}, "
        "{when: {user: stall}, answer: one two three, stall: 60}, {answer: ok}]"
    )
    heard: list[str] = []
    async with serving(script) as fake:
        provider = Anthropic(api_key=KEY, base_url=fake.url)
        for deliver in (None, heard.append):
            with pytest.raises(Unreachable):
                await provider.ask(asking("cut"), deliver)
            with pytest.raises(TookTooLong):
                await provider.ask(asking("stall"), deliver, timeout=0.2)
        assert "".join(heard).startswith("one t")
        answers = await asyncio.gather(*(provider.ask(asking(f"n {n}")) for n in range(20)))
        assert {answer.text for answer in answers} == {"ok"}
        assert fake.distinct() == 22
        await provider.close()


@pytest.mark.slow
async def test_a_port_that_is_taken_is_said() -> None:
    script = read_script("otherwise: {answer: ok}")
    async with serving(script) as fake:
        port = int(fake.url.rpartition(":")[2])
        with pytest.raises(InvalidInput, match=f"127.0.0.1:{port} cannot be listened on"):
            async with serving(script, port=port):
                pass


CONSORT = [sys.executable, "-m", "consort_orchestrator.cli"]


@contextmanager
def served(
    folder: Path, script: str, *options: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`consort dev fake-llm` as a process, and what it says to export."""
    (folder / "rules.yaml").write_text(script, encoding="utf-8")
    command = [*CONSORT, "dev", "fake-llm", "rules.yaml", "--port", "0", *options]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("export "), process.communicate()[1]
        yield process, dict(pair.split("=", 1) for pair in line.split()[1:])
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
async def test_the_command_serves_a_script_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """J16: `consort dev fake-llm`."""
    script = f"{{keys: [{KEY}], conversations: {{writer: [hello]}}}}"
    with served(tmp_path, script, "--record", "asked.jsonl", "--log") as (process, settings):
        assert settings["ANTHROPIC_API_KEY"] == KEY
        provider = Anthropic(api_key=KEY, base_url=settings["ANTHROPIC_BASE_URL"])
        assert (await provider.ask(asking(agent="writer"))).text == "hello"
        await provider.close()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "writer" in err
    assert "conversations.writer[1]" in err
    assert "1 requests, 1 different" in err
    assert "Traceback" not in err
    assert out == ""
    assert [one.agent for one in read_record(tmp_path / "asked.jsonl")] == ["writer"]


def ended(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    return subprocess.run(
        [*CONSORT, *arguments],
        cwd=folder,
        env={**kept, **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
def test_the_command_checks_a_script(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("rules: [{answer: a}]\nconversations: {x: [a]}\n", encoding="utf-8")
    (tmp_path / "bad.yaml").write_text("rules:\n  - answr: a\n", encoding="utf-8")
    good = ended(tmp_path, "dev", "fake-llm", "--check", "good.yaml")
    assert (good.returncode, good.stdout) == (0, "good.yaml can be played: 1 rules, 1 conversations\n")
    bad = ended(tmp_path, "dev", "fake-llm", "bad.yaml")
    assert bad.returncode == 2
    assert "line 2, rules[0].answr: unknown key `answr`; did you mean `answer`?" in bad.stderr
    missing = ended(tmp_path, "dev", "fake-llm", "missing.yaml")
    assert missing.returncode == 2
    assert "there is no such file" in missing.stderr


@pytest.mark.slow
def test_the_command_lists_providers_without_showing_keys(tmp_path: Path) -> None:
    without = ended(tmp_path, "dev", "models", CONSORT_MODEL="nobody:x")
    assert without.returncode == 0
    assert "CONSORT_MODEL is nobody:x: there is no provider 'nobody'" in without.stdout
    assert "ANTHROPIC_API_KEY" in without.stdout
    given = ended(tmp_path, "dev", "models", "--json", ANTHROPIC_API_KEY=KEY)
    assert KEY not in given.stdout + given.stderr
    assert {one["name"]: one["trouble"] for one in json.loads(given.stdout)} == {
        "anthropic": "",
        "replay": "",
        "scripted": "",
    }
