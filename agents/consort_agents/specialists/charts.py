"""Charts of the figures, as SVG.

Draws and decides nothing: order, counts and periods come from the findings. Colours
are from the Okabe-Ito palette, which colour-blind readers can tell apart, and no
chart relies on colour alone. The same figures give the same bytes: no date, no
random ids. Figures are built without pyplot, whose global state does not bear
threads.
"""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consort_agents.specialists.coverage import Coverage
from consort_agents.specialists.facts import Role
from consort_agents.specialists.findings import Order, Recency, Series
from consort_agents.specialists.wording import capital, figure, label, plural, singular

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, SKY, ORANGE, GREY, DARK = "#0072B2", "#9ED2F0", "#D55E00", "#D9D9D9", "#333333"
_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#555555")
_MARKS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture, the name it is stored under, and what it shows in words without figures."""

    name: str
    alt: str
    svg: bytes


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    import matplotlib  # imported late: it costs a second that only charts need
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(
        {"svg.hashsalt": "consort", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 9.5}
    )
    drawing = Figure(figsize=(width, height), layout="constrained")
    axes = drawing.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return drawing, axes


def _svg(drawing: Figure) -> bytes:
    out = io.BytesIO()
    engine = drawing.get_layout_engine()
    if engine is not None:  # laid out once here; saving would draw everything twice for it
        engine.execute(drawing)
        drawing.set_layout_engine("none")
    drawing.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    return out.getvalue()


def _title(axes: Axes, text: str) -> None:
    axes.set_title("\n".join(textwrap.wrap(text, 70)), loc="left", fontsize=11, color=DARK, pad=10)


def order_chart(order: Order, name: str) -> Chart:
    """Who is ahead: places for ranks, bars for amounts."""
    drawing, axes = _figure(7.2, 0.9 + 0.34 * len(order.leaders))
    names = [leader.name for leader in reversed(order.leaders)]
    values = [leader.value for leader in reversed(order.leaders)]
    scale = ""
    if order.role is Role.RANK:
        axes.hlines(range(len(values)), 1, values, color=GREY, linewidth=1.2)
        axes.plot(values, range(len(values)), "o", color=BLUE, markersize=7)
        if max(values) > 100:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: figure(value))
            scale = ", logarithmic"
        axes.set_xlim(left=max(0.8, min(values) * 0.5), right=max(values) * 1.6)
    else:
        axes.barh(range(len(values)), values, color=BLUE, height=0.66)
        axes.set_xlim(right=max(values) * 1.15)
    for at, value in enumerate(values):
        axes.annotate(
            figure(value), (value, at), xytext=(7, 0), textcoords="offset points", va="center", fontsize=8.5
        )
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    unit = f" ({order.unit})" if order.unit else ""
    axes.set_xlabel(
        label(order.column) + unit + (f", lower is better{scale}" if order.role is Role.RANK else "")
    )
    when = f" in {order.period}" if order.period else ""
    alt = f"{capital(plural(singular(label(order.key))))} by {label(order.column)}"
    _title(axes, f"First {len(names)} {plural(singular(label(order.key)))} by {label(order.column)}{when}")
    return Chart(name, alt, _svg(drawing))


def recency_chart(recency: Recency, name: str) -> Chart:
    """How many rows have their date in each period, recent periods in another colour."""
    from matplotlib.ticker import MaxNLocator

    periods = dict(recency.periods)
    axis = _all_periods(recency.periods[0][0], recency.periods[-1][0])
    drawing, axes = _figure(7.6, 3.1)
    counts = [periods.get(period, 0) for period in axis]
    colours = [
        BLUE if period >= recency.since else ORANGE if period < recency.before else "#7F8C96"
        for period in axis
    ]
    axes.bar(range(len(axis)), counts, color=colours, width=0.8)
    for at, count in enumerate(counts):
        if count:
            axes.annotate(
                str(count), (at, count), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=8
            )
    step = max(1, round(len(axis) / 12))
    ticks = list(range(len(axis) - 1, -1, -step))[::-1]
    axes.set_xticks(ticks, [axis[at] for at in ticks], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_ylabel(plural(singular(label(recency.key))))
    axes.set_xlabel(label(recency.column))
    axes.set_ylim(top=max(counts) * 1.15)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(
        axes,
        [(BLUE, f"{recency.since} or later"), ("#7F8C96", "between"), (ORANGE, f"before {recency.before}")],
    )
    title = f"{capital(plural(singular(label(recency.key))))} by {label(recency.column)}"
    _title(axes, title)
    return Chart(name, title, _svg(drawing))


def _all_periods(first: str, last: str) -> list[str]:
    if len(first) == 4:
        return [str(year) for year in range(int(first), int(last) + 1)]
    start, end = (int(text[:4]) * 12 + int(text[5:7]) - 1 for text in (first, last))
    return [f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(start, end + 1)]


def _legend(axes: Axes, entries: list[tuple[str, str]], **options: Any) -> None:
    from matplotlib.patches import Patch

    axes.legend(
        handles=[Patch(color=colour, label=text) for colour, text in entries],
        frameon=False,
        fontsize=8.5,
        **options,
    )


def series_chart(series: Series, name: str) -> Chart:
    """A number over time, one line per name, each with a mark of its own and its name at the end."""
    drawing, axes = _figure(7.6, 3.6)
    axis = sorted({period for line in series.lines for period, _ in line.points})
    place = {period: at for at, period in enumerate(axis)}
    for at, line in enumerate(series.lines):
        xs, ys = [place[period] for period, _ in line.points], [value for _, value in line.points]
        name_shown = label(line.name) if series.key is None else line.name
        axes.plot(xs, ys, color=_LINES[at], marker=_MARKS[at], markersize=4, linewidth=1.6, label=name_shown)
    step = max(1, round(len(axis) / 10))
    axes.set_xticks(range(0, len(axis), step), axis[::step])
    axes.set_ylim(bottom=0, top=1.08 * max(value for line in series.lines for _, value in line.points))
    axes.grid(axis="y", color="#EEEEEE")
    axes.set_xlabel(label(series.period_column))
    axes.set_ylabel(label(series.column) + (f" ({series.unit})" if series.unit else ""))
    if len(series.lines) > 1:
        axes.legend(frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    whose = f" by {label(series.key)}" if series.key else ""
    alt = f"{capital(label(series.column))}{whose} over time"
    _title(axes, f"{capital(label(series.column))}{whose}, {series.first} to {series.last}")
    return Chart(name, alt, _svg(drawing))


def coverage_chart(coverage: Coverage, name: str) -> Chart:
    """Every entity's cells by level, the fullest on top; what is out of the count is hatched."""
    matrix = coverage.matrix
    rows = list(reversed(coverage.entities))
    drawing, axes = _figure(7.6, 1.3 + 0.29 * len(rows))
    left = [0] * len(rows)
    sorts = (("full", BLUE, matrix.full), ("partial", SKY, matrix.partial), ("none", GREY, matrix.none))
    for sort, colour, words in sorts:
        counts = [getattr(row, sort) for row in rows]
        if words:
            _stack(axes, left, counts, colour, " / ".join(words), shown_from=0.04 * coverage.items)
        left = [start + number for start, number in zip(left, counts, strict=True)]
    rest = [row.apart + row.unknown for row in rows]
    if any(rest):
        hatched: dict[str, Any] = {
            "color": "white",
            "edgecolor": "#999999",
            "hatch": "////",
            "linewidth": 0.6,
        }
        apart = " / ".join([*matrix.apart, "not known"])
        axes.barh(range(len(rows)), rest, left=left, height=0.72, label=apart, **hatched)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, coverage.items)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(plural(singular(label(matrix.item))))
    drawing.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8.5)
    alt = f"{capital(label(matrix.value))} by {label(matrix.entity)}"
    _title(axes, f'{alt}, highest share of "{matrix.full[0]}" first')
    return Chart(name, alt, _svg(drawing))


