"""How fast calls may go under what is known, and what one that goes uses up.

Requests and tokens each have a time before which the next may not go (the generic cell rate
algorithm). It may lag behind the clock by `TOLERANCE`, so lateness is made good and a second
of the limit may go at once. With `PART` of the limit as the pace, no window of a minute
sees more requests than the limit:

    0.97 L (60 + tolerance) / 60 + 1  <  L + 1    for every tolerance under 1.85 s

The rest of that is for clocks that differ and for calls that travel at different speeds.
Tokens are bounded in the same way, but for the size of one call.
"""

from __future__ import annotations

from dataclasses import dataclass

from consort_shared.rates.state import Limits, Rate, Used

PART, TOLERANCE = 0.97, 1.0
"""Part of a limit that is used; seconds of lateness that are made good."""
TOLD_KEPT, REFUSED_KEPT = 600.0, 3600.0
"""Seconds for which a learned limit holds after it was told under pressure, or concluded."""
CAREFUL_FOR, CAREFUL_PACE = 60.0, 0.2
"""After a refusal that taught no limit: for so many seconds, so many between two calls."""
RECOVERY = 0.1 / 600
"""Part of a limit by which easing goes back, a second."""
SLOT, SLOTS = 5, 12
TOLD_WAIT = 6.0
"""Seconds that a provider is given to fill up again when limits are learned, at most."""
CLOCKS = 5.0
"""Seconds by which a time from another process may lie too far ahead before it is not believed."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that one request and one token take up; 0 where nothing is limited."""

    request: float = 0.0
    token: float = 0.0
    concurrent: int | None = None

    @property
    def unlimited(self) -> bool:
        return not self.request and not self.token and self.concurrent is None

    def cost(self, tokens: int) -> float:
        """Seconds of the tighter limit that a call takes up; 1 where neither is limited."""
        return max(self.request, tokens * self.token) or 1.0


def in_force(rate: Rate, now: float) -> Limits:
    """The limits that count: the configured ones, unless a learned one is lower."""
    learned, limits = rate.learned, rate.limits
    if learned is None or now >= learned.at + (TOLD_KEPT if learned.how == "told" else REFUSED_KEPT):
        return limits
    return Limits(
        requests_per_minute=_lower(limits.requests_per_minute, learned.requests_per_minute),
        tokens_per_minute=_lower(limits.tokens_per_minute, learned.tokens_per_minute),
        concurrent=limits.concurrent,
    )


def pace_of(rate: Rate, now: float) -> Pace:
    limits = in_force(rate, now)
    part = PART * easing(rate, now) * rate.share
    request = 60 / (limits.requests_per_minute * part) if limits.requests_per_minute else 0.0
    token = 60 / (limits.tokens_per_minute * part) if limits.tokens_per_minute else 0.0
    refusal = rate.refusal
    if not request and not token and refusal is not None and now < refusal.at + CAREFUL_FOR:
        request = CAREFUL_PACE
    concurrent = limits.concurrent and max(1, int(limits.concurrent * rate.share))
    return Pace(request, token, concurrent)


def easing(rate: Rate, now: float) -> float:
    """The part of the limits that is used at the moment; 1 unless they did not prevent a refusal."""
    return min(1.0, rate.eased + max(0.0, now - rate.eased_at) * RECOVERY)


def free(rate: Rate, now: float) -> bool:
    """Whether a call may go without a word to anybody."""
    refusal = rate.refusal
    return (
        now >= rate.blocked_until
        and not rate.breaker.openings
        and not (refusal is not None and refusal.pending)
        and pace_of(rate, now).unlimited
    )


def ready(rate: Rate, pace: Pace, now: float) -> float:
    """When the next call may go, as far as rates decide. In the past where it might have gone already."""
    times = [rate.blocked_until, rate.free_since, rate.breaker.open_until]
    # A process with a wrong clock must not stop the others for long.
    if pace.request and rate.next_request <= max(now, rate.blocked_until) + pace.request + TOLD_WAIT + CLOCKS:
        times.append(rate.next_request)
    if pace.token:
        times.append(rate.next_tokens)
    return max(times)


def charged(rate: Rate, pace: Pace, claimant: str, run: str, tokens: int, now: float) -> Rate:
    """A call goes: it takes up its part of the limits, and its run its turn."""
    start = max(rate.finish.get(run, 0.0), rate.virtual)
    finish = {one: end for one, end in rate.finish.items() if end > start}
    finish[run] = start + pace.cost(tokens)
    seen = {who: at for who, at in rate.seen.items() if at > now - 60}
    seen[claimant] = now
    return rate.model_copy(
        update={
            "next_request": _next(rate.next_request, rate, now) + pace.request,
            "next_tokens": _next(rate.next_tokens, rate, now) + pace.token * tokens,
            "virtual": start,
            "finish": finish,
            "seen": seen,
            "used": _counted(rate.used, tokens, now),
        }
    )


def used(rate: Rate, now: float) -> tuple[int, int]:
    """Requests and tokens of the last minute that went by way of the bus."""
    recent = [one for one in rate.used if one.slot > int(now) // SLOT - SLOTS]
    return sum(one.requests for one in recent), sum(one.tokens for one in recent)


def _next(earliest: float, rate: Rate, now: float) -> float:
    """Lateness is made good, but for what was waited because of a refusal."""
    return max(earliest, now - TOLERANCE, min(rate.blocked_until, now))


def _counted(before: tuple[Used, ...], tokens: int, now: float) -> tuple[Used, ...]:
    slot = int(now) // SLOT
    kept = [one for one in before if one.slot > slot - SLOTS]
    if kept and kept[-1].slot >= slot:
        last = kept.pop()
        kept.append(Used(slot=last.slot, requests=last.requests + 1, tokens=last.tokens + tokens))
    else:
        kept.append(Used(slot=slot, requests=1, tokens=tokens))
    return tuple(kept)


def _lower(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
