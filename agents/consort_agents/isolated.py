"""The child process of an isolated slot: runs plain skills, one at a time, and can be killed.

Started by the agent's process (`isolation`) with one end of a socket. Imports the
agent anew by its name. What a skill says goes through the socket to the agent's
process, which alone knows the bus. When that process is gone, so is this one.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from consort_agents.artefacts import Artefacts
from consort_agents.context import Context, Noted, Value
from consort_agents.effects import Begun, Unknown
from consort_agents.errors import AgentError, AttemptOver, SkillError
from consort_agents.finding import find_agent
from consort_agents.journal.calls import Calls
from consort_agents.journal.keeping import as_text
from consort_agents.journal.nesting import around, within_call
from consort_agents.journal.port import Call, CallKind, Recorded
from consort_agents.kit import Agent
from consort_agents.performing import Ended, Returned, attempt_here, not_json
from consort_agents.pipe import Frame, FrameTooLarge, packed, receive
from consort_agents.thinking.means import Means
from consort_agents.tracing import inside, service_of
from consort_bus.errors import BusError
from consort_shared.entries import HandOff
from consort_shared.messages import Declined, Failed, PutAnswer
from consort_shared.profile import Profile
from consort_shared.telemetry.logs import About, set_about_everywhere, set_up_logging
from consort_shared.telemetry.tracing import Tracing, open_tracing
from consort_shared.values import ArtefactRef, Json, canonical

_DIE_WITH_PARENT = 1
"""prctl's PR_SET_PDEATHSIG."""
ORPHANED = 70
NO_MODEL_HERE = (
    'no model can be asked in a process of its own; make the skill async, or give it isolation="thread"'
)


