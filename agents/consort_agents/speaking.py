"""What an agent says while and after it works: progress, milestones, context writes, reports.

Everything that counts goes to the inbox, sealed with the attempt's token, and is
said again until the bus has stored it: the orchestrator takes a thing said twice
once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TypeVar

from consort_agents.context import Noted
from consort_agents.performing import output_of
from consort_agents.tasks import Task
from consort_bus.artefacts import Artefacts
from consort_bus.connection import Bus
from consort_bus.envelope import AgentSeal, stow
from consort_bus.errors import NoAnswer, StorageFull
from consort_bus.publish import Publisher
from consort_bus.subjects import IncomingSubject, LiveSubject
from consort_shared.codec import encode
from consort_shared.messages import Answer, Outcome, Progress, Put, PutAnswer, Report, Write

PATIENCE = 600.0
"""Seconds to go on trying to have something stored before the task is given back."""
PUT_AGAIN, PUT_PATIENCE = 2.0, 30.0
PROGRESS_LIMIT = 2000

log = logging.getLogger("consort.agent")
T = TypeVar("T")


@lru_cache(maxsize=4096)
def _subject(agent: str, run: str) -> str:
    return str(IncomingSubject("agent", agent, run))


class Speaker:
    """The voice of one agent process."""

    def __init__(
        self, bus: Bus, publisher: Publisher, artefacts: Artefacts, seal: AgentSeal, instance: str
    ) -> None:
        self._bus = bus
        self._publisher = publisher
        self._artefacts = artefacts
        self._seal = seal
        self._instance = instance
        self._answers: dict[str, asyncio.Future[PutAnswer]] = {}

    async def report(self, task: Task, outcome: Outcome, seconds: float) -> None:
        """The last word on an attempt; returns when it is stored. Raises BusError after long trying."""
        await self._say(
            task, Report(task=task.granted.task, instance=self._instance, outcome=outcome, seconds=seconds)
        )

    def milestone_of(self, task: Task) -> Callable[[str, float | None, float | None], Awaitable[None]]:
        async def milestone(text: str, done: float | None, total: float | None) -> None:
            message = Progress(
                task=task.granted.task,
                instance=self._instance,
                text=text[:PROGRESS_LIMIT],
                done=done,
                total=total,
            )
            await self._say(task, message)

        return milestone

    def progress_of(self, task: Task) -> Callable[[str, float | None, float | None], None]:
        loop = asyncio.get_running_loop()

        def progress(text: str, done: float | None, total: float | None) -> None:
            told = {"step": task.granted.path, "text": text[:PROGRESS_LIMIT], "done": done, "total": total}
            subject = str(LiveSubject(task.run, task.granted.agent, task.granted.task))
            loop.call_soon_threadsafe(self._whisper, subject, json.dumps(told).encode())

        return progress

    def put_of(self, task: Task) -> Callable[[Noted], Awaitable[PutAnswer]]:
        async def put(note: Noted) -> PutAnswer:
            write = Write(
                key=note.key,
                output=await output_of(note.value, self._artefacts),
                seen=note.seen,
                confidence=note.confidence,
            )
            return await self._put(task, write)

        return put

    def answered(self, order: Answer) -> None:
        """The orchestrator's answer to a context write has come."""
        waiting = self._answers.get(order.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(order.answer)

    def _whisper(self, subject: str, data: bytes) -> None:
        task = asyncio.ensure_future(self._bus.publish(subject, data))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _put(self, task: Task, write: Write) -> PutAnswer:
        """Ask again until answered: the answer itself may be lost, the question is recognised."""
        put = Put(task=task.granted.task, instance=self._instance, id=secrets.token_hex(8), write=write)
        waiting: asyncio.Future[PutAnswer] = asyncio.get_running_loop().create_future()
        self._answers[put.id] = waiting
        try:
            async with asyncio.timeout(PUT_PATIENCE):
                while True:
                    await self._say(task, put)
                    done, _ = await asyncio.wait({waiting}, timeout=PUT_AGAIN)
                    if done:
                        return waiting.result()
        except TimeoutError:
            raise NoAnswer(f"context key {write.key}", "timeout") from None
        finally:
            del self._answers[put.id]

    async def _say(self, task: Task, message: Report | Progress | Put) -> None:
        subject = _subject(task.granted.agent, task.run)
        payload, headers = await self._patiently(lambda: stow(encode(message), self._artefacts))
        wrapped = self._seal.report(subject, payload, headers, task.run, task.token)
        await self._patiently(
            lambda: self._publisher.publish(wrapped.subject, wrapped.payload, wrapped.headers)
        )

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until it is stored; a bus that is away or full for a while costs time, not the work done."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        pause = 0.1
        while True:
            try:
                return await attempt()
            except (NoAnswer, StorageFull) as exc:
                if loop.time() + pause > until:
                    raise
                log.info("not stored yet, trying again: %s", exc)
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 # jitter
                pause = min(pause * 2, 5.0)
