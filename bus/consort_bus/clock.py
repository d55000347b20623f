"""What time it is on the bus.

Deadlines are kept by the server and entries bear the server's time, so whoever compares
its own clock with either needs to know how far the two are apart. One question to the
leader of the log tells: its answer bears the time at which it was made, which lies
between the sending of the question and the arrival of the answer.

What is kept is the relation to the monotonic clock of this process, so setting this
machine's clock changes `skew` and not `now`.
"""

from __future__ import annotations

import json
import time
from collections import deque
from datetime import datetime
from typing import NamedTuple, Protocol

from nats.aio.msg import Msg

from consort_bus.errors import NoAnswer
from consort_bus.jetstream import stream_info
from consort_bus.subjects import LOG

__all__ = ["Asks", "ServerClock"]

_SAMPLES = 8
_DRIFT = 0.005
"""Seconds by which two samples may differ beyond their uncertainty: clocks are not equally fast."""


class Asks(Protocol):
    """A connection: `consort_bus.connection.Bus` or `consort_bus.wire.Wire`."""

    async def request(self, subject: str, /, *, timeout: float = 2.0) -> Msg: ...


class _Sample(NamedTuple):
    """One answer: how far ahead of the monotonic clock the server's is, give or take `uncertainty`."""

    ahead: float
    uncertainty: float


class ServerClock:
    """The clock of the bus, as well as it could be measured. Own time until the first `measure`.

    On a cluster it is the clock of the node that leads the log, the one whose time entries bear.
    Clocks of nodes may differ: when the log gets another leader, the next `measure` follows it, and
    `now` may jump by that difference, backwards too. Timers are fired by the leader of their own
    stream, and a time to live is counted by each node, so deadlines are no more exact than the
    nodes' clocks agree.
    """

    def __init__(self, connection: Asks) -> None:
        self._connection = connection
        self._samples: deque[_Sample] = deque(maxlen=_SAMPLES)

    async def measure(self, timeout: float = 2.0) -> float:
        """Asks once and gives the `skew`, in seconds. `timeout` in seconds.

        Takes the right to ask about the log. Raises NoAnswer, AccessDenied; what was known stays.
        """
        subject = stream_info(LOG)
        sent = time.monotonic()
        msg = await self._connection.request(subject, timeout=timeout)
        arrived = time.monotonic()
        try:
            answered = datetime.fromisoformat(json.loads(msg.data)["ts"]).timestamp()
        except (ValueError, KeyError, TypeError) as exc:
            raise NoAnswer(subject, "no responders") from exc
        self._learn(_Sample(answered - (sent + arrived) / 2, (arrived - sent) / 2))
        return self.skew

    def now(self) -> float:
        """Seconds since 1970 by the clock of the bus."""
        best = self._best
        return time.time() if best is None else time.monotonic() + best.ahead

    @property
    def skew(self) -> float:
        """Seconds by which this machine's clock is ahead of the clock of the bus."""
        return time.time() - self.now() if self._best is not None else 0.0

    @property
    def uncertainty(self) -> float:
        """Seconds by which `now` may be wrong, either way; infinite before the first `measure`."""
        best = self._best
        return float("inf") if best is None else best.uncertainty

    @property
    def _best(self) -> _Sample | None:
        return min(self._samples, key=lambda sample: sample.uncertainty, default=None)

    def _learn(self, sample: _Sample) -> None:
        """A slow answer says little and changes little; one that contradicts what is known replaces it."""
        for known in self._samples:
            if abs(known.ahead - sample.ahead) > known.uncertainty + sample.uncertainty + _DRIFT:
                self._samples.clear()
                break
        self._samples.append(sample)
