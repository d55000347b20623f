"""Where the market is moving: sentences on dates, versions and numbers over time.

Says plainly when the sources hold nothing that could tell movement, and never reads
a direction into figures of a single moment.
"""

from __future__ import annotations

from consort_agents.specialists.basis import Call, Col, Where, call, is_, is_not
from consort_agents.specialists.findings import Change, Majors, Recency, Series
from consort_agents.specialists.material import PERCENT, Material, count, many, one, top
from consort_agents.specialists.wording import capital, figure, label, listing, percent

_SHOWN = 3


def movement_summary(material: Material) -> list[str]:
    """The answer to "where is it moving"."""
    found = material.trends
    said = [_overall(material, series) for series in found.series[:2]]
    said += [_recent(material, recency) for recency in found.recency[:1]]
    said += [_by_rank(material, recency) for recency in found.recency[:1] if recency.rank]
    said += [_young(material, majors) for majors in found.majors[:1]]
    if not any(said):
        return [
            "The sources hold no dates and no numbers over time, so they do not tell where the market is moving."
        ]
    if material.coverage and not found.series:
        said.append(
            f"What the {many(material.coverage[0].matrix.entity)} can do is known for one moment only: the sources do "
            "not tell in which direction it changes."
        )
    return [sentence for sentence in said if sentence]


def movement_section(material: Material) -> list[str]:
    """The sentences and pictures behind it."""
    lines: list[str] = []
    for series in material.trends.series:
        lines += [*_changes(material, series), "", *material.shown(f"series {series.table} {series.column}")]
    for recency in material.trends.recency:
        lines += [
            _newest(material, recency),
            "",
            *material.shown(f"recency {recency.table} {recency.column}"),
        ]
    return lines + [line for majors in material.trends.majors[1:] for line in (_young(material, majors), "")]


def _since(recency: Recency) -> Where:
    return Where(recency.column, ">=", (recency.since,))


def _before(recency: Recency) -> Where:
    return Where(recency.column, "<", (recency.before,))


def _recent(material: Material, recency: Recency) -> str:
    cited = material.book.count(
        material.table(recency.table),
        call("stated", recency.since),
        count(_since(recency)),
        count(is_not(recency.column, "")),
        PERCENT,
        call("stated", recency.before),
        count(_before(recency)),
    )
    share = percent(recency.recent, recency.dated)
    return (
        f"{capital(label(recency.column))} is {recency.since} or later for {recency.recent} of {recency.dated} "
        f"{many(recency.key)} ({share}), and before {recency.before} for {recency.stale}{cited}."
    )


def _by_rank(material: Material, recency: Recency) -> str:
    assert recency.rank is not None
    best = Where(recency.rank, "<=", (recency.best_bound,))
    cited = material.book.count(
        material.table(recency.table),
        call("stated", recency.best_bound),
        count(best, _since(recency)),
        count(best),
        call("stated", recency.since),
    )
    livelier = recency.best_recent * recency.unranked > 1.2 * recency.unranked_recent * recency.best
    head = "It is liveliest at the top: of" if livelier and recency.unranked else "Of"
    said = (
        f"{head} the quarter with the best {label(recency.rank)} ({figure(float(recency.best_bound))} or better), "
        f"{recency.best_recent} of {recency.best} are of {recency.since} or later{cited}"
    )
    if not recency.unranked:
        return f"{said}."
    rest = is_(recency.rank, "")
    beside = material.book.count(
        material.table(recency.table),
        count(rest, _since(recency)),
        count(rest),
        call("stated", recency.since),
    )
    return (
        f"{said}; of those without a {label(recency.rank)}, {recency.unranked_recent} of {recency.unranked} "
        f"are of {recency.since} or later{beside}."
    )


def _newest(material: Material, recency: Recency) -> str:
    table, column = material.table(recency.table), Col(recency.column)
    newest = material.book.count(table, call("highest", column))
    quiet = [f"{name} ({date})" for name, date in recency.oldest[:_SHOWN]]
    oldest = material.book.count(table, top(len(quiet), Col(recency.key), call("value", column), high=False))
    return (
        f"The newest entry under “{label(recency.column)}” in {recency.table} is {recency.newest}{newest}. "
        f"What is recent is told from there, not from today. The longest ago are {listing(quiet)}{oldest}."
    )


def _young(material: Material, majors: Majors) -> str:
    table = material.table(majors.table)
    cited = material.book.count(
        table,
        count(Where(majors.column, "<", ("1",))),
        count(is_not(majors.column, "")),
        PERCENT,
        call("stated", "1"),
    )
    share = percent(majors.below_one, majors.rows)
    return (
        f"{majors.below_one} of {majors.rows} {many(table.key) if table.key else 'rows'} ({share}) have a "
        f"{label(majors.column)} below 1, by which authors usually say that much may still change{cited}."
    )


def _value(series: Series, period: str, name: str) -> Call:
    own = (is_(series.key, name),) if series.key else ()
    return call("value", Col(series.column), is_(series.period_column, period), *own)


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '−'}{abs(value):.0f} %"


def _overall(material: Material, series: Series) -> str:
    """All names together for amounts, a single line, or the strongest up and down for ratios."""
    unit = f" {series.unit}" if series.unit else ""
    change = series.total or (series.changes[0] if series.key is None and series.changes else None)
    if change is None:
        return _ends(material, series)
    over = "sum" if series.key else "value"
    measures = [
        call(over, Col(series.column), is_(series.period_column, period))
        for period in (series.first, series.last)
    ]
    cited = material.book.count(
        material.table(series.table),
        measures[0],
        call("stated", series.first),
        measures[1],
        call("stated", series.last),
        call("change", *measures),
    )
    head = f"{capital(label(series.column))}" + (f" of all {many(series.key)}" if series.key else "")
    whole = (
        f"{head} went from {figure(change.first)}{unit} in {series.first} "
        f"to {figure(change.last)}{unit} in {series.last}, {_signed(change.percent)}{cited}."
    )
    return f"{whole} {_ends(material, series)}" if series.key else whole


def _ends(material: Material, series: Series) -> str:
    """Who grew most and who least."""
    if not series.changes or series.key is None:
        return ""
    up, down = series.changes[0], series.changes[-1]
    said = [_moved(material, series, up)] + ([_moved(material, series, down)] if down.name != up.name else [])
    words = ["the strongest change upward is", "the other end is"]
    parts = [f"{word} {text}" for word, text in zip(words, said, strict=False)]
    return f"By {one(series.key)}, {listing(parts)}."


def _moved(material: Material, series: Series, change: Change) -> str:
    first, last = _value(series, series.first, change.name), _value(series, series.last, change.name)
    cited = material.book.count(
        material.table(series.table),
        call("stated", series.first),
        call("stated", series.last),
        call("change", first, last),
    )
    return f"{change.name} from {series.first} to {series.last} with {_signed(change.percent)}{cited}"


def _changes(material: Material, series: Series) -> list[str]:
    if series.key is None:
        return [_overall(material, series)] if series.changes else []
    lines = [f"{capital(label(series.column))} by {one(series.key)}, counted in {series.table}:", ""]
    for change in series.changes:
        first, last = _value(series, series.first, change.name), _value(series, series.last, change.name)
        cited = material.book.count(
            material.table(series.table),
            first,
            call("stated", series.first),
            last,
            call("stated", series.last),
            call("change", first, last),
        )
        lines.append(
            f"- {change.name}: {figure(change.first)} in {series.first}, {figure(change.last)} in {series.last}, "
            f"{_signed(change.percent)}{cited}."
        )
    return lines
