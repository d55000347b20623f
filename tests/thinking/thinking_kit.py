"""Contexts whose model is Claude's SDK before a scripted Messages API in this process, and journals that go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from consort_agents.context import Context
from consort_agents.fake_llm import Fake, client, read_script
from consort_agents.journal.calls import Calls, offline_book
from consort_agents.journal.store import MemoryJournal
from consort_agents.models.anthropic import Anthropic
from consort_agents.models.scripted import Scripted
from consort_agents.tools.definition import Caller, Definition, ToolAnswer
from consort_shared.profile import Profile
from consort_shared.values import Json

MODEL = "claude-sonnet-5-5"
SOON = "headers: {retry-after-ms: '10'}"


@dataclass
class Desk:
    """One task: its model, its journal, and what its processes asked."""

    fake: Fake
    provider: Anthropic
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    deliveries: int = 0

    async def context(
        self, profile: Profile | Mapping[str, Any] | None = None, tools: Sequence[Any] = ()
    ) -> Context:
        """That of a process which has the task; the second goes on where the first was."""
        self.deliveries += 1
        book = offline_book(self.journal, delivered=self.deliveries)
        await book.open()
        given = profile if isinstance(profile, Profile) else Profile.model_validate(profile or {})
        context = Context.offline(tools=tools, journal=Calls(book), profile=given)
        context.means.model = f"anthropic:{MODEL}"
        context.means.providers[context.means.model] = self.provider
        return context

    @property
    def bodies(self) -> list[Mapping[str, Any]]:
        return [asking.body for asking in self.fake.requests]


@asynccontextmanager
async def claude(script: str) -> AsyncIterator[Desk]:
    """The real SDK before the fake, in this process."""
    async with client(read_script(script)) as (http, fake):
        provider = Anthropic(api_key="test-key-of-nobody", base_url=fake.url, http_client=http)
        yield Desk(fake, provider)


def scripted(script: str, **more: Any) -> Context:
    """A context whose model answers from a script, without a wire."""
    return Context.offline(model=Scripted(read_script(script)), **more)


@dataclass
class Probe:
    """A tool that does what a test says, and takes down its calls."""

    answers: Any
    name: str = "probe"
    idempotent: bool = True
    timeout: float = 5.0
    takes_key: bool = False
    calls: list[tuple[Mapping[str, Json], Caller]] = field(default_factory=list)

    @property
    def definition(self) -> Definition:
        return Definition(
            name=self.name,
            description="Does as told.",
            input_schema={"type": "object", "properties": {"n": {"type": "integer"}}},
            idempotent=self.idempotent,
            risk="read" if self.idempotent else "write",
            timeout=self.timeout,
        )

    async def call(self, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer:
        self.calls.append((arguments, caller))
        answer = self.answers
        if callable(answer):
            answer = await answer(arguments)
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, ToolAnswer) else ToolAnswer(content=str(answer))
