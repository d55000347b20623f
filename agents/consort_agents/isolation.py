"""Child processes for plain functions, so that one that hangs or crashes harms only its own attempt.

One child per slot, started when it is first needed and kept. It is killed, with all it
started, when its attempt is called off; the slot then gets another. What the function
says on its way comes through a socket and is said here, in the attempt's voice.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from consort_agents.context import Context
from consort_agents.effects import Begun
from consort_agents.errors import AttemptOver, CalledOff, EffectInDoubt, SkillError
from consort_agents.isolated import note_heard
from consort_agents.journal.keeping import as_text
from consort_agents.journal.nesting import within_call
from consort_agents.journal.port import Call, Recorded
from consort_agents.kit import Skill
from consort_agents.performing import Ended, Returned
from consort_agents.pipe import Frame, FrameTooLarge, packed, read_frame
from consort_shared.errors import ConsortError
from consort_shared.failpoints import failpoint
from consort_shared.messages import Declined, Failed
from consort_shared.profiles_file import stated
from consort_shared.telemetry.logs import in_force
from consort_shared.usage import Usage
from consort_shared.values import Json, canonical

START_LIMIT = 60.0
"""Seconds that a child may take to import the agent."""
_OURS = frozenset({"CONSORT_FAILPOINT", "CONSORT_LIFELINE"})
"""Of the environment: meant for the agent's own process."""

log = logging.getLogger("consort.agent")


class Isolation:
    """The children of one agent's process."""

    def __init__(self, agent: str) -> None:
        """`agent` is the name by which a child finds the agent, see `finding`."""
        self._agent = agent
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()

    async def attempt(self, skill: Skill, inputs: Mapping[str, Json], context: Context) -> Ended:
        """What came of one attempt in a child. Raises CancelledError and AttemptOver; cancelled, it kills the child."""
        child = self._idle.pop() if self._idle else _Child(self._agent)
        self._all.add(child)
        try:
            ended = await child.attempt(skill, inputs, context)
        except AttemptOver:
            self._idle.append(child)
            raise
        except BaseException:
            self._discard(child)
            raise
        if ended is None:
            told = f"the process of {skill.card.name} {await child.cause()}"
            self._discard(child)
            return Failed(kind="died", message=told)
        self._idle.append(child)
        return ended

    def close(self) -> None:
        """Kill every child."""
        for child in list(self._all):
            self._discard(child)

    def _discard(self, child: _Child) -> None:
        child.kill()
        self._all.discard(child)


