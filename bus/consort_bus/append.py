"""The fenced append: a run has one order, and nothing stands in it twice.

An append names the sequence that it expects to be the run's last; the stream
stores it only if that is so. So of all who append after the same sequence one
wins, and what was stored directly behind that sequence decides for ever who it
was. That is the whole of resolving a doubt: after a timeout, a lost connection
or a refusal, ask the leader for the first message behind the expected one.

    it is ours            it was stored, and somebody may have gone on behind it
    it is another's       the run has another owner: FenceRefused
    there is none         our try may still be under way, try again

A reply that was lost is therefore never an error, and a refusal alone proves
nothing: it may be our own earlier try that came first. Entries carry no message
id for the stream's own search for duplicates: it would only forget them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from consort_bus.errors import AppendUnknown, BusError, FenceRefused, NoAnswer, StorageFull
from consort_bus.leading import leader_next
from consort_bus.publish import PublishRefused, WrongLastSequence, parse_ack
from consort_bus.reading import ReadRefused, Stored
from consort_bus.subjects import LOG
from consort_bus.wire import Wire

__all__ = ["ENTRY_HEADER", "Fence"]

ENTRY_HEADER = "Consort-Entry"
"""Names the entry: its writer's instance and a digest, so that no two writers can share it."""
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_EXPECTED_UNDER = "Nats-Expected-Last-Subject-Sequence-Subject"


class Fence:
    """Appends to logs in one stream over one connection."""

    def __init__(self, wire: Wire, stream: str = LOG) -> None:
        self._wire = wire
        self._stream = stream

    async def append(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        filter_subject: str,
        expected: int,
        entry_id: str,
        timeout: float = 2.0,
        patience: float = 30.0,
    ) -> int:
        """Stores an entry directly behind sequence `expected` of `filter_subject`; gives its sequence.

        `expected` is 0 when there is none yet. Each try has `timeout` seconds, all of them together
        `patience`. Raises FenceRefused when another entry stands there; AppendUnknown when that could
        not be found out, so that only reading the log again helps; StorageFull, TooLarge and
        PublishRefused when it was certainly not stored; AccessDenied.
        """
        fenced = {
            **(headers or {}),
            ENTRY_HEADER: entry_id,
            EXPECTED: str(expected),
            _EXPECTED_UNDER: filter_subject,
        }
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while True:
            try:
                msg = await self._wire.request(subject, payload, headers=fenced, timeout=timeout)
                return parse_ack(subject, msg.data, len(payload)).seq
            except (NoAnswer, WrongLastSequence, StorageFull, PublishRefused) as exc:
                trouble: BusError = exc
            try:
                behind = await leader_next(
                    self._wire, self._stream, filter_subject, expected + 1, patience=timeout
                )
                if behind is not None:
                    return _ours(behind, entry_id, subject, expected)
                if isinstance(trouble, StorageFull) or (
                    isinstance(trouble, PublishRefused) and not trouble.passing
                ):
                    raise trouble
            except (NoAnswer, ReadRefused) as exc:  # no leader now, or none that can be reached
                trouble = exc
            pause = random.uniform(0.05, 0.15)  # noqa: S311
            if loop.time() + pause >= until or self._wire.nc.is_closed:
                raise AppendUnknown(subject, str(trouble)) from trouble
            await asyncio.sleep(pause)


def _ours(behind: Stored, entry_id: str, subject: str, expected: int) -> int:
    """The sequence of what stands behind the expected one, if it is our entry."""
    if behind.headers.get(ENTRY_HEADER) != entry_id or behind.subject != subject:
        raise FenceRefused(subject, expected)
    return behind.seq
