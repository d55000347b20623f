"""What an agent says while and after it works: progress, milestones, context writes, effects, reports.

Everything that counts goes to the inbox, sealed with the attempt's token, and is
said again until the bus has stored it: the orchestrator takes a thing said twice
once. What is asked is asked again until it is answered, because an answer is not
stored and may be lost.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

from consort_agents.context import Noted
from consort_agents.effects import Begun, Unknown
from consort_agents.errors import SkillError
from consort_agents.performing import output_of, write_of
from consort_agents.tasks import Task
from consort_bus.artefacts import Artefacts
from consort_bus.connection import Bus
from consort_bus.envelope import AgentSeal, stow
from consort_bus.errors import BusError, NoAnswer, StorageFull
from consort_bus.publish import Publisher
from consort_bus.subjects import IncomingSubject, LiveSubject
from consort_shared.codec import encode, unpack
from consort_shared.messages import (
    AgentMessage,
    Answer,
    Effect,
    EffectAnswer,
    Heed,
    Outcome,
    Progress,
    Put,
    PutAnswer,
    Report,
)
from consort_shared.usage import NOTHING, Usage
from consort_shared.values import Json

PATIENCE = 600.0
"""Seconds to go on trying to have something stored before the task is given back."""
ASK_AGAIN = 2.0
PUT_PATIENCE, EFFECT_PATIENCE = 30.0, 60.0
FRESH = 1.0
"""Seconds after asking within which an effect that is allowed may begin; later it is asked again."""
LAST_WORD = 0.3
"""Seconds for saying that an effect was not done, when its attempt is being ended."""
PROGRESS_LIMIT = 2000

log = logging.getLogger("consort.agent")
T = TypeVar("T")
Reply = Answer | EffectAnswer


@lru_cache(maxsize=4096)
def _subject(agent: str, run: str) -> str:
    return str(IncomingSubject("agent", agent, run))


@dataclass(frozen=True, slots=True)
class _Question:
    """Who waits for an answer: one is taken only for the attempt that asked."""

    key: tuple[str, str]
    answer: asyncio.Future[Reply]


class Speaker:
    """The voice of one agent process."""

    def __init__(
        self, bus: Bus, publisher: Publisher, artefacts: Artefacts, seal: AgentSeal, instance: str
    ) -> None:
        self._bus = bus
        self._publisher = publisher
        self._seal = seal
        self._questions: dict[str, _Question] = {}
        self.artefacts = artefacts
        self.instance = instance

    async def report(
        self,
        task: Task,
        outcome: Outcome,
        seconds: float,
        *,
        usage: Usage = NOTHING,
        span: str | None = None,
    ) -> None:
        """The last word on an attempt; returns when it is stored. `span` is the one it is said under.

        Raises BusError after long trying.
        """
        report = Report(task=task.granted.task, instance=self.instance, outcome=outcome, seconds=seconds)
        if usage is not NOTHING and usage:
            report = report.model_copy(update={"usage": usage})
        await self.say(task, report, span=span)

    async def heed(
        self,
        task: Task,
        order: Literal["stop", "pause", "resume"],
        how: Literal["stopped", "dropped", "cannot", "goes-on", "held"],
    ) -> None:
        """Acknowledge an order about a task. Raises BusError after long trying."""
        await self.say(task, Heed(task=task.granted.task, instance=self.instance, order=order, how=how))

    def answered(self, order: Reply) -> None:
        """The orchestrator's answer to a question has come."""
        question = self._questions.get(order.id)
        if question is not None and question.key == (order.run, order.task) and not question.answer.done():
            question.answer.set_result(order)

    def whisper(self, subject: str, data: bytes) -> None:
        """Say something that is not stored and may be lost."""
        task = asyncio.ensure_future(self._bus.publish(subject, data))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def ask(
        self, task: Task, question: Put | Effect, patience: float, said: Callable[[], None]
    ) -> Reply:
        """Ask again until answered: the answer itself may be lost, the question is recognised.

        `said` is called once the question is stored. Raises NoAnswer.
        """
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._questions[question.id] = _Question(task.key, waiting)
        try:
            async with asyncio.timeout(patience):
                while True:
                    await self.say(task, question)
                    said()
                    done, _ = await asyncio.wait({waiting}, timeout=ASK_AGAIN)
                    if done:
                        return waiting.result()
        except TimeoutError:
            raise NoAnswer(f"a question of task {task.granted.task}", "timeout") from None
        finally:
            del self._questions[question.id]

    async def say(self, task: Task, message: AgentMessage, *, span: str | None = None) -> None:
        """Have something stored in the inbox. Raises BusError after long trying, ValueError for what cannot travel."""
        subject = _subject(task.granted.agent, task.run)
        body = encode(message)
        payload, headers = await self._patiently(lambda: stow(body, self.artefacts))
        wrapped = self._seal.report(subject, payload, headers, task.run, task.token, span)
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