def _stack(
    axes: Axes, left: list[int], counts: list[int], colour: str, words: str, shown_from: float
) -> None:
    """One level of stacked bars, with the count where there is room for it."""
    axes.barh(range(len(counts)), counts, left=left, color=colour, height=0.72, label=words)
    ink = "white" if colour == BLUE else DARK
    for at, number in enumerate(counts):
        if number and number >= shown_from:
            middle = left[at] + number / 2
            axes.text(
                middle, at, str(number), ha="center", va="center", fontsize=8, in_layout=False, color=ink
            )


def heat_chart(coverage: Coverage, name: str) -> Chart:
    """The share of full levels of every entity in every group, as a number on a shade."""
    matrix = coverage.matrix
    groups = list(coverage.groups)
    entities = coverage.entities
    drawing, axes = _figure(max(5.6, 2.6 + 0.62 * len(groups)), 1.9 + 0.3 * len(entities))
    shares = [[_share(coverage, entity.name, group.name) for group in groups] for entity in entities]
    shades = [[-1.0 if share is None else share for share in row] for row in shares]
    from matplotlib.colors import LinearSegmentedColormap

    ramp = LinearSegmentedColormap.from_list("blue", ["#FFFFFF", "#9ED2F0", BLUE])
    axes.imshow(shades, cmap=ramp.with_extremes(under="#EEEEEE"), vmin=0, vmax=1, aspect="auto")
    for at, row in enumerate(shares):
        for across, share in enumerate(row):
            text = "–" if share is None else f"{100 * share:.0f}"
            axes.text(
                across,
                at,
                text,
                ha="center",
                va="center",
                fontsize=8,
                in_layout=False,
                color="white" if share is not None and share > 0.72 else DARK,
            )
    names = ["\n".join(textwrap.wrap(group.name, 22)) for group in groups]
    axes.set_xticks(range(len(groups)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(entities)), [entity.name for entity in entities])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    sides = f"{label(matrix.entity)} and {label(matrix.group or '')}"
    _title(axes, f'Share of "{matrix.full[0]}" in per cent, by {sides}')
    return Chart(name, f"{capital(label(matrix.value))} by {sides}", _svg(drawing))


def _share(coverage: Coverage, entity: str, group: str) -> float | None:
    full, counted = coverage.cells[entity].get(group, (0, 0))
    return full / counted if counted else None
