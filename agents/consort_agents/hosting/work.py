"""Doing a piece of work once: however many ask for it, and whoever dies on the way.

That it begins is on the ledger before the tool is called, and what it gave before anybody is answered. Where
a process finds that another began and died, it does again what may be done twice (an idempotent tool, or one
that takes the key); otherwise the answer is that nobody knows whether it happened. Equal calls that come
while the work goes on wait for the one that does it.

Decides nothing about permissions or turns.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from consort_agents.hosting.answers import error, kept
from consort_agents.hosting.ledger import Ledger
from consort_agents.hosting.served import Served, shared_within_run, takes_key, work_id
from consort_agents.tools.definition import Caller, Tool, ToolAnswer
from consort_bus.artefacts import Artefacts
from consort_shared.failpoints import failpoint
from consort_shared.telemetry.logs import without_words
from consort_shared.tooling import How, ToolBegan, ToolCall, ToolEnded
from consort_shared.values import digest

OVERTIME = 5.0
"""Seconds that a tool is given beyond its own time limit, which it should keep itself."""
_LOOK = (0.05, 0.5)
"""Seconds between looks at work of another process: at first, and at most."""

log = logging.getLogger("consort.tools")
Lives = Callable[[str], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of work: what it is called in the ledger, and the call that asks for it."""

    id: str
    call: ToolCall
    tool: Tool

    @classmethod
    def of(cls, call: ToolCall, tool: Tool) -> Piece:
        name = work_id(tool.definition, call.run, call.arguments, (call.agent, call.id))
        return cls(name, call, tool)

    @property
    def caller(self) -> Caller:
        """Its `call_id` is the same whoever does the work, and however often."""
        call = self.call
        return Caller(
            run=call.run,
            task=call.task,
            step=call.step,
            agent=call.agent,
            call_id=digest([call.host, self.id])[:32],
            deadline=call.deadline,
            trace=call.trace,
        )


class Work:
    """The hands of one process of a host. `lives` tells whether another process of it does."""

    def __init__(
        self, served: Served, ledger: Ledger, artefacts: Artefacts, instance: str, lives: Lives
    ) -> None:
        self._served = served
        self._ledger = ledger
        self._artefacts = artefacts
        self._instance = instance
        self._lives = lives

    async def found(self, piece: Piece) -> ToolEnded | None:
        """The end of a piece of work that was done before and counts for this call. Raises BusError."""
        record = (await self._ledger.newest(piece.call.run, piece.id)).record
        return record if isinstance(record, ToolEnded) and _counts(record, piece) else None

    async def done(self, piece: Piece) -> ToolEnded:
        """What a piece of work gave, done now or by another process. Raises BusError."""
        pause = _LOOK[0]
        while True:
            line = await self._ledger.newest(piece.call.run, piece.id)
            record = line.record
            if isinstance(record, ToolEnded) and _counts(record, piece):
                return record
            ended: ToolEnded | None
            if record is None and line.seq > 0 and not self._repeatable(piece):
                ended = await self._doubted(piece, line.seq)
            elif not isinstance(record, ToolBegan):
                ended = await self._do(piece, line.seq, 1)
            elif record.instance != self._instance and await self._lives(record.instance):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LOOK[1])
                continue
            elif self._repeatable(piece):
                log.info("%s was begun by a process that died: done again", record.tool)
                ended = await self._do(piece, line.seq, record.tries + 1)
            else:
                ended = await self._doubted(piece, line.seq)
            if ended is not None:
                return ended

    def _repeatable(self, piece: Piece) -> bool:
        return piece.tool.definition.idempotent or takes_key(piece.tool)

    async def _do(self, piece: Piece, over: int, tries: int) -> ToolEnded | None:
        """The work itself; None where another process came first."""
        call, limit = piece.call, self._served.quota(piece.call.tool).per_run
        if tries == 1 and limit is not None and not await self._ledger.reserve(call.run, call.tool, limit):
            told = f"run {call.run[:12]} has called {call.tool} {limit} times, which is all that it may"
            return self._ended(piece, "refused", (await kept(error(told, "quota"), self._artefacts))[1], 0.0)
        began = ToolBegan(
            instance=self._instance,
            tool=call.tool,
            by=call.agent,
            request=call.id,
            at=time.time(),
            tries=tries,
        )
        seq = await self._ledger.store(call.run, piece.id, began, over)
        if seq is None:
            return None
        failpoint("tool-began")
        started = time.monotonic()
        how, answer = await _called(piece)
        failpoint("tool-called")
        _, keep = await kept(answer, self._artefacts)
        ended = self._ended(piece, how, keep, time.monotonic() - started)
        if await self._ledger.store(call.run, piece.id, ended, seq) is None:
            log.warning("%s was done, but another process had taken it over", call.tool)
            return None
        failpoint("tool-done")
        return ended

    async def _doubted(self, piece: Piece, over: int) -> ToolEnded | None:
        told = (
            f"{piece.call.tool} was begun, nothing is known of its end, and it cannot be done twice: "
            "whether it happened is not known"
        )
        _, keep = await kept(error(told, "in-doubt"), self._artefacts)
        ended = self._ended(piece, "in-doubt", keep, 0.0)
        stored = await self._ledger.store(piece.call.run, piece.id, ended, over)
        return None if stored is None else ended

    def _ended(self, piece: Piece, how: How, keep: object, seconds: float) -> ToolEnded:
        call = piece.call
        return ToolEnded.model_validate(
            {
                "instance": self._instance,
                "tool": call.tool,
                "by": call.agent,
                "request": call.id,
                "how": how,
                "kept": keep,
                "seconds": seconds,
                "at": time.time(),
            }
        )


def _counts(ended: ToolEnded, piece: Piece) -> bool:
    """Whether an end is the answer to a call: its own always is, another's unless the tool had trouble."""
    if (ended.by, ended.request) == (piece.call.agent, piece.call.id):
        return True
    answer = ended.kept.answer
    fine = ended.how == "done" and (answer is None or not answer.is_error)
    return fine and shared_within_run(piece.tool.definition)


async def _called(piece: Piece) -> tuple[How, ToolAnswer]:
    """Call the tool. What it raises is a defect of it, and an answer that says no more than the kind."""
    definition = piece.tool.definition
    try:
        async with asyncio.timeout(definition.timeout + OVERTIME):
            return "done", await piece.tool.call(piece.call.arguments, piece.caller)
    except TimeoutError:
        told = f"{definition.name} did not end within {definition.timeout:g} s"
        if definition.idempotent:
            return "done", error(told, "timeout")
        return "in-doubt", error(f"{told}: whether it happened is not known", "in-doubt")
    except Exception as exc:  # noqa: BLE001 - a tool is somebody else's code
        log.warning("tool %s raised %s at\n%s", definition.name, type(exc).__name__, without_words(exc))
        return "done", error(f"{definition.name} is broken: it raised {type(exc).__name__}", "defect")