class Line:
    """This end of the socket."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._sending = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._asked = 0
        self.work: queue.SimpleQueue[Frame] = queue.SimpleQueue()

    def send(self, frame: Frame) -> None:
        """Raises FrameTooLarge, ValueError, OSError."""
        raw = packed(frame)
        with self._sending:
            self._end.sendall(raw)

    def ask(self, what: str, **told: Any) -> Any:
        """Have the agent's process do something, and its answer. Raises what it raised there: SkillError, BusError."""
        answer: Future[Any] = Future()
        with self._sending:
            self._asked += 1
            number = self._asked
            self._waiting[number] = answer
        try:
            self.send({"say": "ask", "id": number, "what": what, **told})
            return answer.result()
        finally:
            self._waiting.pop(number, None)

    def listen(self) -> None:
        """Take what comes, until the other side is gone: then end, with everything that was started here."""
        while (frame := receive(self._end)) is not None:
            if frame["do"] == "run":
                self.work.put(frame)
            elif (waiting := self._waiting.get(frame["id"])) is not None:
                _answer(waiting, frame)
        os.killpg(0, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class DistantVoice:
    """The voice and the store of a context, on the other side of the socket. Blocks, so it needs no event loop."""

    line: Line
    turn: int
    """which attempt of this process speaks: a thread that an earlier one left behind must not speak for it"""

    def progress(self, text: str, done: float | None, total: float | None) -> None:
        told = {"turn": self.turn, "text": text, "done": done, "total": total}
        self.line.send({"say": "progress", **told})

    def stream(self, text: str) -> None:
        return  # no model is asked from here

    async def milestone(self, text: str, done: float | None, total: float | None) -> None:
        self.line.ask("milestone", turn=self.turn, text=text, done=done, total=total)

    async def put(self, note: Noted) -> PutAnswer:
        return PutAnswer.model_validate(self.line.ask("put", turn=self.turn, note=note_told(note)))

    async def begin(self, key: str, unknown: Unknown) -> Begun:
        told = self.line.ask("begin", turn=self.turn, key=key, unknown=unknown)
        return Begun(key, told["id"], told["verdict"], json.loads(told["value"]))

    async def settle(self, begun: Begun, phase: Literal["done", "undone"], value: Json = None) -> None:
        told = {"key": begun.key, "effect": begun.id, "phase": phase, "value": canonical(value)}
        self.line.ask("settle", turn=self.turn, **told)


@dataclass(frozen=True, slots=True)
class DistantStore:
    """Artefacts, on the other side of the socket."""

    line: Line
    turn: int

    async def put(
        self, data: bytes, *, media_type: str = "application/octet-stream", name: str = ""
    ) -> ArtefactRef:
        told = {"data": data, "media_type": media_type, "name": name}
        return ArtefactRef.model_validate(self.line.ask("store", turn=self.turn, **told))

    async def get(self, ref: ArtefactRef) -> bytes:
        raw: bytes = self.line.ask("fetch", turn=self.turn, ref=ref.model_dump())
        return raw


@dataclass(frozen=True, slots=True)
class DistantBook:
    """The journal, on the other side of the socket; calls are made here."""

    line: Line
    turn: int

    @property
    def replaying(self) -> bool:
        return bool(self.line.ask("replaying", turn=self.turn))

    async def call(
        self,
        kind: CallKind,
        name: str,
        request: Json,
        perform: Callable[[Call], Awaitable[Json]],
        *,
        wait: bool = False,
        shown: Mapping[str, Any] | None = None,
    ) -> Recorded:
        begun = await self.begin(kind, name, request, wait=wait, shown=shown)
        if isinstance(begun, Recorded):
            return begun
        since = time.monotonic()
        try:
            with within_call(begun.n):
                value = await perform(begun)
        except Exception as exc:
            await self.gave_up(begun, type(exc).__name__)
            raise
        return await self.answer(begun, value, time.monotonic() - since)

    async def begin(
        self,
        kind: CallKind,
        name: str,
        request: Json,
        *,
        wait: bool = False,
        shown: Mapping[str, Any] | None = None,
    ) -> Call | Recorded:
        asked = {"kind": kind, "name": name, "request": canonical(request), "wait": wait, "within": around()}
        seen = None if shown is None else canonical(dict(shown))
        told = self.line.ask("call", turn=self.turn, shown=seen, **asked)
        if told["value"] is None:
            return Call(told["n"], told["id"], told["again"])
        return Recorded(told["n"], told["id"], json.loads(told["value"]), replayed=True)

    async def answer(self, call: Call, value: Json, seconds: float) -> Recorded:
        told = {"n": call.n, "key": call.id, "value": as_text(value), "seconds": seconds}
        given = self.line.ask("called", turn=self.turn, **told)
        return Recorded(call.n, call.id, json.loads(given), replayed=False)

    async def gave_up(self, call: Call, error: str) -> None:
        self.line.ask("raised", turn=self.turn, n=call.n, key=call.id, error=error)


def note_told(note: Noted) -> Frame:
    return {
        "key": note.key,
        "value": canonical(note.value),
        "seen": note.seen,
        "confidence": note.confidence,
    }


def note_heard(told: Frame) -> Noted:
    return Noted(told["key"], json.loads(told["value"]), told["seen"], told["confidence"])


def serve(agent: Agent, line: Line, tracing: Tracing | None = None) -> None:
    """Run skills as they are asked for, for ever."""
    line.send({"say": "ready"})
    while True:
        asked = line.work.get()
        context = _context(asked, line)
        skill = agent.skills[context.skill]
        set_about_everywhere(About(context.run, context.step, context.task, context.skill, agent.name))
        try:
            with inside(tracing, context.trace):
                ended = attempt_here(skill, json.loads(asked["inputs"]), context)
            answer = _told(ended)
        except AttemptOver:
            answer = {"how": "over"}
        except (TypeError, ValueError, RecursionError) as exc:
            answer = _told(not_json(skill, exc))
        end = {"say": "end", "used": context.usage.model_dump(exclude_defaults=True)}
        try:
            line.send({**end, **answer})
        except FrameTooLarge as exc:
            told = f"{skill.card.name} returned too much: {exc}; store it as an artefact and return its reference"
            line.send({**end, **_told(Failed(kind="bad-output", message=told, retry=False))})


def _told(ended: Ended) -> Frame:
    match ended:
        case Returned():
            notes = [note_told(note) for note in ended.writes]
            return {"how": "returned", "value": canonical(ended.value), "writes": notes}
        case Failed() | Declined():
            return {"how": ended.outcome, "outcome": ended.model_dump()}


def _context(asked: Frame, line: Line) -> Context:
    about = json.loads(asked["about"])
    told = {"run": about["run"], "task": about["task"], "step": about["step"], "skill": about["skill"]}
    return Context(
        **told,
        attempt=about["attempt"],
        artefacts=Artefacts(DistantStore(line, asked["turn"])),
        handoff=HandOff.model_validate(about["handoff"]),
        values={key: Value(**value) for key, value in about["values"].items()},
        trouble=about["trouble"],
        deadline=about["deadline"],
        trace=about["trace"],
        profile=Profile.model_validate(about["profile"]),
        profile_version=about["profile_version"],
        log=logging.LoggerAdapter(logging.getLogger("consort.skill"), told),
        voice=DistantVoice(line, asked["turn"]),
        means=Means(cannot=NO_MODEL_HERE),
        journal=Calls(DistantBook(line, asked["turn"])),
    )


def _answer(waiting: Future[Any], frame: Frame) -> None:
    error = frame.get("error")
    if error is None:
        waiting.set_result(frame["value"])
    elif error["type"] == "skill":
        waiting.set_exception(SkillError(error["text"], kind=error["kind"], retry=error["retry"]))
    elif error["type"] == "over":
        waiting.set_exception(AttemptOver(error["text"]))
    elif error["type"] == "bus":
        waiting.set_exception(BusError(error["text"]))
    else:
        waiting.set_exception(ValueError(error["text"]))


def _die_with(parent: int) -> None:
    """Where the system can: also while a function holds the interpreter and nobody reads the socket."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(ORPHANED)


def main() -> None:
    """`python -m consort_agents.isolated AGENT DESCRIPTOR PARENT LEVEL STYLE`, for the agent's process to start."""
    name, descriptor, parent, level, style = sys.argv[1:]
    _die_with(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_up_logging(level, style)
    end = socket.socket(fileno=int(descriptor))
    end.set_inheritable(False)
    line = Line(end)
    threading.Thread(target=line.listen, name="line", daemon=True).start()
    try:
        agent = find_agent(name)
    except AgentError as exc:
        sys.exit(f"an isolated slot cannot import its agent: {exc}")
    tracing = open_tracing(service_of(agent.name), f"slot-{os.getpid()}")
    if tracing is not None:
        tracing.become_global()
    serve(agent, line, tracing)


if __name__ == "__main__":
    main()
