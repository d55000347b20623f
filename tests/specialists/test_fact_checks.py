"""The check finds what is wrong in a draft, whoever made it wrong, and the writer mends it."""

from __future__ import annotations

import contextlib
import random
import re

import pytest
from _markets import material_of
from hypothesis import given
from hypothesis import strategies as st

from consort_agents.specialists.basis import BasisError, Call, Col, Where, call, is_, parsed, written
from consort_agents.specialists.facts import Facts, table_named
from consort_agents.specialists.problems import Fault
from consort_agents.specialists.recount import Figure, Ledger, Name, recount
from consort_agents.specialists.report import report_of
from consort_agents.specialists.trends import trends_of
from consort_agents.specialists.verifying import verify
from consort_agents.specialists.writing import write_report


@pytest.fixture(scope="module")
def draft(systems: Facts) -> str:
    return report_of(material_of(systems))


def faults(report: str, facts: Facts) -> list[Fault]:
    return [problem.fault for problem in verify(report, facts).problems]


def test_the_draft_holds(draft: str, systems: Facts) -> None:
    verdict = verify(draft, systems)
    assert verdict.problems == ()
    assert verdict.figures > 300
    assert verdict.citations > 100


def mutations(report: str) -> list[str]:
    """The report with one figure raised by one, for every figure below the title and outside links."""
    found = []
    for match in re.finditer(r"\d+", report):
        line = report[: match.start()].rpartition("\n")[2]
        if match.start() < report.index("\n") or re.search(r"\]\([^)]*$", line):
            continue
        raised = str(int(match[0]) + 1).zfill(len(match[0]))
        found.append(report[: match.start()] + raised + report[match.end() :])
    return found


@pytest.mark.slow
def test_no_single_figure_can_be_changed_unseen(coffee: Facts) -> None:
    changed = mutations(report_of(material_of(coffee)))
    assert len(changed) > 500
    seen = random.Random(1).sample(changed, 40)
    assert [report for report in seen if not verify(report, coffee).problems] == []


@pytest.mark.slow
def test_nor_in_the_larger_report(draft: str, systems: Facts) -> None:
    seen = random.Random(2).sample(mutations(draft), 8)
    assert [report for report in seen if not verify(report, systems).problems] == []


def test_a_wrong_figure_is_told_with_the_right_one(draft: str, systems: Facts) -> None:
    wrong = draft.replace("Agentforce (62 of 105, 59 %)", "Agentforce (72 of 105, 59 %)", 1)
    [problem] = verify(wrong, systems).problems
    assert problem.fault is Fault.FIGURE
    assert problem.place == "Summary, line 5"
    assert problem.claimed[:3] == ("72", "105", "59")
    assert problem.facts[:3] == ("62", "105", "59")
    assert "it says 72" in problem.reason


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("Agentforce (62 of 105", "LangGraph (62 of 105", Fault.NAME),
        ("For 16 of 114 capabilities, none", "For 114 of 16 capabilities, none", Fault.FIGURE),
        (" come first by download rank [2]", " come first by download rank [99]", Fault.MISSING),
        (" come first by download rank [2]", " come first by download rank", Fault.UNCITED),
        ("A reading, not a certificate:", "A certificate, not a reading:", Fault.WORDS),
        ("\n## Who leads\n", "\n## Who leads\n\nMore than 80 of them are rising.\n", Fault.UNCITED),
        ("\n## Who leads\n", "\n## Who leads\n\nTemporal is the favourite of the buyers.\n", Fault.UNCITED),
        ("\n## Who leads\n", "\n## Who leads\n\nAll twelve do it.\n", Fault.UNCITED),
        (
            "| Restate | 49 of 114 | 43 % | 37 | 28 | 0 |",
            "| Restate | 49 of 114 | 43 % | 37 | 82 | 0 |",
            Fault.FIGURE,
        ),
        (
            "| Restate | 49 of 114 | 43 % | 37 | 28 | 0 |",
            "| Nobody | 49 of 114 | 43 % | 37 | 28 | 0 |",
            Fault.NAME,
        ),
        ("packages.csv, lines 2–66: `top(3,", "packages.csv, lines 3–66: `top(3,", Fault.PLACE),
        ("packages.csv, lines 2–66: `top(3,", "package.csv, lines 2–66: `top(3,", Fault.SOURCE),
        ("`top(3, [package]", "`top(3 [package]", Fault.SOURCE),
        ("`top(3, [package]", "`guess(3, [package]", Fault.SOURCE),
    ],
)
def test_every_sort_of_fault_is_found(draft: str, systems: Facts, old: str, new: str, fault: Fault) -> None:
    assert old in draft
    assert fault in faults(draft.replace(old, new, 1), systems)


