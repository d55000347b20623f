"""Shared limits in words, and as plain data. `now` is in seconds since 1970."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consort_shared.rates import Learned, Limits, Rate, in_force, used

RUNS_SHOWN = 10


def limits_text(limits: Limits | Learned) -> str:
    """Such as `60 requests and 1000 tokens a minute, 4 at a time`."""
    each = [
        f"{limit} {what}"
        for limit, what in (
            (limits.requests_per_minute, "requests"),
            (limits.tokens_per_minute, "tokens"),
        )
        if limit is not None
    ]
    parts = [f"{' and '.join(each)} a minute"] if each else []
    if isinstance(limits, Limits) and limits.concurrent is not None:
        parts.append(f"{limits.concurrent} at a time")
    return ", ".join(parts) or "no limit"


def short_line(key: str, rate: Rate, now: float) -> str:
    requests, _ = used(rate, now)
    parts = [_known(rate, now), f"{requests} used"]
    if rate.waiting:
        parts.append(f"{_waiting(rate)} waiting")
    if now < rate.blocked_until:
        parts.append(f"blocked for {rate.blocked_until - now:.0f} s")
    if rate.breaker.openings:
        parts.append(f"breaker {breaker_state(rate, now)}")
    return f"{key}  {'; '.join(parts)}"


def lines_of(key: str, rate: Rate, now: float) -> Iterator[str]:
    requests, tokens = used(rate, now)
    yield key
    by = f", set by {rate.set_by}" if rate.set_by else ""
    yield f"  limits   {limits_text(rate.limits)}{by}"
    if rate.learned is not None and in_force(rate, now) != rate.limits:
        how = "told by the provider" if rate.learned.how == "told" else "concluded from a refusal"
        yield f"  learned  {limits_text(rate.learned)}, {how} {max(0.0, now - rate.learned.at):.0f} s ago"
    yield f"  used     {requests} requests and {tokens} tokens in the last minute"
    if rate.held:
        yield f"  held     {sum(one.count for one in rate.held.values())} calls under way, {len(rate.held)} processes"
    for run, count, since in _by_run(rate, now)[:RUNS_SHOWN]:
        yield f"  waiting  {run[:12]}: {count} calls, the first for {since:.0f} s"
    if now < rate.blocked_until:
        yield f"  blocked  for {rate.blocked_until - now:.1f} s more, after a refusal"
    yield f"  refusals {rate.refusals} that made everybody wait"
    yield f"  breaker  {breaker_state(rate, now)}"


def breaker_state(rate: Rate, now: float) -> str:
    breaker = rate.breaker
    if not breaker.openings:
        return "closed"
    if now < breaker.open_until:
        return f"open for {breaker.open_until - now:.0f} s more"
    return "half open, one call tries"


def data_of(key: str, rate: Rate, now: float) -> dict[str, Any]:
    requests, tokens = used(rate, now)
    return {
        "key": key,
        "limits": rate.limits.model_dump(),
        "set_by": rate.set_by,
        "in_force": in_force(rate, now).model_dump(),
        "learned": None if rate.learned is None else rate.learned.model_dump(),
        "used": {"requests": requests, "tokens": tokens},
        "held": sum(one.count for one in rate.held.values()),
        "waiting": [
            {"run": run, "calls": count, "seconds": round(s, 3)} for run, count, s in _by_run(rate, now)
        ],
        "blocked_for": round(max(0.0, rate.blocked_until - now), 3),
        "refusals": rate.refusals,
        "breaker": _breaker_word(rate, now),
        "breaker_open_for": round(max(0.0, rate.breaker.open_until - now), 3)
        if rate.breaker.openings
        else 0.0,
    }


def _breaker_word(rate: Rate, now: float) -> str:
    if not rate.breaker.openings:
        return "closed"
    return "open" if now < rate.breaker.open_until else "half-open"


def _known(rate: Rate, now: float) -> str:
    known = in_force(rate, now)
    return limits_text(known) if known == rate.limits else f"{limits_text(known)} (learned)"


def _waiting(rate: Rate) -> int:
    return sum(one.count for one in rate.waiting)


def _by_run(rate: Rate, now: float) -> list[tuple[str, int, float]]:
    """Run, calls that wait, and for how long the first has; the longest first."""
    runs: dict[str, tuple[int, float]] = {}
    for one in rate.waiting:
        count, since = runs.get(one.run, (0, one.since))
        runs[one.run] = (count + one.count, min(since, one.since))
    found = [(run, count, max(0.0, now - since)) for run, (count, since) in runs.items()]
    return sorted(found, key=lambda one: -one[2])
