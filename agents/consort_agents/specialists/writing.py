"""From findings to a report, and from a report with faults to one without.

A first draft is written from the findings; a later one is the draft before it with
the faulty claims corrected or dropped. It is not written afresh: the same findings
would give the same faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consort_agents.specialists.lexing import lexicon_of
from consort_agents.specialists.material import Material
from consort_agents.specialists.problems import Fault, Problem
from consort_agents.specialists.report import report_of
from consort_agents.specialists.revision import revise
from consort_shared.values import Json


@dataclass(frozen=True, slots=True)
class Report:
    """The report, and what was changed in it since the last draft."""

    markdown: str
    changes: tuple[str, ...]


def write_report(material: Material, draft: str | None, problems: Sequence[Problem]) -> Report:
    """A draft from the material; with an earlier draft, that one with its problems mended.

    A judgement is no matter of claims: it is for whoever drafts the section that answers it.
    """
    markdown = draft if draft else report_of(material)
    problems = [problem for problem in problems if problem.fault is not Fault.JUDGEMENT]
    if not problems:
        return Report(markdown, ())
    revised = revise(markdown, problems, lexicon_of(material.facts))
    return Report(revised.markdown, revised.changes)


def key_figures(material: Material) -> dict[str, Json]:
    """A few figures for whoever does not read the report."""
    facts = material.facts
    figures: dict[str, Json] = {
        "files": len(facts.files),
        "rows": sum(len(table.places) for table in facts.tables if table.name == table.file),
    }
    for coverage in material.coverage[:1]:
        first = coverage.entities[0]
        figures["leader"] = {"name": first.name, "full": first.full, "counted": first.counted}
        figures["items"] = coverage.items
        figures["items_nobody_has"] = len(coverage.open_items)
        figures["cells_unknown"] = coverage.total.unknown
        figures["cells_out_of_count"] = coverage.total.apart
    for order in material.trends.orders[:1]:
        figures["first_by"] = {"column": order.column, "names": [leader.name for leader in order.leaders[:3]]}
    for recency in material.trends.recency[:1]:
        figures["recent"] = {"since": recency.since, "count": recency.recent, "of": recency.dated}
    return figures
