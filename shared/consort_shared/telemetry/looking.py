"""A reading that the event loop takes when another thread wants to know, and not too often.

Whoever takes a process's figures does so in a thread of its own; what has to be asked of
the bus can be asked only from the loop. Nobody asks while nobody wants to know, an answer
is good for a while, and the longer it took to get one, the longer.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from consort_shared.errors import ConsortError

SHARE = 0.02
"""The part of the time that readings may take."""
AGAIN = 0.5
"""Seconds after which it is asked again where there was nothing."""

log = logging.getLogger("consort.metrics")
T = TypeVar("T")


class Reading(Generic[T]):
    """Called from any thread: the newest value, `nothing` when none can be had within `limit` seconds.

    `every` is how many seconds a value is good for at least. One that comes too late is there the next time.
    """

    def __init__(
        self, take: Callable[[], Coroutine[Any, Any, T]], nothing: T, *, every: float, limit: float = 1.0
    ) -> None:
        self._take = take
        self._nothing = self._value = nothing
        self._every, self._limit = every, limit
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._due = 0.0
        self._asked: concurrent.futures.Future[tuple[T, float]] | None = None

    def __call__(self) -> T:
        with self._lock:
            if time.monotonic() < self._due:
                return self._value
            self._value, took = self._taken()
            good = AGAIN if self._value == self._nothing else max(self._every, took / SHARE)
            self._due = time.monotonic() + good
            return self._value

    async def _timed(self) -> tuple[T, float]:
        began = time.monotonic()
        return await self._take(), time.monotonic() - began

    def _taken(self) -> tuple[T, float]:
        """The value, and how long it took to get."""
        if self._asked is None:
            work = self._timed()
            try:
                if threading.current_thread() is threading.main_thread():
                    raise RuntimeError("the loop cannot be waited for in its own thread")
                self._asked = asyncio.run_coroutine_threadsafe(work, self._loop)
            except RuntimeError as exc:  # it is closed: the process is ending
                work.close()
                log.debug("a reading cannot be taken: %s", exc)
                return self._nothing, 0.0
        try:
            taken = self._asked.result(self._limit)
        except TimeoutError:
            return self._nothing, 0.0
        except (concurrent.futures.CancelledError, ConsortError) as exc:
            log.debug("a reading cannot be taken now: %s", exc or type(exc).__name__)
            taken = self._nothing, 0.0
        self._asked = None
        return taken
