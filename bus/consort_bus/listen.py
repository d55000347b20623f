"""Hearing what is published and not stored: hints, orders, requests.

Nothing that counts may depend on it: a subscriber misses what is said while it is
away, and also hears appends that the server then refused.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import nats.errors
from nats.aio.msg import Msg

from consort_bus.connection import Bus
from consort_bus.errors import NoAnswer

log = logging.getLogger("consort.bus")


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
    """Call `heard` for each message on a subject while the block lasts; with a queue, one of its members gets each.

    While the bus is away it listens as soon as it is back.
    """

    async def on_message(msg: Msg) -> None:
        await heard(Heard(msg.subject, msg.data, msg.headers or {}, msg.reply))

    subscription = await bus.nc.subscribe(subject, queue=queue, cb=on_message)
    try:
        await bus.barrier()
    except NoAnswer as exc:
        log.debug("listening on %s from the next reconnect on: %s", subject, exc)
    try:
        yield
    finally:
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()
