"""Whose turn it is: one process asks for those of its calls that may go now.

Runs that wait are served in the order of start-time fair queueing: each has a virtual time
that grows with what it has used, and the smallest goes first, so a run with one call that
waits has its share beside one with twenty. Within a run the oldest goes first.

Nobody hands out turns. Each process computes the same order from the same state, and the
first in it writes that it goes. The kth is due k steps later at the latest: either the pace
has room for it by then too, or those before it have let their turns pass, as a process that
was killed does; who does so three times is forgotten until it says again that it waits.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consort_shared.rates.breaking import LONGEST_SAID, probing, shut
from consort_shared.rates.learning import Served, concluded, counted_in
from consort_shared.rates.paces import CLOCKS, Pace, charged, free, pace_of, ready
from consort_shared.rates.state import Breaker, Held, Rate, Waiter

PATIENCE = 0.15
"""Seconds that whoever is before one in the order is given for its turn."""
MISSES = 3
WAITS_FOR, RENEWED = 60.0, 20.0
"""Seconds that a waiting run is remembered, and how long before their end that is renewed."""
HELD_FOR, HELD_RENEWED = 20.0, 10.0
"""The same for calls under way, where their number is limited: what a killed process holds for so long."""
LINE = 256
"""Waiting runs of processes that are written down; more wait without being known to the others."""


@dataclass(frozen=True, slots=True)
class Want:
    """A call that waits in this process; `since` is when it came."""

    run: str
    tokens: int
    since: float


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of asking: which of the wants may go, and for the rest when to ask again, and why they wait."""

    granted: tuple[int, ...] = ()
    until: float = float("inf")
    why: str = ""
    at_least: float = 0.0
    """before which none of the rest can go, whatever happens"""


def turn(
    rate: Rate,
    claimant: str,
    wants: Sequence[Want],
    now: float,
    *,
    under_way: int = 0,
    served: Served | None = None,
) -> tuple[Rate, Turn]:
    """What a process may do now. `under_way` is how many of its calls have not ended.

    Gives the very state it was given when there is nothing to write, as for calls that nothing limits.
    """
    before = rate
    rate = current = _current(rate, now)
    rate = counted_in(concluded(rate, now), claimant, served or {})
    if free(rate, now):
        rate = _waiting(rate, claimant, [], now)
        return (before if rate == current else rate), Turn(tuple(range(len(wants))))
    pace = pace_of(rate, now)
    left = dict(enumerate(wants))
    granted: list[int] = []
    until, why, at_least = float("inf"), "", 0.0
    rate = _holding(rate, pace, claimant, under_way, now)
    while left:
        until, why = _gate(rate, pace, claimant, now)
        if until > now:
            break
        chosen, due, ahead = _place(rate, pace, claimant, left, now)
        if due > now:
            until, why = due, _why_paced(rate, pace, len(ahead))
            break
        if now >= ready(rate, pace, now) + PATIENCE:
            rate = _missed(rate, ahead)
        want = left.pop(chosen)
        granted.append(chosen)
        rate = probing(charged(rate, pace, claimant, want.run, want.tokens, now), claimant, now)
        rate = _holding(rate, pace, claimant, under_way + len(granted), now)
    if left:
        at_least = ready(rate, pace, now)
    else:
        until, why = float("inf"), ""
    rate = _waiting(rate, claimant, [left[n] for n in sorted(left)], now)
    held = rate.held.get(claimant)
    if held is not None:
        until = min(until, held.expires - HELD_RENEWED)
    unchanged = not granted and rate == current  # that something ran out is not worth a write
    return (before if unchanged else rate), Turn(tuple(granted), until, why, at_least)


def corrected(rate: Rate, tokens: int, now: float) -> Rate:
    """Calls used so many more tokens than was assumed when they went, or less."""
    pace = pace_of(rate, now)
    if not pace.token or not tokens:
        return rate
    return rate.model_copy(update={"next_tokens": rate.next_tokens + tokens * pace.token})


def alone(rate: Rate, claimant: str, now: float) -> Rate:
    """What is left to a process that hears nothing of the others: an even share among those that were there."""
    others = {waiter.claimant for waiter in rate.waiting} | {
        who for who, at in rate.seen.items() if at > now - 60
    }
    held = {who: held for who, held in rate.held.items() if who == claimant}
    share = 1 / len(others | {claimant})
    return rate.model_copy(update={"share": share, "waiting": (), "held": held})


def _gate(rate: Rate, pace: Pace, claimant: str, now: float) -> tuple[float, str]:
    """Until when no call of a process can go whatever its place, and why; in the past if one can."""
    if now < rate.blocked_until:
        return rate.blocked_until, "everybody waits after a refusal for the rate"
    open_until = shut(rate, now)
    if open_until is not None:
        return open_until, "the breaker is open: the provider is overloaded or cannot be reached"
    if pace.concurrent is not None and _under_way(rate) >= pace.concurrent:
        ends = [held.expires for who, held in rate.held.items() if who != claimant]
        return min(ends, default=now + HELD_FOR), f"{pace.concurrent} calls are under way"
    return 0.0, ""


def _place(
    rate: Rate, pace: Pace, claimant: str, wants: dict[int, Want], now: float
) -> tuple[int, float, list[Waiter]]:
    """The first want of a process in the fair order, when it is due, and who is before it."""
    queues = _queues(rate, claimant, wants)
    order = [
        (max(rate.finish.get(run, 0.0), rate.virtual), queue[0][0], run) for run, queue in queues.items()
    ]
    heapq.heapify(order)
    ahead: list[Waiter] = []
    while True:
        tag, _, run = heapq.heappop(order)
        queue = queues[run]
        _, _, who = queue.pop(0)
        if isinstance(who, int):
            return who, _due(rate, pace, wants[who], len(ahead), now), ahead
        ahead.append(who)
        if queue:
            heapq.heappush(order, (tag + pace.cost(who.tokens), queue[0][0], run))