def _allows(answer: Reply) -> bool:
    return isinstance(answer, EffectAnswer) and answer.verdict == "do"


@dataclass(frozen=True, slots=True)
class AttemptVoice:
    """What one attempt says; the `Voice` of its context."""

    speaker: Speaker
    task: Task
    loop: asyncio.AbstractEventLoop

    def progress(self, text: str, done: float | None, total: float | None) -> None:
        granted = self.task.granted
        told = {"step": granted.path, "text": text[:PROGRESS_LIMIT], "done": done, "total": total}
        subject = str(LiveSubject(self.task.run, granted.agent, granted.task))
        self.loop.call_soon_threadsafe(self.speaker.whisper, subject, json.dumps(told).encode())

    def stream(self, text: str) -> None:
        granted = self.task.granted
        subject = str(LiveSubject(self.task.run, granted.agent, granted.task))
        told = {"step": granted.path, "tokens": text}
        self.loop.call_soon_threadsafe(self.speaker.whisper, subject, json.dumps(told).encode())

    async def milestone(self, text: str, done: float | None, total: float | None) -> None:
        message = Progress(
            task=self.task.granted.task,
            instance=self.speaker.instance,
            text=text[:PROGRESS_LIMIT],
            done=done,
            total=total,
        )
        await self.speaker.say(self.task, message)

    async def put(self, note: Noted) -> PutAnswer:
        """Raises NoAnswer when nobody answers in time."""
        put = Put(
            task=self.task.granted.task,
            instance=self.speaker.instance,
            id=secrets.token_hex(8),
            write=await write_of(note, self.speaker.artefacts),
        )
        answer = await self.speaker.ask(self.task, put, PUT_PATIENCE, lambda: None)
        if not isinstance(answer, Answer):
            raise NoAnswer(f"context key {note.key}", "timeout")
        return answer.answer

    async def begin(self, key: str, unknown: Unknown) -> Begun:
        """Ask whether to do an effect. An attempt that ends while it waits says that it did not do it."""
        question = self._effect(secrets.token_hex(8), key, "begin", unknown=unknown)
        asked: list[bool] = []
        try:
            while True:
                since = time.monotonic()
                answer = await self.speaker.ask(
                    self.task, question, EFFECT_PATIENCE, lambda: asked.append(True)
                )
                # What was allowed a while ago may be another's by now: the process was frozen, or cut off.
                if time.monotonic() - since < FRESH or not _allows(answer):
                    break
        except BaseException as exc:
            if asked:
                await self._not_done(question)
            if isinstance(exc, NoAnswer):
                told = f"nobody answered within {EFFECT_PATIENCE:.0f} s whether effect {key!r} may be done"
                raise SkillError(told, kind="no-answer") from exc
            raise
        if not isinstance(answer, EffectAnswer):
            raise SkillError(f"effect {key!r} was answered as something else", kind="no-answer")
        return Begun(key, question.id, answer.verdict, await self._value(answer))

    async def settle(self, begun: Begun, phase: Literal["done", "undone"], value: Json = None) -> None:
        message = self._effect(begun.id, begun.key, phase)
        if phase == "done":
            message = message.model_copy(update={"output": await output_of(value, self.speaker.artefacts)})
        await self.speaker.say(self.task, message)

    def _effect(
        self, id: str, key: str, phase: Literal["begin", "done", "undone"], *, unknown: Unknown = "ask"
    ) -> Effect:
        task, instance = self.task.granted.task, self.speaker.instance
        return Effect(task=task, instance=instance, id=id, key=key, phase=phase, unknown=unknown)

    async def _not_done(self, question: Effect) -> None:
        try:
            async with asyncio.timeout(LAST_WORD):
                await self.speaker.say(self.task, self._effect(question.id, question.key, "undone"))
        except (BusError, TimeoutError) as exc:
            log.info("that an effect was not begun is not said: %s", exc)

    async def _value(self, answer: EffectAnswer) -> Json:
        output = answer.output
        if output is None or output.ref is None:
            return None if output is None else output.value
        return unpack(await self.speaker.artefacts.get(output.ref))
