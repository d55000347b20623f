"""The breaker: a provider that is overloaded or cannot be reached is left alone for a while, by everybody.

Failures count together, whichever process met them, as long as no call that began after
the newest of them was answered. `FAILURES` within `WINDOW` open the breaker. When its time
is up one process sends one call; its answer closes the breaker, its failure opens it for
twice as long.
"""

from __future__ import annotations

from consort_shared.rates.state import Breaker, Rate

FAILURES, WINDOW = 5, 30.0
FIRST_OPEN, LONGEST_OPEN = 5.0, 60.0
"""Seconds that it is open the first time, and at most unless the provider says more."""
PROBE_FOR = 30.0
"""Seconds after which another process may probe, should nothing be heard of the first."""
LONGEST_SAID = 3600.0
"""Seconds that a provider is believed at most."""


def troubled(rate: Rate, claimant: str, retry_after: float | None, now: float) -> Rate:
    """A call met an overloaded provider, or none."""
    breaker = rate.breaker
    if breaker.openings and (now < breaker.open_until or breaker.probe not in ("", claimant)):
        return rate  # from before it was opened
    failures = (*(at for at in breaker.failures if at > now - WINDOW), now)[-FAILURES:]
    if not breaker.openings and len(failures) < FAILURES:
        return rate.model_copy(update={"breaker": Breaker(failures=failures)})
    seconds = min(LONGEST_OPEN, FIRST_OPEN * 2.0 ** min(breaker.openings, 10))
    seconds = max(seconds, min(retry_after or 0.0, LONGEST_SAID))
    opened = Breaker(failures=failures, openings=breaker.openings + 1, open_until=now + seconds)
    return rate.model_copy(update={"breaker": opened})


def fine(rate: Rate, began: float, now: float) -> Rate:
    """A call that began at a time was answered, if only with a refusal for its rate."""
    breaker = rate.breaker
    if not breaker.failures or began <= max(breaker.failures):
        return rate
    more = {"free_since": now} if breaker.openings else {}
    return rate.model_copy(update={"breaker": Breaker(), **more})


def shut(rate: Rate, now: float) -> float | None:
    """Until when the breaker lets no call go; None if one may go now."""
    breaker = rate.breaker
    if not breaker.openings:
        return None
    if now < breaker.open_until:
        return breaker.open_until
    if breaker.probe and now < breaker.probe_until:
        return breaker.probe_until
    return None


def probing(rate: Rate, claimant: str, now: float) -> Rate:
    """A call goes: it is the probe if the breaker is open."""
    if not rate.breaker.openings:
        return rate
    probe = {"probe": claimant, "probe_until": now + PROBE_FOR}
    return rate.model_copy(update={"breaker": rate.breaker.model_copy(update=probe)})
