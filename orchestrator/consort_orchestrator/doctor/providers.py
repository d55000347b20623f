"""Checks of the limits that processes share: providers in trouble, calls held back. Pure: facts in, findings out.

A breaker closes by itself, and a refusal is over when its time is: what is found here is why work
stands still, and seldom something to mend.
"""

from __future__ import annotations

from collections.abc import Iterator

from consort_orchestrator.cli.limits_words import breaker_state
from consort_orchestrator.cli.wording import counted, span
from consort_orchestrator.doctor.facts import Facts
from consort_orchestrator.doctor.findings import Finding, Level
from consort_shared.rates import Rate

LONG = 60.0
"""Seconds that calls may be held back before it is worth a warning."""
RECENT = 300.0
"""Seconds after which a breaker that nobody tried since tells nothing any more."""


def providers(facts: Facts) -> Iterator[Finding]:
    """All findings about shared limits; none where there are no such limits."""
    if facts.rates is None:
        return
    found = [finding for key, rate in facts.rates.items() for finding in _of(facts, key, rate)]
    yield from found
    if facts.rates and not found:
        what = f"nothing is held back by {counted(len(facts.rates), 'shared limit')}"
        yield Finding("limits", Level.OK, what)


def _of(facts: Facts, key: str, rate: Rate) -> Iterator[Finding]:
    show, now = facts.at.operator(f"limits show {key}"), facts.now
    about = {"key": key, "blocked_for": max(0.0, rate.blocked_until - now), "openings": rate.breaker.openings}
    if rate.breaker.openings and now - rate.breaker.open_until < RECENT:
        what = f"the provider behind {key} is in trouble: breaker {breaker_state(rate, now)}; it closes by itself"
        yield Finding("limits", Level.WARNING, what, show, about)
    blocked = rate.blocked_until - now
    if blocked > 0:
        level = Level.WARNING if blocked > LONG else Level.NOTE
        what = f"everybody with {key} waits {span(blocked)} more: the provider refused a call"
        yield Finding("limits", level, what, show, about)
    waits = [one for one in rate.waiting if one.expires > now]
    longest = max((now - one.since for one in waits), default=0.0)
    if longest > LONG:
        calls = counted(sum(one.count for one in waits), "call")
        what = f"{calls} held back by the limits of {key}, the first for {span(longest)}"
        yield Finding("limits", Level.WARNING, what, show, {**about, "waiting": len(waits)})
