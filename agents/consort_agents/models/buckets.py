"""Token buckets: how much may be done in a minute, filled up continuously. Pure: the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Bucket:
    """Holds at most `capacity`, gains `per_minute` evenly; `level` is what it held at `at` (seconds)."""

    capacity: float
    per_minute: float
    level: float
    at: float

    def filled(self, now: float) -> Bucket:
        gained = max(0.0, now - self.at) * self.per_minute / 60
        return replace(self, level=min(self.capacity, self.level + gained), at=max(now, self.at))

    def wait(self, amount: float, now: float) -> float:
        """Seconds until so much can be taken; more than it ever holds can be taken when it is full."""
        lacking = min(amount, self.capacity) - self.filled(now).level
        return max(0.0, lacking * 60 / self.per_minute)

    def take(self, amount: float, now: float) -> Bucket:
        full = self.filled(now)
        return replace(full, level=full.level - min(amount, self.capacity))


def full(per_minute: float, capacity: float, now: float) -> Bucket:
    return Bucket(capacity, per_minute, capacity, now)
