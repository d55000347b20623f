"""Fixtures of the tests of the kit for agents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import agent_kit
import pytest
from agent_kit import Orchestrator

from consort_agents.worker import Worker
from consort_bus.connection import Bus
from consort_bus.embedded import Embedded
from ready_bus import ready_bus


@pytest.fixture
def embedded_bus(tmp_path: Path) -> Iterator[Embedded]:
    """A bus of the test's own: what is left of the tasks of one test must not come to the agents of the next."""
    with ready_bus(tmp_path / "bus") as server:
        yield server


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
