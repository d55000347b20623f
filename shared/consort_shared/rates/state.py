"""What is known of one shared limit, as it lies on the bus. Data only.

Times are seconds since 1970 by the bus's clock. A claimant is one process; what belongs to
one expires, so that a process that was killed holds nothing for ever.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from consort_shared.codec import Tagged

MOST = 1_000_000_000


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Part):
    """What is allowed; None where nothing is said."""

    requests_per_minute: int | None = Field(default=None, ge=1, le=MOST)
    tokens_per_minute: int | None = Field(default=None, ge=1, le=MOST)
    concurrent: int | None = Field(default=None, ge=1, le=MOST, description="calls at the same time")


class Learned(_Part):
    """Limits that nobody configured: `told` by the provider, or concluded from having been `refused`."""

    how: Literal["told", "refused"]
    at: float
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class Refusal(_Part):
    """The newest refusal for the rate (429). While `pending`, each process adds what it had sent since `since`."""

    at: float
    since: float
    counts: dict[str, int] = Field(default_factory=dict, description="calls served, by claimant")
    pending: bool = False
    streak: int = Field(default=1, description="refusals that came within a minute of each other")


class Waiter(_Part):
    """Calls of one run that one process holds back; `since` and `tokens` are those of the first."""

    claimant: str
    run: str
    since: float
    tokens: int
    count: int = 1
    expires: float
    missed: int = Field(default=0, description="turns that it let pass")


class Held(_Part):
    """Calls that a process has under way, where their number is limited."""

    count: int
    expires: float


class Breaker(_Part):
    """Closed while `openings` is 0; then open until `open_until`, and after that one process probes."""

    failures: tuple[float, ...] = ()
    openings: int = 0
    open_until: float = 0.0
    probe: str = Field(default="", description="the process whose call is the probe")
    probe_until: float = 0.0


class Used(_Part):
    """What was let go in one slot of five seconds."""

    slot: int
    requests: int
    tokens: int


class Rate(Tagged):
    """One key. `kind` says so, because whatever lies in a bucket may be somebody else's."""

    kind: Literal["rate"] = "rate"
    limits: Limits = Limits()
    set_by: str = ""
    learned: Learned | None = None
    next_request: float = Field(default=0.0, description="not before then may the next call go")
    next_tokens: float = Field(default=0.0, description="the same, by tokens")
    free_since: float = Field(
        default=0.0, description="when something else than the rate last stopped holding up"
    )
    blocked_until: float = 0.0
    refusals: int = Field(default=0, description="how often everybody had to wait because of a 429")
    refusal: Refusal | None = None
    eased: float = Field(
        default=1.0, description="part of the limit that is used, less after a refusal in spite of it"
    )
    eased_at: float = 0.0
    virtual: float = Field(default=0.0, description="virtual time of fair queueing: seconds of the limit")
    finish: dict[str, float] = Field(
        default_factory=dict, description="by run, where that is after `virtual`"
    )
    waiting: tuple[Waiter, ...] = ()
    held: dict[str, Held] = Field(default_factory=dict, description="by claimant")
    breaker: Breaker = Breaker()
    used: tuple[Used, ...] = ()
    seen: dict[str, float] = Field(default_factory=dict, description="when each claimant was let go last")
    share: float = Field(
        default=1.0, description="part of the limit that is left to whoever holds this copy alone"
    )
    write: str = Field(default="", description="names the write, so that its writer knows it again")