class _Child:
    """One child process, and this end of its socket."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._process: subprocess.Popen[bytes] | None = None
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = 0

    async def attempt(self, skill: Skill, inputs: Mapping[str, Json], context: Context) -> Ended | None:
        """None when the child died on it."""
        if self._ends is None and not await self._started():
            return None
        assert self._ends is not None
        reader, writer = self._ends
        self._turn += 1
        told = {"turn": self._turn, "about": _about(context), "inputs": json.dumps(inputs).encode()}
        try:
            writer.write(packed({"do": "run", **told}))
        except FrameTooLarge as exc:
            return Failed(kind="bad-input", message=f"{skill.card.name}: {exc}", retry=False)
        answering: set[asyncio.Task[None]] = set()
        try:
            while (frame := await read_frame(reader)) is not None:
                match frame["say"]:
                    case "end":
                        return _ended(frame, context)
                    case "progress" if frame["turn"] == self._turn:
                        context.voice.progress(frame["text"], frame["done"], frame["total"])
                    case "ask":
                        answer = asyncio.create_task(self._answer(frame, context, writer))
                        answering.add(answer)
                        answer.add_done_callback(answering.discard)
            return None
        finally:
            await _ended_all(answering)

    async def _started(self) -> bool:
        """Start the process, and wait until it has imported the agent."""
        mine, its = socket.socketpair()
        with its:
            command = [sys.executable, "-m", "consort_agents.isolated"]
            self._process = subprocess.Popen(  # noqa: ASYNC220 # it returns as soon as the program is loaded
                [*command, self._agent, str(its.fileno()), str(os.getpid()), *in_force()],
                stdin=subprocess.DEVNULL,
                pass_fds=(its.fileno(),),
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if name not in _OURS},
            )
        try:
            reader, writer = await asyncio.open_unix_connection(sock=mine)
        except BaseException:
            mine.close()
            raise
        self._ends = reader, writer
        try:
            async with asyncio.timeout(START_LIMIT):
                return await read_frame(reader) is not None
        except TimeoutError:
            self._kill_all()
            return False

    async def cause(self) -> str:
        """How the child ended, in words."""
        process = self._process
        assert process is not None
        loop = asyncio.get_running_loop()
        with suppress(
            ChildProcessError, TimeoutError
        ):  # not reaped yet, so that nobody else can have its number
            ended = os.WEXITED | os.WNOWAIT
            async with asyncio.timeout(START_LIMIT):
                await loop.run_in_executor(None, os.waitid, os.P_PID, process.pid, ended)
        self._kill_all()
        return _in_words(await loop.run_in_executor(None, process.wait))

    def kill(self) -> None:
        """End the child and all it started."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            self._kill_all()
            with suppress(RuntimeError):  # the loop may be closing
                asyncio.get_running_loop().run_in_executor(None, process.wait)
        if self._ends is not None:
            self._ends[1].close()

    def _kill_all(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _answer(self, frame: Frame, context: Context, writer: asyncio.StreamWriter) -> None:
        """Do what the child asks for, and tell it what came of it."""
        answer: Frame = {"do": "answer", "id": frame["id"]}
        try:
            if frame["turn"] != self._turn:
                raise ValueError("the attempt that asks is over")
            answer["value"] = await _done_for(frame, context)
        except AttemptOver as exc:  # `context.effects.over` holds it, to be raised when the child has ended
            answer["error"] = {"type": "over", "text": str(exc)}
        except SkillError as exc:
            answer["error"] = {"type": "skill", "text": str(exc), "kind": exc.kind, "retry": exc.retry}
        except ConsortError as exc:
            answer["error"] = {"type": "bus", "text": str(exc)}
        except (TypeError, ValueError, OverflowError) as exc:
            answer["error"] = {"type": "value", "text": str(exc)}
        try:
            raw = packed(answer)
        except FrameTooLarge as exc:
            raw = packed({"do": "answer", "id": frame["id"], "error": {"type": "value", "text": str(exc)}})
        writer.write(raw)


async def _done_for(frame: Frame, context: Context) -> Any:
    voice = context.voice
    match frame["what"]:
        case "milestone":
            await voice.milestone(frame["text"], frame["done"], frame["total"])
        case "put":
            return (await voice.put(note_heard(frame["note"]))).model_dump()
        case "begin":
            begun = await voice.begin(frame["key"], frame["unknown"])
            if begun.verdict == "do":
                failpoint("effect-allowed")
            elif begun.verdict != "done":
                context.effects.over = EffectInDoubt(begun.key) if begun.verdict == "ask" else CalledOff()
            return {"id": begun.id, "verdict": begun.verdict, "value": canonical(begun.value)}
        case "settle":
            if frame["phase"] == "done":
                failpoint("effect-performed")
            begun = Begun(frame["key"], frame["effect"], "do")
            await voice.settle(begun, frame["phase"], json.loads(frame["value"]))
            if frame["phase"] == "done":
                failpoint("effect-reported")
        case "call" | "called" | "raised" | "replaying":
            return await _journalled_for(frame, context)
        case "store":
            store = context.artefacts.store
            ref = await store.put(frame["data"], media_type=frame["media_type"], name=frame["name"])
            return ref.model_dump()
        case "fetch":
            return await context.artefacts.get(frame["ref"])
    return None


async def _journalled_for(frame: Frame, context: Context) -> Any:
    book = context.journal.book
    match frame["what"]:
        case "replaying":
            return book.replaying
        case "call":
            seen = None if frame["shown"] is None else json.loads(frame["shown"])
            request = json.loads(frame["request"])
            with within_call(frame["within"]):
                begun = await book.begin(
                    frame["kind"], frame["name"], request, wait=frame["wait"], shown=seen
                )
            if isinstance(begun, Recorded):
                return {"n": begun.n, "id": begun.id, "value": as_text(begun.value)}
            failpoint("call-begun")
            return {"n": begun.n, "id": begun.id, "again": begun.again, "value": None}
        case "called":
            failpoint("call-made")
            call = Call(frame["n"], frame["key"], False)
            answered = await book.answer(call, json.loads(frame["value"]), frame["seconds"])
            return as_text(answered.value)
        case _:
            await book.gave_up(Call(frame["n"], frame["key"], False), frame["error"])
    return None


def _about(context: Context) -> bytes:
    told: dict[str, Any] = {
        name: getattr(context, name)
        for name in (
            *("run", "task", "step", "skill", "attempt", "trouble", "deadline", "trace"),
            "profile_version",
        )
    }
    told["profile"] = stated(context.profile)
    told["handoff"] = context.handoff.model_dump(mode="json")
    told["values"] = {
        key: {
            "value": known.value,
            "revision": known.revision,
            "author": known.author,
            "confidence": known.confidence,
        }
        for key, known in context.values.items()
    }
    return json.dumps(told).encode()


def _ended(frame: Frame, context: Context) -> Ended:
    if used := frame.get("used"):
        context.spent(Usage.model_validate(used))
    match frame["how"]:
        case "returned":
            writes = [note_heard(told) for told in frame["writes"]]
            return Returned(json.loads(frame["value"]), writes)
        case "failed":
            return Failed.model_validate(frame["outcome"])
        case "declined":
            return Declined.model_validate(frame["outcome"])
        case _:
            raise context.effects.over or CalledOff()


async def _ended_all(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)


def _in_words(code: int) -> str:
    if code >= 0:
        return f"ended by itself, exit code {code}"
    name = signal.Signals(-code).name
    why = ", perhaps because memory ran out" if name == "SIGKILL" else ""
    return f"was ended by {name}: {signal.strsignal(-code)}{why}"
