"""The figures of the examples, against figures counted by hand.

The expected numbers were counted with nothing but the csv module, as each test says
again, so that neither the analyst's nor the checker's code had a part in them.
"""

from __future__ import annotations

import csv
from collections import defaultdict

from _markets import EXAMPLES

from consort_agents.specialists.coverage import Coverage, coverage_of
from consort_agents.specialists.facts import Facts, Role
from consort_agents.specialists.trends import trends_of


def rows(name: str) -> list[dict[str, str]]:
    path = EXAMPLES / "market-analysis" / "sources" / name
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def surveyed(facts: Facts) -> Coverage:
    return coverage_of(facts, facts.matrices[0])


def test_full_and_counted_per_system(systems: Facts) -> None:
    by_system: dict[str, list[str]] = defaultdict(list)
    for row in rows("features.csv"):
        by_system[row["system"]].append(row["support"])
    hand = {
        system: (levels.count("yes"), sum(level in ("yes", "partial", "no") for level in levels))
        for system, levels in by_system.items()
    }
    found = {tally.name: (tally.full, tally.counted) for tally in surveyed(systems).entities}
    assert found == hand
    assert found["Agentforce"] == (62, 105)  # 114 less 7 empty and 2 n/a
    assert found["LangGraph"] == (44, 114)
    assert found["MCP"] == (19, 98)
    assert [tally.name for tally in surveyed(systems).entities][:3] == ["Agentforce", "Restate", "Google ADK"]


def test_empty_and_out_of_the_count_are_not_no(systems: Facts) -> None:
    support = [row["support"] for row in rows("features.csv")]
    total = surveyed(systems).total
    assert (total.unknown, total.apart) == (support.count(""), support.count("n/a")) == (7, 36)
    assert total.full + total.partial + total.none == 2052 - 43
    assert total.none == support.count("no") == 724


def test_what_nobody_and_what_only_one_has(systems: Facts) -> None:
    by_item: dict[str, list[str]] = defaultdict(list)
    for row in rows("features.csv"):
        by_item[row["capability"]].append(row["support"])
    coverage = surveyed(systems)
    nobody = {item for item, levels in by_item.items() if "yes" not in levels}
    assert {item.name for item in coverage.open_items} == nobody
    assert len(nobody) == 16
    ids = sorted(item.id for item in coverage.open_items)
    assert " ".join(ids) == "A7 B6 B7 C9 D11 E3 E5 E8 G4 G5 G9 H4 H7 I3 J19 J20"
    assert len(coverage.single_items) == sum(levels.count("yes") == 1 for levels in by_item.values()) == 15


def test_recency_is_told_from_the_newest_month(systems: Facts) -> None:
    months = [row["last_release"] for row in rows("packages.csv")]
    [recency] = trends_of(systems).recency
    assert recency.newest == max(months) == "2026-11"
    assert (recency.since, recency.before) == ("2026-10", "2025-11")
    assert recency.recent == sum(month >= "2026-10" for month in months) == 41
    assert recency.stale == sum(month < "2025-11" for month in months) == 9
    assert (recency.best_recent, recency.best) == (13, 13)


def test_ranks_are_ordered_and_never_added_up(systems: Facts) -> None:
    ranked = sorted(
        (int(row["download_rank"]), row["package"]) for row in rows("packages.csv") if row["download_rank"]
    )
    [order] = trends_of(systems).orders
    assert order.role is Role.RANK
    assert [leader.name for leader in order.leaders] == [name for _, name in ranked[:10]]
    assert order.median == ranked[len(ranked) // 2][0] == 4095
    assert (order.valued, order.rows) == (53, 65)
    assert order.largest_share is None
    assert order.herfindahl is None


def test_versions_below_one(systems: Facts) -> None:
    [majors] = trends_of(systems).majors
    assert majors.below_one == sum(row["version"].startswith("0.") for row in rows("packages.csv")) == 24


def test_names_match_by_their_telling_words(systems: Facts) -> None:
    pairs = {match.entity: match.name for match in trends_of(systems).matches}
    assert pairs["OpenAI Agents SDK"] == "openai-agents"
    assert pairs["Google ADK"] == "google-adk"
    assert pairs["MCP"] == "mcp"
    assert "Temporal" not in pairs  # `temporalio` is another word


def test_amounts_have_a_concentration(coffee: Facts) -> None:
    order = next(found for found in trends_of(coffee).orders if found.column == "exports")
    amounts = [50.4, 22.4, 12.1, 6.1, 4.9, 5.9, 6.4, 3.4]  # the last column of exports.csv
    assert (order.period, order.role) == ("2024", Role.QUANTITY)
    assert order.largest_share is not None
    assert order.herfindahl is not None
    assert round(order.largest_share, 6) == round(100 * (50.4 + 22.4 + 12.1) / sum(amounts), 6)
    assert round(order.herfindahl, 6) == round(sum((100 * a / sum(amounts)) ** 2 for a in amounts), 6)


def test_change_over_time(coffee: Facts) -> None:
    series = {found.column: found for found in trends_of(coffee).series}
    exports = series["exports"]
    assert exports.changes[0].name == "Ethiopia"
    assert round(exports.changes[0].percent, 3) == round(100 * (5.9 - 3.7) / 3.7, 3)
    assert exports.total is not None
    assert round(exports.total.first, 6) == 109.1
    assert series["arabica price"].key is None
    assert series["arabica price"].total is None  # a price is no amount


def test_the_column_of_founding_years_is_no_time_series(coffee: Facts) -> None:
    assert {found.table for found in trends_of(coffee).series} == {
        "exports.csv (cell by cell)",
        "price-per-month.json",
    }
