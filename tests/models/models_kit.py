"""What tests of models share: a provider over a script, through the real SDK or without a wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consort_agents.fake_llm import Fake, Script, client, read_script
from consort_agents.models.anthropic import Anthropic
from consort_agents.models.port import Provider, Request, ToolSpec, user
from consort_agents.models.scripted import Scripted

KEY = "sk-ant-test-0123456789abcdef"
MODEL = "claude-sonnet-5-5"
SEARCH = ToolSpec(
    name="search",
    description="Searches.",
    input_schema={"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
)


def asking(text: str = "hello", **parts: object) -> Request:
    return Request.model_validate({"model": MODEL, "messages": (user(text),), **parts})


@asynccontextmanager
async def claude(script: str | Script, key: str = KEY) -> AsyncIterator[tuple[Anthropic, Fake]]:
    """The `anthropic` provider with the real SDK, over a fake in this process."""
    played = read_script(script) if isinstance(script, str) else script
    async with client(played) as (http, fake):
        yield Anthropic(api_key=key, base_url=fake.url, http_client=http), fake


@asynccontextmanager
async def provider_of(kind: str, script: str) -> AsyncIterator[Provider]:
    """One of the two ways to play a script."""
    if kind == "scripted":
        yield Scripted(read_script(script))
        return
    async with claude(script) as (provider, _):
        yield provider
