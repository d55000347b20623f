"""What refusals and a provider's headers teach about limits that nobody configured.

A refusal (429) stops everybody once, for as long as the provider says. Calls that were under
way then are refused for the same reason and teach nothing more. Where the provider does not
tell its limits, those who share the key add up what they had sent in the minute before, which
is what the provider allows. A refusal in spite of known limits means that somebody else uses
the key too: a tenth less of them is used for a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consort_shared.rates.breaking import LONGEST_SAID, fine
from consort_shared.rates.paces import easing, in_force, pace_of
from consort_shared.rates.state import Learned, Limits, Rate, Refusal

SHORTEST, FIRST_GUESS, LONGEST_GUESS = 0.5, 2.0, 60.0
"""Seconds that everybody waits at least, and how long where the provider does not say: doubled each time in a row."""
LEAST_SERVED = 5
"""Calls that must have been served for a refusal to tell a limit."""
AT_ONCE, TOO_MUCH = 10.0, 0.7
"""Seconds between two refusals that tell that the pace was far too high, and what part of it is tried then."""
LEAST_EASED = 0.2
RENEWED = 60.0
"""Seconds after which a limit that is told again is written again."""
RESERVE = 0.1
"""Part of a limit that a provider is given time to fill up again, when limits are learned: `TOLD_WAIT` of it."""

Served = Mapping[int, int]
"""How many calls one process had served, by the second in which they began."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a provider's headers say."""

    requests_per_minute: int | None = None
    requests_left: int | None = None
    tokens_per_minute: int | None = None
    tokens_left: int | None = None

    @property
    def pressing(self) -> bool:
        """Whether less than half of a limit is left. With more, nobody has to be asked."""
        return _under(self.requests_left, self.requests_per_minute) or _under(
            self.tokens_left, self.tokens_per_minute
        )


def saw(rate: Rate, told: Told, now: float) -> Rate:
    """An answer told of limits. Changes nothing as long as they are far away."""
    if told.requests_per_minute is None and told.tokens_per_minute is None:
        return rate
    learned = rate.learned
    known = in_force(rate, now)
    if learned is not None and known != rate.limits and learned.how == "told":
        same = (learned.requests_per_minute, learned.tokens_per_minute) == (
            told.requests_per_minute,
            told.tokens_per_minute,
        )
        if not same or (told.pressing and now > learned.at + RENEWED):
            return _learned(rate, told, now)
        return rate
    return _learned(rate, told, now) if told.pressing and _lowers(told, known) else rate


def limited(
    rate: Rate,
    claimant: str,
    began: float,
    retry_after: float | None,
    told: Told | None,
    served: Served,
    now: float,
) -> Rate:
    """A call that began at a time was refused for its rate."""
    before = rate.refusal
    again = before is not None and began < rate.blocked_until  # nobody who knew of it would have begun
    known = in_force(rate, now)
    streak = before.streak + 1 if before is not None and now < before.at + 60 and not again else 1
    guess = min(LONGEST_GUESS, FIRST_GUESS * 2.0 ** min(streak - 1, 10))
    pause = guess if retry_after is None else min(max(retry_after, SHORTEST), LONGEST_SAID)
    blocked = {"blocked_until": max(rate.blocked_until, now + pause)}
    rate = fine(rate, began, now).model_copy(update=blocked)
    if told is not None and _lowers(told, known):
        rate = _learned(rate, told, now)
    if again:
        return rate
    since = max(now - 60, before.at if before is not None else 0.0)
    guessed = rate.learned is not None and rate.learned.how == "refused"
    knew = known.requests_per_minute is not None or known.tokens_per_minute is not None
    limits = in_force(rate, now)
    unknown = guessed or (limits.requests_per_minute is None and limits.tokens_per_minute is None)
    counts = {claimant: served_since(served, since)} if unknown else {}
    refusal = Refusal(at=now, since=since, counts=counts, pending=unknown, streak=streak)
    rate = rate.model_copy(update={"refusal": refusal, "refusals": rate.refusals + 1})
    if knew and not guessed:
        eased = max(LEAST_EASED, easing(rate, now) * 0.9)
        rate = rate.model_copy(update={"eased": eased, "eased_at": now})
    return rate


def counted_in(rate: Rate, claimant: str, served: Served) -> Rate:
    """A process adds what it had sent before a refusal that another met."""
    refusal = rate.refusal
    if refusal is None or not refusal.pending or claimant in refusal.counts:
        return rate
    count = sum(n for second, n in served.items() if refusal.since <= second <= refusal.at)
    if not count:
        return rate
    counts = {**refusal.counts, claimant: count}
    return rate.model_copy(update={"refusal": refusal.model_copy(update={"counts": counts})})


def concluded(rate: Rate, now: float) -> Rate:
    """When the wait after a refusal is over: what had been sent before it is the limit."""
    refusal = rate.refusal
    if refusal is None or not refusal.pending or now < rate.blocked_until:
        return rate
    rate = rate.model_copy(update={"refusal": refusal.model_copy(update={"pending": False})})
    limit = _conclusion(refusal, in_force(rate, now).requests_per_minute)
    if limit is None:
        return rate
    learned = Learned(how="refused", at=now, requests_per_minute=max(1, int(limit)))
    return rate.model_copy(update={"learned": learned})


def _conclusion(refusal: Refusal, before: int | None) -> float | None:
    """The limit that a refusal tells of; `before` is what was taken for it until then."""
    served, seconds = sum(refusal.counts.values()), max(refusal.at - refusal.since, 1.0)
    measured = (served + (seconds < 60)) * 60 / seconds
    if before is None:
        return measured if served >= LEAST_SERVED else None
    # What the provider had saved up is used up by then: refused again at once means that it was far too much.
    lowest, highest = (TOO_MUCH, TOO_MUCH) if seconds < AT_ONCE else (TOO_MUCH, 0.95)
    return min(max(measured, before * lowest), before * highest)


def served_since(served: Served, since: float) -> int:
    return sum(count for second, count in served.items() if second >= since)


def _learned(rate: Rate, told: Told, now: float) -> Rate:
    """Limits as they were told. Where next to nothing is left, the provider gets time to fill up."""
    learned = Learned(
        how="told",
        at=now,
        requests_per_minute=_positive(told.requests_per_minute),
        tokens_per_minute=_positive(told.tokens_per_minute),
    )
    rate = rate.model_copy(update={"learned": learned})
    pace = pace_of(rate, now)
    requests = _lacking(told.requests_left, told.requests_per_minute) * pace.request
    tokens = _lacking(told.tokens_left, told.tokens_per_minute) * pace.token
    later = {
        "next_request": max(rate.next_request, now + requests),
        "next_tokens": max(rate.next_tokens, now + tokens),
    }
    return rate.model_copy(update=later)


def _lacking(left: int | None, limit: int | None) -> float:
    return max(0.0, RESERVE * limit - left) if left is not None and limit is not None else 0.0


def _under(left: int | None, limit: int | None) -> bool:
    return left is not None and limit is not None and left * 2 < limit


def _positive(limit: int | None) -> int | None:
    return None if limit is None else max(1, limit)


def _lowers(told: Told, known: Limits) -> bool:
    return _less(told.requests_per_minute, known.requests_per_minute) or _less(
        told.tokens_per_minute, known.tokens_per_minute
    )


def _less(told: int | None, known: int | None) -> bool:
    return told is not None and (known is None or told < known)
