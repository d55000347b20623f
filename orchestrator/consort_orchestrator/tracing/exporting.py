"""What an orchestrator does for traces, if anything: the one place that the shell asks.

Without an exporter nothing is followed and no SDK is imported.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from consort_bus.artefacts import Artefacts
from consort_bus.errors import BusError
from consort_bus.wire import Wire
from consort_orchestrator.core import Run
from consort_orchestrator.tracing.following import Traced
from consort_shared.telemetry.span_ids import parse_traceparent
from consort_shared.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from consort_orchestrator.tracing.making_good import MakingGood

log = logging.getLogger("consort.telemetry")


class Spans:
    """No spans are exported; whether a run's trace is wanted is left to who handed it in."""

    follow: Callable[[str], Traced] | None = None

    @staticmethod
    def of(tracing: Tracing | None, writer: str, wire: Wire, artefacts: Artefacts) -> Spans:
        """The spans of the orchestrator that is called `writer`."""
        return Spans() if tracing is None else _Exported(tracing, writer, wire, artefacts)

    def sampled(self, run: Run) -> bool:
        """Whether those who work on a run should trace it."""
        caller = parse_traceparent(run.caller) if run.caller else None
        return caller is None or caller.sampled

    def gone(self, writers: Sequence[str], there: Sequence[str]) -> None:
        """Orchestrators have fallen silent; `there` are the instances that are left."""

    async def run(self, accounted_for: Callable[[], Awaitable[Sequence[str]]]) -> None:
        """What is to be done beside the work, until cancelled.

        `accounted_for`: the instances that are there, or took their leave and with it their spans.
        """


class _Exported(Spans):
    """Spans are exported, and those of others when they are gone."""

    def __init__(self, tracing: Tracing, writer: str, wire: Wire, artefacts: Artefacts) -> None:
        from consort_orchestrator.tracing.emitting import Emitting
        from consort_orchestrator.tracing.making_good import MakingGood

        emitting = Emitting(tracing, writer)
        self.follow = emitting.follow
        self._emitting = emitting
        self._making_good: MakingGood = MakingGood(emitting, wire, artefacts)
        self._writer = writer
        self._gone: asyncio.Queue[Sequence[str]] = asyncio.Queue()

    def sampled(self, run: Run) -> bool:
        return self._emitting.sampled(run)

    def gone(self, writers: Sequence[str], there: Sequence[str]) -> None:
        if self._writer.endswith(f"-{min(there)}"):  # one of those that are left is enough
            self._gone.put_nowait(writers)

    async def run(self, accounted_for: Callable[[], Awaitable[Sequence[str]]]) -> None:
        try:
            present = await accounted_for()
        except BusError as exc:
            log.info("which orchestrators are there cannot be read now: %s", exc)
        else:
            await self._making_good.of_those_before(present)
        while True:
            await self._making_good.after_death_of(await self._gone.get())
