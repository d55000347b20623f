"""Limits that many processes share: what is known of one key, and whose turn it is.

Pure: no wire, no clock, no randomness. Every function takes what was known and the time in
seconds since 1970, and gives what is known now; what it gives is written by compare-and-set
(`consort_bus.rates`), so it may be computed again from a newer state.
"""

from consort_shared.rates.breaking import fine, troubled
from consort_shared.rates.learning import Told, counted_in, limited, saw
from consort_shared.rates.paces import Pace, free, in_force, pace_of, used
from consort_shared.rates.state import Breaker, Held, Learned, Limits, Rate, Refusal, Waiter
from consort_shared.rates.turns import Turn, Want, alone, corrected, turn

__all__ = [
    "Breaker",
    "Held",
    "Learned",
    "Limits",
    "Pace",
    "Rate",
    "Refusal",
    "Told",
    "Turn",
    "Waiter",
    "Want",
    "alone",
    "corrected",
    "counted_in",
    "fine",
    "free",
    "in_force",
    "limited",
    "pace_of",
    "saw",
    "troubled",
    "turn",
    "used",
]
