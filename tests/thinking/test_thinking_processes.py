"""Agents that think, as real processes: through the SDK before a fake on a port, killed on the way, and traced."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "system"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tracing"))

from collector_kit import over_http
from system_kit import LIMIT, System, system, until

from consort_agents.fake_llm import Fake, read_script, serving
from consort_bus import embedded, subjects
from consort_bus.connection import open_bus
from consort_bus.listen import Heard, listening
from consort_shared.entries import Accepted
from consort_shared.telemetry import names

__all__ = ["system"]
pytestmark = pytest.mark.slow
THINKERS = str(Path(__file__).parent / "thinkers.py")
SECRET = "sk-live-0123456789abcdefghij"

CALLS = 12
TURNS = [
    "{use: [{tool: read_file, input: {name: a.txt}}]}",
    "{use: [{tool: count, input: {words: one two three}}]}",
    "{use: [{tool: note, input: {text: first note}}]}",
]
SCRIPT = f"""
conversations:
  detective:
{
    chr(10).join(
        "  - {answer: "
        + TURNS[n % 3]
        .replace("a.txt", f"file-{n}.txt")
        .replace("three", f"three-{n}")
        .replace("first", f"{n}.")
        + "}"
        for n in range(CALLS - 1)
    )
}
  - {{answer: {{text: "The gardener did it.", usage: {{input: 100, output: 10}}}}}}
"""


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    async with serving(read_script(SCRIPT)) as served:
        yield served


def settings(fake: Fake, **more: str) -> dict[str, str]:
    known = {"ANTHROPIC_BASE_URL": fake.url, "ANTHROPIC_API_KEY": "sk-test-key-0123456789abcdef"}
    return {**known, "CONSORT_MODEL": "claude-sonnet-5-5", **more}


def solving(skill: str = "solve") -> dict[str, object]:
    case = f"the vase is broken, the safe's token={SECRET}"
    return {"steps": {"one": {"skill": skill, "with": {"case": case}}}, "output": "${{ steps.one.output }}"}


async def test_killed_twice_and_nothing_is_paid_twice(system: System, fake: Fake) -> None:
    """G6, S9: a three-tool agent makes 12 calls and is killed after the 7th, twice; exactly 12 requests are made.

    The trace shows the calls of the dead processes as replayed, and no secret is in log, trace or journal.
    """
    with over_http() as collector:
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        traced["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"
        system.orchestrator(env=traced)
        after_seventh = str(2 * 7 - 1)  # a model call, a tool call, a model call, …
        first = system.agent(
            "detective",
            THINKERS,
            env=settings(fake, CONSORT_FAILPOINT=f"call-answered:{after_seventh}", **traced),
        )
        run = await system.run(solving())
        await until(lambda: not first.running)
        assert len(fake.requests) == 7
        second = system.agent(
            "detective", THINKERS, env=settings(fake, CONSORT_FAILPOINT="call-answered:1", **traced)
        )
        await until(lambda: not second.running)
        assert len(fake.requests) == 7
        third = system.agent("detective", THINKERS, env=settings(fake, **traced))
        disturbed = await system.client.result(run, timeout=LIMIT)
        assert len(fake.requests) == fake.distinct() == CALLS
        assert len(system.marked("read")) + len(system.marked("counted")) + len(system.marked("noted")) == 11
        [accepted] = [fact for fact in await system.facts(run) if isinstance(fact, Accepted)]
        assert accepted.usage is not None
        assert (accepted.usage.calls, accepted.usage.replayed) == (CALLS, 7)
        assert accepted.usage.cost > 0
        await until(lambda: _spans(collector, run, "chat"))
        chats, tools = _spans(collector, run, "chat"), _spans(collector, run, "execute_tool")
        assert len(chats) == CALLS
        assert len(tools) == CALLS - 1
        assert sum(bool(span.attributes.get(names.REPLAYED)) for span in chats) == 7
        assert sum(bool(span.attributes.get(names.REPLAYED)) for span in tools) == 7
        calls = sorted(int(str(span.attributes[names.CALL])) for span in [*chats, *tools])
        assert calls == list(range(1, 2 * CALLS))
        made = next(span for span in chats if not span.attributes.get(names.REPLAYED))
        assert made.attributes["gen_ai.request.model"] == "claude-sonnet-5-5"
        assert made.attributes["gen_ai.provider.name"] == "anthropic"
        assert made.attributes["gen_ai.agent.name"] == "detective"
        assert made.attributes["gen_ai.usage.input_tokens"]
        assert made.attributes["gen_ai.response.finish_reasons"]
        assert "vase is broken" in str(made.attributes["gen_ai.input.messages"]), "content was asked for"

        undisturbed = await system.client.result(await system.run(solving()), timeout=LIMIT)
        assert disturbed == undisturbed
        assert undisturbed["role"] == "a detective"
        assert third.running
        shown = repr(collector.told) + "".join(child.log.read_text() for child in system.children)
        journal = repr(_journal(system))
        assert "Solve the case" in journal, "people can see what was asked"
        shown += journal
        for secret in (SECRET, "swordfish", "sk-test-key"):
            assert secret not in shown
    assert SECRET in repr([asking.body for asking in fake.requests]), "the model itself was asked with it"


async def test_a_plain_function_thinks_and_one_in_a_process_of_its_own_is_told(
    system: System, fake: Fake
) -> None:
    system.orchestrator()
    system.agent("detective", THINKERS, env=settings(fake))
    run = await system.run(solving("solve.plain"))
    await system.client.result(run, timeout=LIMIT)
    apart = await system.run(solving("solve.apart"))
    await until_ended(system, apart)
    facts = json.dumps([fact.model_dump(mode="json") for fact in await system.facts(apart)])
    assert "no model can be asked in a process of its own" in facts
    assert len(fake.requests) == 1


async def test_text_is_shown_as_it_is_written(system: System) -> None:
    """What a model writes can be watched while it does."""
    words = "The gardener, in the greenhouse, with the rake. " * 40
    async with serving(read_script(f"{{latency: 0.1, rules: [{{answer: '{words}'}}]}}")) as fake:
        system.orchestrator()
        system.agent("detective", THINKERS, env=settings(fake))
        heard: list[dict[str, object]] = []

        async def hear(message: Heard) -> None:
            heard.append(json.loads(message.data))

        known = embedded.credentials_for(system.folder, "operator", "looker")
        async with open_bus(system.url, known) as bus, listening(bus, "live.>", hear):
            run = await system.run(solving("solve.plain"))
            await system.client.result(run, timeout=LIMIT)
            told = lambda: "".join(str(one.get("tokens", "")) for one in heard)  # noqa: E731
            await until(lambda: told().strip() == words.strip())
        assert len(heard) < 40


async def until_ended(system: System, run: str) -> None:
    async with asyncio.timeout(LIMIT):
        async for _ in system.client.watch(run):
            pass


def _spans(collector: object, run: str, operation: str) -> list[object]:
    spans = collector.of(run)  # type: ignore[attr-defined]
    return [span for span in spans if span.attributes.get(names.GENAI_OPERATION) == operation]


def _journal(system: System) -> list[bytes]:
    """The stream of journals, as it lies on the server's disk."""
    blocks = list(system.folder.rglob(f"*{subjects.JOURNAL}*/**/*.blk"))
    assert blocks
    return [block.read_bytes() for block in blocks]
