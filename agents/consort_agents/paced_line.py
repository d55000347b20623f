"""The calls of one process that share one key: they wait here, and one claimer asks for all of them.

What is written to the bus, always by compare-and-set and with all that is to be said in one write:

* nothing, while no limit is known, nobody was refused lately and the breaker is closed;
* one write for each call that goes, where the key is limited, and one more for a call that has to wait,
  which says so to the others; several calls that may go at once go with one write;
* one write for a refusal (429) or trouble (529, no connection), at once, and one from each other process
  that had sent something in the minute before, if the provider does not tell its limits;
* what a call used beyond the estimate goes with the next write, a second later at the latest;
* where the number of calls at a time is limited, one write when a call ends, and one every ten seconds.

When the bus is away the process goes on with the last state it knows and an even share of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from consort_agents.paced_call import Call
from consort_agents.paced_words import tell_changes
from consort_agents.pacing import PacingLate
from consort_bus.connection import Bus
from consort_bus.errors import BusError
from consort_bus.rates import Known, Rates
from consort_shared.rates import (
    Rate,
    Told,
    Turn,
    Want,
    alone,
    corrected,
    fine,
    free,
    limited,
    saw,
    troubled,
    turn,
)
from consort_shared.telemetry import metrics

log = logging.getLogger("consort.limits")

AT_ONCE = 64
"""Calls of this process that are looked at in one turn."""
LOOK_AGAIN, LOOK_IDLE = 5.0, 30.0
"""Seconds after which the state is read again though nothing was heard: while calls wait, and while they do not."""
CORRECTED_WITHIN = 1.0
WITHIN, WITHIN_AGAIN = 2.0, 0.3
"""Seconds in which a change must succeed, also while the bus does not answer: calls wait for it."""
ONE_WRITE = 0.8
"""Seconds after which it is looked up whether a write was stored whose answer did not come."""
AWAY_FOR = 3.0
"""Seconds for which a bus that did not answer is not asked."""
MOST_NOTES = 200
SERVED_KEPT = 120
FOREVER = 3600.0

Note: TypeAlias = Callable[[Rate], Rate]


class Line:
    """One key in one process."""

    def __init__(self, key: str, claimant: str, rates: Rates, now: Callable[[], float]) -> None:
        self._key = key
        self._claimant = claimant
        self._rates = rates
        self._now = now
        self._known: Known | None = None
        self._stale = False
        self._hint: Rate | None = None
        self._waiting: list[Call] = []
        self._under_way = 0
        self._notes: list[Note] = []
        self._urgent = False
        self._served: dict[int, int] = {}
        self._wake = asyncio.Event()
        self._later: asyncio.TimerHandle | None = None
        self._alone: Rate | None = None
        self._away_until = 0.0
        self._why = "the state of the limits to be read"

    @property
    def breaker(self) -> bool:
        """Whether the breaker is open, as far as this process knows."""
        return self._known is not None and self._known.rate.breaker.openings > 0

    # --- calls

    async def enter(self, call: Call) -> None:
        """Wait until a call may be made. Raises PacingLate."""
        call.came = self._now()
        if not self._is_free(call.came):
            await self._wait(call)
            call.waited = max(0.0, self._now() - call.came)
            metrics.call_waited(self._key, call.waited)
        else:
            self._under_way += 1
        call.began = self._now()
        second = int(call.began)
        if second not in self._served:
            self._served = {at: n for at, n in self._served.items() if at > second - SERVED_KEPT}
        self._served[second] = self._served.get(second, 0) + 1

    def leave(self, call: Call) -> None:
        """A call has ended, with what it was told of its outcome."""
        self._under_way -= 1
        now = self._now()
        told = None if call.seen is None else Told(**call.seen.model_dump())
        if call.refused is not None:
            [retry_after] = call.refused
            self._served[int(call.began)] = self._served.get(int(call.began), 1) - 1
            served = dict(self._served)
            self._note(lambda rate: limited(rate, self._claimant, call.began, retry_after, told, served, now))
        elif call.failed is not None:
            [after] = call.failed
            self._note(lambda rate: troubled(rate, self._claimant, after, now))
        elif call.used is not None:
            self._answered(call, call.used, told, now)
        if self._known is not None and self._known.rate.limits.concurrent is not None:
            self._wake.set()

    def _answered(self, call: Call, used: int, told: Told | None, now: float) -> None:
        rate = Rate() if self._known is None else self._known.rate
        more = used - call.tokens
        if told is not None and saw(rate, told, now) is not rate:
            self._note(lambda rate: saw(rate, told, now))
        if fine(rate, call.began, now) is not rate:
            self._note(lambda rate: fine(rate, call.began, now))
        if corrected(rate, more, now) is not rate:
            self._note(lambda rate: corrected(rate, more, now), urgent=False)

    def _is_free(self, now: float) -> bool:
        known = self._known
        return known is not None and not self._waiting and not self._urgent and free(known.rate, now)

    async def _wait(self, call: Call) -> None:
        call.gone = asyncio.get_running_loop().create_future()
        self._waiting.append(call)
        self._wake.set()
        try:
            async with asyncio.timeout(max(0.0, call.deadline - call.came)):
                await call.gone
        except TimeoutError:
            if not call.gone.done() or call.gone.cancelled():
                raise self._late() from None
        except BaseException:
            if call.gone.done() and not call.gone.cancelled() and call.gone.exception() is None:
                self._under_way -= 1  # it was just let go
            raise
        finally:
            if call in self._waiting:
                self._waiting.remove(call)
                self._wake.set()

    def _late(self) -> PacingLate:
        return PacingLate(
            f"a call under the limits of {self._key} does not come to its turn in time; it waits for {self._why}"
        )

    def _note(self, note: Note, *, urgent: bool = True) -> None:
        """Something to be said to the others, at once or a little later."""
        self._notes = [*self._notes, note][-MOST_NOTES:]
        if self._alone is not None:
            self._alone = note(self._alone)
        if urgent:
            self._urgent = True
            self._wake.set()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(CORRECTED_WITHIN, self._wake.set)

    # --- claiming

    async def serve(self, bus: Bus) -> None:
        """Ask for turns until cancelled."""
        async with self._rates.hearing(bus, self._key, self._heard):
            while True:
                self._wake.clear()
                try:
                    pause = await self._round()
                except (BusError, TimeoutError) as exc:
                    pause = self._lost(exc)
                except Exception:
                    log.exception("limits of %s: a turn failed", self._key)
                    pause = AWAY_FOR
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(pause, 0.001)):
                        await self._wake.wait()

    async def close(self) -> None:
        """Say what is left to be said, and that nothing waits any more; in vain if the bus is away."""
        if self._later is not None:
            self._later.cancel()
        for call in self._waiting:
            if call.gone is not None and not call.gone.done():
                call.gone.set_exception(
                    PacingLate(f"the process ends; a call under {self._key} was not made")
                )
        self._waiting = []
        if self._known is None:
            return
        with suppress(BusError, TimeoutError):
            await self._claim()

    async def _heard(self, rate: Rate) -> None:
        self._hint = rate
        self._wake.set()

    async def _round(self) -> float:
        """Ask once, if that can change anything; seconds until that is worth it. Raises BusError, TimeoutError."""
        now = self._now()
        if time.monotonic() < self._away_until:
            return self._round_alone(now)
        if self._known is not None and not self._notes:
            pause = self._nothing_to_do(self._known, now)
            if pause is not None:
                return pause
        asked = time.monotonic()
        outcome = await self._claim()
        self._back()
        if self._hint is not None and self._known is not None and self._hint.write == self._known.rate.write:
            self._hint = None
        self._settle(outcome)
        return self._pause(outcome.until - self._now(), asked)

    def _nothing_to_do(self, known: Known, now: float) -> float | None:
        """Seconds to wait where the newest that was heard lets no call go and leaves nothing to be said."""
        hint, self._hint = self._hint, None
        if hint is not None and hint.write != known.rate.write:
            self._stale = True
        newest = known.rate if hint is None else hint
        if hint is None and self._stale and self._waiting:
            return None
        if free(newest, now) != free(known.rate, now):
            return None
        state, look = turn(
            newest, self._claimant, self._wants(), now, under_way=self._under_way, served=self._served
        )
        if state is not newest or look.granted or (hint is None and self._waiting and look.until <= now):
            return None
        self._settle(look)
        return self._pause(look.until - now, time.monotonic())

    def _pause(self, seconds: float, asked: float) -> float:
        if self._waiting:
            return min(seconds, LOOK_AGAIN)
        return min(seconds, LOOK_IDLE if self._used_lately() else FOREVER)

    def _used_lately(self) -> bool:
        return max(self._served, default=0) > self._now() - LOOK_IDLE

    def _wants(self) -> list[Want]:
        return [Want(call.run, call.tokens, call.came) for call in self._waiting[:AT_ONCE]]

    async def _claim(self) -> Turn:
        """One change of the state. Raises BusError, TimeoutError."""
        notes, calls = list(self._notes), self._waiting[:AT_ONCE]
        if self._later is not None:
            self._later.cancel()
            self._later = None

        based_on = Rate()

        def decide(rate: Rate) -> tuple[Rate, Turn]:
            nonlocal based_on
            based_on = rate
            for note in notes:
                rate = note(rate)
            wants = [Want(call.run, call.tokens, call.came) for call in calls]
            return turn(
                rate, self._claimant, wants, self._now(), under_way=self._under_way, served=self._served
            )

        async with asyncio.timeout(WITHIN if self._alone is None else WITHIN_AGAIN):
            known = self._known
            if known is None or self._stale:
                known = await self._rates.read(self._key, known)
                self._stale = False
            self._known, outcome = await self._rates.change(self._key, known, decide, within=ONE_WRITE)
        self._notes = self._notes[len(notes) :]
        self._urgent = bool(self._notes)
        tell_changes(self._key, based_on, self._known.rate, self._now())
        self._let_go(outcome, calls)
        return outcome

    def _let_go(self, outcome: Turn, calls: list[Call]) -> None:
        for n in outcome.granted:
            call = calls[n]
            if call in self._waiting:
                self._waiting.remove(call)
                assert call.gone is not None
                if not call.gone.done():
                    self._under_way += 1
                    call.gone.set_result(None)

    def _settle(self, outcome: Turn) -> None:
        """Remember why calls wait; those that cannot go in time need not wait any longer."""
        self._why = outcome.why
        for call in list(self._waiting):
            if outcome.at_least > call.deadline and call.gone is not None and not call.gone.done():
                self._waiting.remove(call)
                call.gone.set_exception(self._late())

    # --- without the bus

    def _lost(self, exc: BusError | TimeoutError) -> float:
        self._away_until = time.monotonic() + AWAY_FOR
        self._stale = True
        now = self._now()
        if self._alone is None:
            log.warning(
                "limits of %s: the bus does not take part (%s); this process keeps to its share",
                self._key,
                exc,
            )
            rate = Rate() if self._known is None else self._known.rate
            for note in self._notes:
                rate = note(rate)
            self._alone = alone(rate, self._claimant, now)
        return self._round_alone(now)

    def _back(self) -> None:
        if self._alone is not None:
            log.info("limits of %s: shared by way of the bus again", self._key)
            self._alone = None

    def _round_alone(self, now: float) -> float:
        assert self._alone is not None
        calls = self._waiting[:AT_ONCE]
        self._alone, outcome = turn(
            self._alone, self._claimant, self._wants(), now, under_way=self._under_way, served=self._served
        )
        self._let_go(outcome, calls)
        self._settle(outcome)
        left = self._away_until - time.monotonic()
        return min(outcome.until - now, max(left, 0.0)) if self._waiting else max(left, 0.0)
