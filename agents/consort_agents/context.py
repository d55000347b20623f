"""What a skill may know and do beyond its inputs.

A `Context` belongs to one attempt. The worker makes it and plugs in what reaches
the bus; a skill called directly in a test can be given one made by `Context.offline`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from consort_shared.entries import HandOff
from consort_shared.messages import PutAnswer
from consort_shared.values import ArtefactRef, Json, bytes_digest

T = TypeVar("T")
_offline_log = logging.LoggerAdapter(logging.getLogger("consort.skill"), {})


class Store(Protocol):
    """Where artefacts go."""

    async def put(self, data: bytes, *, media_type: str = ..., name: str = ...) -> ArtefactRef: ...

    async def get(self, ref: ArtefactRef) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Value:
    """A context value that the task was given, and where it comes from."""

    value: Json
    revision: int
    author: str
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Noted:
    """A context write that goes out with the result."""

    key: str
    value: Json
    seen: int | None
    confidence: float


@dataclass(slots=True)
class Artefacts:
    """Large or binary values, stored by digest. The `_sync` forms are for plain functions, which run in a thread."""

    store: Store
    loop: asyncio.AbstractEventLoop | None = None

    async def put(
        self, data: bytes, *, name: str = "", media_type: str = "application/octet-stream"
    ) -> ArtefactRef:
        """Store bytes; the reference goes into the skill's result."""
        return await self.store.put(data, name=name, media_type=media_type)

    async def get(self, ref: ArtefactRef | Mapping[str, Json]) -> bytes:
        """The bytes of a reference, checked against its digest. Raises a BusError when they are missing or damaged."""
        return await self.store.get(ref if isinstance(ref, ArtefactRef) else ArtefactRef.model_validate(ref))

    def put_sync(
        self, data: bytes, *, name: str = "", media_type: str = "application/octet-stream"
    ) -> ArtefactRef:
        return self._wait(self.put(data, name=name, media_type=media_type))

    def get_sync(self, ref: ArtefactRef | Mapping[str, Json]) -> bytes:
        return self._wait(self.get(ref))

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self.loop is None:
            return asyncio.run(coroutine)
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()


class MemoryStore:
    """Artefacts in memory, for trying a skill without a bus."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def put(
        self, data: bytes, *, media_type: str = "application/octet-stream", name: str = ""
    ) -> ArtefactRef:
        digest = bytes_digest(data)
        self.kept[digest] = data
        return ArtefactRef(
            artefact=digest, writer="agent.offline", size=len(data), media_type=media_type, name=name
        )

    async def get(self, ref: ArtefactRef) -> bytes:
        return self.kept[ref.artefact]


@dataclass(slots=True)
class Context:
    """The surroundings of one attempt at a step."""

    run: str
    task: str
    step: str
    skill: str
    attempt: int
    artefacts: Artefacts
    handoff: HandOff = field(default_factory=HandOff)
    """what was done before: by whom, with which result, each with its digest"""
    values: Mapping[str, Value] = field(default_factory=dict)
    """the context keys that the step declares, with revision and author"""
    trouble: str = ""
    """why the attempt before this one failed, empty for the first"""
    deadline: float = 0.0
    """seconds since 1970; a result that comes later does not count"""
    log: logging.LoggerAdapter[logging.Logger] = field(default_factory=lambda: _offline_log)
    writes: list[Noted] = field(default_factory=list)
    progress_to: Callable[[str, float | None, float | None], None] | None = None
    milestone_to: Callable[[str, float | None, float | None], Any] | None = None
    put_to: Callable[[Noted], Any] | None = None

    @classmethod
    def offline(cls, skill: str = "", values: Mapping[str, Json] | None = None) -> Context:
        """A context without a bus, for calling a skill directly: artefacts stay in memory."""
        given = {key: Value(value, 1, "offline") for key, value in (values or {}).items()}
        return cls("0" * 32, "0-0", "offline", skill, 1, Artefacts(MemoryStore()), values=given)

    @property
    def context(self) -> dict[str, Json]:
        """The context values that the step declares, by key."""
        return {key: value.value for key, value in self.values.items()}

    def write(self, key: str, value: Json, *, confidence: float = 1.0, seen: int | None = None) -> None:
        """Record a context write; it counts together with the result, or not at all.

        `seen` is the revision it builds on, by default that of the value the task was given under this key, if
        it was given one. When the key has moved on, the result is refused and the step done again with the new value.
        """
        if seen is None and key in self.values:
            seen = self.values[key].revision
        self.writes.append(Noted(key, value, seen, confidence))

    async def put(
        self, key: str, value: Json, *, confidence: float = 1.0, seen: int | None = None
    ) -> PutAnswer:
        """Write a context key now, while the task goes on; whether it was accepted, and the revision that stands."""
        if self.put_to is None:
            return PutAnswer(accepted=False, revision=0, why="no bus")
        answer: PutAnswer = await self.put_to(Noted(key, value, seen, confidence))
        return answer

    def progress(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Tell whoever watches how far the work is. Not stored, costs next to nothing, callable from any thread."""
        if self.progress_to is not None:
            self.progress_to(text, done, total)

    async def milestone(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Put a milestone on record in the run's log; delivered even if no orchestrator is up at the moment."""
        if self.milestone_to is not None:
            await self.milestone_to(text, done, total)

    def save(self, ref: ArtefactRef | Mapping[str, Json], path: Path) -> None:
        """Write an artefact to a file, from a plain function."""
        path.write_bytes(self.artefacts.get_sync(ref))
