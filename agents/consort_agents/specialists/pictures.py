"""Which charts go with which findings, and how they travel to the writer.

A chart is stored as an artefact under the name by which the report refers to it.
Names are told from the columns, so that a reader of a folder of results knows what
each picture is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from consort_agents.context import Context
from consort_agents.specialists.charts import (
    Chart,
    coverage_chart,
    heat_chart,
    order_chart,
    recency_chart,
    series_chart,
)
from consort_agents.specialists.coverage import Coverage
from consort_agents.specialists.findings import Trends
from consort_shared.values import ArtefactRef

_MOST = 2
"""Charts of each sort."""
_WORTH_DRAWING = 3
"""Dates in one period, below which a chart of dates shows nothing."""


class ChartRef(BaseModel):
    """A stored chart, what it shows, and the finding that it belongs to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artefact: ArtefactRef
    alt: str
    topic: str = Field(description="names the finding, such as `order sales.csv tonnes`")


def trend_charts(trends: Trends) -> Iterator[tuple[str, Chart]]:
    """The charts of the analyst's findings, each with its topic."""
    taken: set[str] = set()
    for order in trends.orders[:_MOST]:
        yield f"order {order.table} {order.column}", order_chart(order, _name("leaders", order.column, taken))
    for recency in trends.recency[:1]:
        if max(number for _, number in recency.periods) < _WORTH_DRAWING:
            continue
        name = _name("recency", recency.column, taken)
        yield f"recency {recency.table} {recency.column}", recency_chart(recency, name)
    for series in trends.series[:_MOST]:
        name = _name("course", series.column, taken)
        yield f"series {series.table} {series.column}", series_chart(series, name)


def coverage_charts(coverages: Sequence[Coverage]) -> Iterator[tuple[str, Chart]]:
    """The charts of the surveyor's findings, each with its topic."""
    taken: set[str] = set()
    for coverage in coverages[:_MOST]:
        matrix = coverage.matrix
        yield f"coverage {matrix.table}", coverage_chart(coverage, _name("coverage", matrix.entity, taken))
        if coverage.groups:
            name = _name("coverage-by", matrix.group or "", taken)
            yield f"groups {matrix.table}", heat_chart(coverage, name)


def _name(prefix: str, column: str, taken: set[str]) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", column.lower()).strip("-")[:40]
    name = f"{prefix}-{slug}.svg" if slug else f"{prefix}.svg"
    while name in taken:
        name = f"{name[:-4]}-more.svg"
    taken.add(name)
    return name


def stored(charts: Iterator[tuple[str, Chart]], ctx: Context) -> list[ChartRef]:
    """Stores charts as artefacts of the task; for plain functions, which run in a thread."""
    return [
        ChartRef(
            artefact=ctx.artefacts.put_sync(chart.svg, name=chart.name, media_type="image/svg+xml"),
            alt=chart.alt,
            topic=topic,
        )
        for topic, chart in charts
    ]