def test_a_wrong_figure_with_a_fitting_wrong_count_does_not_pass(draft: str, systems: Facts) -> None:
    """Figure and threshold changed together: the count for the new threshold is another."""
    wrong = draft.replace("2026-10 or later for 41 of", "2026-09 or later for 41 of")
    wrong = wrong.replace(
        'stated("2026-10")`; `count([last_release] >= "2026-10")',
        'stated("2026-09")`; `count([last_release] >= "2026-09")',
    )
    assert Fault.FIGURE in faults(wrong, systems)


def test_the_loop_mends_wrong_findings(systems: Facts) -> None:
    """An analyst who counted wrongly: the checker says so, the writer corrects, the second draft holds."""
    material = material_of(systems)
    coverage = material.coverage[0]
    first = coverage.entities[0].model_copy(update={"full": 99})
    wrong = coverage.model_copy(update={"entities": (first, *coverage.entities[1:])})
    material = type(material)(systems, trends_of(systems), [wrong])
    draft = write_report(material, None, ()).markdown
    problems = verify(draft, systems).problems
    assert {problem.fault for problem in problems} == {Fault.FIGURE}
    mended = write_report(material, draft, problems)
    assert verify(mended.markdown, systems).problems == ()
    assert "Agentforce (62 of 105, 59 %) leads" in mended.markdown
    assert "99" not in mended.markdown
    assert any("corrected to" in change for change in mended.changes)


def test_the_loop_drops_what_cannot_be_corrected(draft: str, systems: Facts) -> None:
    tampered = (
        draft.replace("## Who leads\n", "## Who leads\n\nMore than 80 of them are rising. It is so.\n", 1)
        .replace("| Restate | 49 of 114", "| Nobody | 49 of 114", 1)
        .replace("Among packages, mcp (124)", "Among packages, the one and only mcp (124) and 7 others", 1)
    )
    for _ in range(2):
        problems = verify(tampered, systems).problems
        tampered = write_report(material_of(systems), tampered, problems).markdown
    assert verify(tampered, systems).problems == ()
    assert "80 of them" not in tampered
    assert "It is so." in tampered
    assert "Nobody | 49" not in tampered
    assert "7 others" not in tampered
    assert "- [2] packages.csv" not in tampered  # nobody cites it any more


def test_the_recount_knows_its_measures(coffee: Facts) -> None:
    ledger = Ledger(table_named(coffee, "exports.csv (cell by cell)"))
    year = is_("period", "2024")

    def counted(*measures: str) -> list[float | str]:
        return [
            item.exact if isinstance(item, Figure) else item.text
            for item in recount(ledger, [parsed(measure) for measure in measures]).expected
        ]

    assert counted('count([period] = "2024")', "count", "percent") == [8, 40, 20]
    assert counted('distinct([Region], [period] = "2024")') == [4]
    assert counted('top(2, [Origin], value([exports]), high, [period] = "2024")') == [
        "Brazil",
        50.4,
        "Vietnam",
        22.4,
    ]
    assert counted('which([Region], count([period] = "2024"), 3)') == ["South America"]
    assert counted("lowest([period])", "highest([period])") == ["2020", "2024"]
    assert recount(ledger, [call("median", Col("exports"), year)]).expected == [Figure(6.25)]
    assert isinstance(recount(ledger, [parsed("top(1, [Origin], count, high)")]).expected[0], Name)
    for wrong in (
        "sum([Origin])",
        "value([exports])",
        'count([no] = "1")',
        "top(3, [Origin])",
        "percent",
        "each",
    ):
        with pytest.raises(BasisError):
            counted(wrong)


_texts = st.text(max_size=12)
_letters = st.characters(exclude_characters="[]`", exclude_categories=["Cs", "Cc"])
_columns = st.text(alphabet=_letters, min_size=1, max_size=8)
_operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
_wheres = st.builds(Where, _columns, _operators, st.lists(_texts, min_size=1, max_size=3).map(tuple))
_calls = st.recursive(
    st.builds(Call, st.sampled_from(["count", "percent"]), st.lists(_wheres, max_size=2).map(tuple)),
    lambda inner: st.builds(
        Call,
        st.sampled_from(["top", "share"]),
        st.lists(st.one_of(inner, _wheres, _texts, _columns.map(Col), st.integers(0, 99)), max_size=4).map(
            tuple
        ),
    ),
    max_leaves=6,
)


@given(_calls)
def test_what_is_written_is_read_back(expression: Call) -> None:
    assert parsed(written(expression)) == expression


@given(st.text(alphabet='count()[]"=|,!<> 1a\\', max_size=30))
def test_no_text_breaks_the_reader(text: str) -> None:
    with contextlib.suppress(BasisError):
        parsed(text)
