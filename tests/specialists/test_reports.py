"""Reports that answer the question, on any market, and hold at once."""

from __future__ import annotations

import random
from pathlib import Path
from xml.etree import ElementTree

import pytest
from _markets import MakeFolder, material_of
from _random_market import random_market

from consort_agents.specialists.charts import (
    coverage_chart,
    heat_chart,
    order_chart,
    recency_chart,
    series_chart,
)
from consort_agents.specialists.coverage import coverage_of
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.gathering import gather_facts
from consort_agents.specialists.report import report_of
from consort_agents.specialists.trends import trends_of
from consort_agents.specialists.verifying import verify


def section(report: str, title: str) -> str:
    return report.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_answer_is_at_the_top_with_names_and_figures(systems: Facts) -> None:
    report = report_of(material_of(systems))
    assert report.startswith(f"# {systems.question}\n\n## Summary\n")
    summary = section(report, "Summary")
    assert "Agentforce (62 of 105, 59 %) leads, followed by Restate (49 of 114, 43 %)" in summary
    assert "mcp (124), langchain (128) and langsmith (335) come first by download rank" in summary
    assert "Last release is 2026-10 or later for 41 of 65 packages (63 %)" in summary
    assert 'For 16 of 114 capabilities, none of the 18 systems has "yes"' in summary
    assert "do not tell" in summary or "not tell in which direction" in summary


def test_the_limits_are_told(systems: Facts) -> None:
    limits = section(report_of(material_of(systems)), "Limits of the data")
    assert "A reading, not a certificate" in limits
    assert "7 of 2,052 cells are empty" in limits
    assert '36 say "n/a"' in limits
    assert "says who is ahead, not by how much" in limits
    assert "nothing of market shares" in limits


def test_the_same_facts_give_the_same_report(systems: Facts) -> None:
    assert report_of(material_of(systems)) == report_of(material_of(systems))


def test_a_report_on_another_market_holds_too(coffee: Facts) -> None:
    report = report_of(material_of(coffee))
    assert verify(report, coffee).problems == ()
    summary = section(report, "Summary")
    assert "Mirador (6 of 11, 55 %) leads" in summary
    assert "Exports of all origins went from 109.1 in 2020 to 111.6 in 2024, +2 %" in summary
    assert "Arabica price went from 185.2 in 2024-01 to 281.5 in 2024-11, +52 %" in summary
    assert "interviews.txt: not UTF-8 (line 1)" in section(report, "Limits of the data")
    assert "Average price" not in summary  # the dearest does not lead


def test_a_folder_with_texts_only_says_what_it_cannot_tell(folder: MakeFolder) -> None:
    path = folder({"a.md": "# Market\n\nThe 3 leading mills of 2025 are loved for their flour.\n"})
    facts = gather_facts(path, "Which mills lead?")
    report = report_of(material_of(facts))
    assert verify(report, facts).problems == ()
    assert "they do not tell who leads" in report
    assert "do not tell where the market is moving" in report
    assert "“The 3 leading mills of 2025 are loved for their flour.”" in report


@pytest.mark.parametrize(
    "table",
    [
        "name,amount\nA,1\nB,2\n",
        "name\nA\n",
        'name,amount\nA2A,5\n"Dr. Mabuse, 3rd",7\n"x [3] ""y""",2\nU.S. Mill|er,9\n',
        "tool,A,B,C\nsaw,1,3,2\naxe,2,1,3\nplane,3,3,1\n",
        "who,Q1 2024,Q2 2024,Q3 2024\nA,3,4,5\nB,9,,1\n",
        "a,b,lev\nx,p,yes\nx,q,\ny,p,partial\ny,q,n/a\nz,p,yes\nz,q,yes\n",
    ],
)
def test_small_and_odd_tables_give_reports_that_hold(folder: MakeFolder, table: str) -> None:
    facts = gather_facts(folder({"t.csv": table}), "Who leads in 2024?")
    report = report_of(material_of(facts))
    assert verify(report, facts).problems == ()


def test_random_markets_give_reports_that_hold(tmp_path: Path) -> None:
    """Tables of any shape, with names and headers chosen to mislead, none of them seen before."""
    for seed in range(15):
        path = tmp_path / str(seed)
        random_market(path, random.Random(seed))
        facts = gather_facts(path, "Which of them lead in 2024?")
        report = report_of(material_of(facts))
        assert [problem.reason for problem in verify(report, facts).problems] == [], seed


def test_charts_are_pictures_and_the_same_bytes_every_time(systems: Facts, coffee: Facts) -> None:
    trends, coverage = trends_of(coffee), coverage_of(coffee, coffee.matrices[0])
    drawn = [
        order_chart(trends.orders[0], "a.svg"),
        order_chart(trends_of(systems).orders[0], "b.svg"),
        coverage_chart(coverage, "c.svg"),
        heat_chart(coverage, "d.svg"),
        series_chart(trends.series[0], "e.svg"),
        recency_chart(trends_of(systems).recency[0], "f.svg"),
    ]
    for chart in drawn:
        assert ElementTree.fromstring(chart.svg).tag.endswith("svg")
        assert b"dc:date" not in chart.svg
    assert coverage_chart(coverage, "c.svg").svg == drawn[2].svg
