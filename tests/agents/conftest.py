"""Fixtures of the tests of the kit for agents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import agent_kit
import pytest
from agent_kit import Orchestrator

from consort_agents.worker import Worker
from consort_bus.connection import Bus


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where agents leave marks."""
    monkeypatch.setenv("MARKS", str(tmp_path))
    return tmp_path


@pytest.fixture
async def play(open_as: object) -> AsyncIterator[Orchestrator]:
    async with AsyncExitStack() as stack:
        orchestrator = await stack.enter_async_context(open_as("orchestrator", "play"))  # type: ignore[operator]
        provisioner = await stack.enter_async_context(open_as("provisioner", "setup"))  # type: ignore[operator]
        yield await stack.enter_async_context(agent_kit.playing(orchestrator, provisioner))


@pytest.fixture
def at_work(open_as: object, marks: Path) -> object:
    """`async with at_work("clerk") as worker`: an agent of the troupe at work in this process."""

    @asynccontextmanager
    async def work(name: str, *, slots: int | None = None, grace: float = 5.0) -> AsyncIterator[Worker]:
        bus: Bus
        async with (
            open_as("agent", name) as bus,  # type: ignore[operator]
            agent_kit.at_work(bus, name, slots=slots, grace=grace) as worker,
        ):
            yield worker

    return work
