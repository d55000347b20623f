"""A way from one process to one bus node that can be held up, slowed, cut and meddled with.

What is held is not lost: it arrives when the way is open again, as TCP would see
to after a partition; to lose it, tear the connections down. Only whole frames are
passed on, so a message can be sent twice, late, or behind others. The proxy knows
bytes and subjects; which fault is a partition and which a delay is not its business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from consort_orchestrator.chaos.frames import Frame, Splitter, lonely

_CHUNK = 65536
_HELD_AGAIN = 0.1
_Pair = tuple[asyncio.StreamWriter, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Meddling:
    """What is done to messages that a client publishes under certain subjects.

    A `share` of them, from 0 to 1, arrives up to `lag` seconds late, overtaken by those behind; with `twice` they
    arrive at once and then again.
    """

    prefixes: tuple[str, ...]
    share: float
    lag: float
    twice: bool


class Link:
    """One listening port before one node. `target` gives the node's port, None while it has none."""

    def __init__(self, target: Callable[[], int | None], rng: Random) -> None:
        self._target = target
        self._rng = rng
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = {"up": asyncio.Event(), "down": asyncio.Event()}
        self.latency = 0.0
        """seconds that each chunk is late"""
        self.rate = 0.0
        """bytes a second, 0 for as many as there are"""
        self.meddling: Meddling | None = None
        self.release()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self, *, up: bool = True, down: bool = True) -> None:
        """Let nothing through, to the node (`up`) or from it. New connections get no further either."""
        for way, held in (("up", up), ("down", down)):
            if held:
                self._open[way].clear()

    def release(self) -> None:
        for gate in self._open.values():
            gate.set()

    def reset(self) -> None:
        """Tear down every connection; what was held or under way is lost."""
        for pair in list(self._pairs):
            for writer in pair:
                writer.transport.abort()

    def calm(self) -> None:
        """As if there were no proxy."""
        self.latency = self.rate = 0.0
        self.meddling = None
        self.release()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # asyncio logs a connection's handler that was cancelled; only `close` cancels it
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for gate in self._open.values():
            await gate.wait()
        port = self._target()
        if port is None:
            return
        try:
            node_reader, node_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        pair = (writer, node_writer)
        self._pairs.add(pair)
        ways = (self._pump(reader, node_writer, "up"), self._pump(node_reader, writer, "down"))
        pumps = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._pairs.discard(pair)
            node_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        splitter = Splitter()
        with suppress(OSError, ValueError):
            while data := await reader.read(_CHUNK):
                if self.latency:
                    await asyncio.sleep(self.latency)
                if self.rate:
                    await asyncio.sleep(len(data) / self.rate)
                await self._open[way].wait()
                frames = splitter.feed(data)
                passed = self._sent(frames, writer) if way == "up" else [lonely(one.data) for one in frames]
                writer.write(b"".join(passed))
                await writer.drain()

    def _sent(self, frames: list[Frame], writer: asyncio.StreamWriter) -> list[bytes]:
        """What goes out now; the rest follows by itself."""
        meddling = self.meddling
        if meddling is None:
            return [frame.data for frame in frames]
        passed = []
        for frame in frames:
            struck = frame.subject.startswith(meddling.prefixes) and self._rng.random() < meddling.share
            if struck:
                later = self._rng.uniform(0.0, meddling.lag)
                asyncio.get_running_loop().call_later(later, self._send_late, writer, frame.data)
            if not struck or meddling.twice:
                passed.append(frame.data)
        return passed

    def _send_late(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not self._open["up"].is_set():
            asyncio.get_running_loop().call_later(_HELD_AGAIN, self._send_late, writer, data)
        elif not writer.is_closing():
            writer.write(data)
