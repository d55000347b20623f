"""Hearing what is published and not stored: hints, orders, requests.

Nothing that counts may depend on it: a subscriber misses what is said while it is
away, and also hears appends that the server then refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import nats.errors
from nats.aio.msg import Msg

from consort_bus.connection import Bus


@dataclass(frozen=True, slots=True)
class Heard:
    """A message as it came by."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    reply: str


@asynccontextmanager
async def listening(
    bus: Bus, subject: str, heard: Callable[[Heard], Awaitable[None]], *, queue: str = ""
) -> AsyncIterator[None]:
    """Call `heard` for each message on a subject while the block lasts; with a queue, one of its members gets each."""

    async def on_message(msg: Msg) -> None:
        await heard(Heard(msg.subject, msg.data, msg.headers or {}, msg.reply))

    subscription = await bus.nc.subscribe(subject, queue=queue, cb=on_message)
    await bus.barrier()
    try:
        yield
    finally:
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()
