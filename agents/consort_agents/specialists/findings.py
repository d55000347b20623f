"""What the analyst finds, as data: orders, freshness, versions, numbers over time, matching names."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from consort_agents.specialists.facts import Role
from consort_agents.specialists.matching import Match


class _Finding(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Named(_Finding):
    """A name with its figure."""

    name: str
    value: float


class Order(_Finding):
    """Who is ahead by one number: names in order, and how the number is spread."""

    table: str
    key: str
    column: str
    role: Role
    unit: str = ""
    period_column: str | None = Field(
        default=None, description="the order holds for one period of this column"
    )
    period: str = ""
    summed: bool = Field(default=False, description="several rows of a name were added up")
    rows: int
    valued: int = Field(description="rows, or names if summed, that have a value")
    leaders: tuple[Named, ...]
    median: float
    largest_share: float | None = Field(
        default=None, description="per cent held by the three largest; quantities only"
    )
    herfindahl: float | None = Field(default=None, description="0 to 10,000; quantities only")


class Recency(_Finding):
    """How fresh the rows of a table are, measured from the newest date in it."""

    table: str
    key: str
    column: str
    newest: str = Field(description="the newest date as it stands in the data")
    since: str = Field(description="the first period that counts as recent")
    recent: int
    before: str = Field(description="what is older than this counts as stale")
    stale: int
    dated: int
    rows: int
    oldest: tuple[tuple[str, str], ...]
    periods: tuple[tuple[str, int], ...]
    rank: str | None = Field(default=None, description="the rank by which the best quarter was taken")
    best_bound: str = ""
    best: int = 0
    best_recent: int = 0
    unranked: int = 0
    unranked_recent: int = 0


class Majors(_Finding):
    """How many rows have a version below 1."""

    table: str
    column: str
    below_one: int
    rows: int


class Change(_Finding):
    """One name from the first period to the last, in per cent."""

    name: str
    first: float
    last: float
    percent: float


class Line(_Finding):
    """The values of one name, period by period, for drawing."""

    name: str
    points: tuple[tuple[str, float], ...]


class Series(_Finding):
    """A number over time."""

    table: str
    key: str | None = Field(description="whose number it is; None for a single line")
    period_column: str
    column: str
    role: Role
    unit: str = ""
    first: str
    last: str
    periods: int
    changes: tuple[Change, ...] = Field(description="the strongest growth first")
    total: Change | None = Field(default=None, description="all names together; quantities only")
    lines: tuple[Line, ...] = Field(description="the names with the highest last values")


class Trends(_Finding):
    """Everything the analyst found, in the order of the tables."""

    orders: tuple[Order, ...] = ()
    recency: tuple[Recency, ...] = ()
    majors: tuple[Majors, ...] = ()
    series: tuple[Series, ...] = ()
    matches: tuple[Match, ...] = ()