def _queues(
    rate: Rate, claimant: str, wants: dict[int, Want]
) -> dict[str, list[tuple[float, str, Waiter | int]]]:
    """By run, who waits, the oldest first: others as they have said, and each want of one's own."""
    queues: dict[str, list[tuple[float, str, Waiter | int]]] = {}
    for waiter in rate.waiting:
        if waiter.claimant != claimant:
            queues.setdefault(waiter.run, []).append((waiter.since, waiter.claimant, waiter))
    for n, want in wants.items():
        queues.setdefault(want.run, []).append((want.since, f"{claimant}:{n:06}", n))
    for queue in queues.values():
        queue.sort(key=lambda one: one[:2])
    return queues


def _due(rate: Rate, pace: Pace, want: Want, place: int, now: float) -> float:
    """When the call at a place in the order may go."""
    step = min(pace.cost(want.tokens), PATIENCE) if pace.request or pace.token else 0.0
    due = place * step
    if rate.breaker.openings:
        due = place * PATIENCE  # there is room for one
    elif pace.concurrent is not None:
        due = max(due, (place + 1 - (pace.concurrent - _under_way(rate))) * PATIENCE)
    return ready(rate, pace, now) + due


def _missed(rate: Rate, ahead: Sequence[Waiter]) -> Rate:
    missed = {(waiter.claimant, waiter.run) for waiter in ahead}
    if not missed:
        return rate
    waiting = [
        one.model_copy(update={"missed": one.missed + 1}) if (one.claimant, one.run) in missed else one
        for one in rate.waiting
    ]
    return rate.model_copy(update={"waiting": tuple(one for one in waiting if one.missed < MISSES)})


def _waiting(rate: Rate, claimant: str, wants: Sequence[Want], now: float) -> Rate:
    """Write down which runs wait in a process, one place each."""
    before = {one.run: one for one in rate.waiting if one.claimant == claimant}
    firsts: dict[str, Want] = {}
    counts: dict[str, int] = {}
    for want in sorted(wants, key=lambda want: want.since):
        firsts.setdefault(want.run, want)
        counts[want.run] = counts.get(want.run, 0) + 1
    own = {run: _renewed(before.get(run), claimant, want, counts[run], now) for run, want in firsts.items()}
    if own == before:
        return rate
    others = [one for one in rate.waiting if one.claimant != claimant]
    return rate.model_copy(update={"waiting": (*others, *own.values())[:LINE]})


def _renewed(before: Waiter | None, claimant: str, want: Want, count: int, now: float) -> Waiter:
    same = before is not None and (before.since, before.tokens) == (want.since, want.tokens)
    if before is not None and same and before.expires > now + RENEWED:
        return before
    return Waiter(
        claimant=claimant,
        run=want.run,
        since=want.since,
        tokens=want.tokens,
        count=count,
        expires=now + WAITS_FOR,
    )


def _holding(rate: Rate, pace: Pace, claimant: str, count: int, now: float) -> Rate:
    """Write down how many calls a process has under way, where that is limited."""
    before = rate.held.get(claimant)
    if before is None and (not count or pace.concurrent is None):
        return rate
    renew = before is None or before.expires < now + HELD_RENEWED + 0.5
    if before is not None and before.count == count and not renew:
        return rate
    held = {who: one for who, one in rate.held.items() if who != claimant}
    full = pace.concurrent is not None and _under_way(rate) >= pace.concurrent
    if count and pace.concurrent is not None:
        held[claimant] = Held(count=count, expires=now + HELD_FOR)
    less = full and before is not None and count < before.count
    return rate.model_copy(update={"held": held, **({"free_since": now} if less else {})})


def _current(rate: Rate, now: float) -> Rate:
    """Without what has run out, and without times that only a wrong clock can have written."""
    latest = now + LONGEST_SAID + CLOCKS
    times = {
        "blocked_until": rate.blocked_until,
        "next_request": rate.next_request,
        "next_tokens": rate.next_tokens,
    }
    wrong: dict[str, Any] = {name: now for name, at in times.items() if at > latest}
    if rate.breaker.open_until > latest:
        wrong["breaker"] = Breaker()
    if rate.free_since > now + CLOCKS:
        wrong["free_since"] = now
    if wrong:
        rate = rate.model_copy(update=wrong)
    waiting = tuple(one for one in rate.waiting if one.expires > now)
    if len(waiting) < len(rate.waiting):
        rate = rate.model_copy(update={"waiting": waiting})
    gone = [held.expires for held in rate.held.values() if held.expires <= now]
    if gone:
        held = {who: one for who, one in rate.held.items() if one.expires > now}
        rate = rate.model_copy(update={"held": held, "free_since": max(rate.free_since, *gone)})
    return rate


def _under_way(rate: Rate) -> int:
    return sum(held.count for held in rate.held.values())


def _why_paced(rate: Rate, pace: Pace, ahead: int) -> str:
    what = (
        "a limit of tokens" if pace.token and rate.next_tokens > rate.next_request else "a limit of requests"
    )
    before = f", {ahead} before it" if ahead else ""
    return f"its turn under {what} a minute{before}"
