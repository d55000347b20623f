"""Large or binary values, as a skill sees them.

Knows that there is a store, not where. A plain function has no event loop of its own, so
what it calls waits for the loop of its process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from consort_shared.values import ArtefactRef, Json, bytes_digest

T = TypeVar("T")


class Store(Protocol):
    """Where artefacts go."""

    async def put(self, data: bytes, *, media_type: str = ..., name: str = ...) -> ArtefactRef: ...

    async def get(self, ref: ArtefactRef) -> bytes: ...


def wait_for(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop | None) -> T:
    """What a coroutine gives, for a plain function; without a loop it is run here.

    Raises RuntimeError on the loop's own thread, which would wait for itself.
    """
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if loop is not None and running is not loop:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    if running is None:
        return asyncio.run(coroutine)
    try:
        if loop is None:
            coroutine.send(None)  # one that needs no loop ends at once
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        with suppress(RuntimeError):  # one that waits for what it cancels cannot be closed
            coroutine.close()
    raise RuntimeError("an async function awaits; the `_sync` forms are for plain functions")


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
        return wait_for(self.put(data, name=name, media_type=media_type), self.loop)

    def get_sync(self, ref: ArtefactRef | Mapping[str, Json]) -> bytes:
        return wait_for(self.get(ref), self.loop)


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
