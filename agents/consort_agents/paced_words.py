"""What is logged of shared limits: one line for each change, by the process that wrote it.

Nothing is said per call. A key names an account and is no secret.
"""

from __future__ import annotations

import logging

from consort_shared.rates import Rate
from consort_shared.telemetry import metrics

log = logging.getLogger("consort.limits")


def tell_changes(key: str, before: Rate, after: Rate, now: float) -> None:
    """Tell of what a write has changed."""
    if after.refusals > before.refusals:
        metrics.rate_refused(key)
        log.warning(
            "limits of %s: refused for the rate; everybody with the key waits %.1f s",
            key,
            max(0.0, after.blocked_until - now),
        )
    learned = after.learned
    if (
        learned is not None
        and (before.learned is None or before.learned.at != learned.at)
        and _differ(before, after)
    ):
        log.info(
            "limits of %s, %s: %s requests and %s tokens a minute",
            key,
            "as the provider tells" if learned.how == "told" else "concluded from a refusal",
            learned.requests_per_minute or "any number of",
            learned.tokens_per_minute or "any number of",
        )
    if after.breaker.openings > before.breaker.openings:
        metrics.breaker_opened(key)
        log.warning(
            "limits of %s: the breaker is open for %.0f s, the provider is overloaded or cannot be reached",
            key,
            max(0.0, after.breaker.open_until - now),
        )
    if before.breaker.openings and not after.breaker.openings:
        log.info("limits of %s: the breaker is closed again", key)


def _differ(before: Rate, after: Rate) -> bool:
    one, other = before.learned, after.learned
    assert other is not None
    return one is None or (one.requests_per_minute, one.tokens_per_minute, one.how) != (
        other.requests_per_minute,
        other.tokens_per_minute,
        other.how,
    )
