"""Puts a report together: the answer first, then what it rests on, then its limits.

Arranges what the sections say and adds no claim of its own. A section that has
nothing to say is left out; that there is nothing to say is then in the summary.
"""

from __future__ import annotations

import re

from consort_agents.specialists.citations import HEADING
from consort_agents.specialists.gaps_section import gaps_section, gaps_summary
from consort_agents.specialists.leaders_section import leaders_section, leaders_summary
from consort_agents.specialists.limits_section import (
    limits_section,
    note_on_sources,
    passages_section,
    trust_summary,
)
from consort_agents.specialists.material import Material
from consort_agents.specialists.movement_section import movement_section, movement_summary

UNASKED = "What the sources say"
SUMMARY = "Summary"


def report_of(material: Material) -> str:
    """The report as Markdown."""
    lines = [f"# {material.facts.question or UNASKED}", "", f"## {SUMMARY}", "", *_summary(material)]
    sections = (
        ("Who leads", leaders_section(material)),
        ("Where it is moving", movement_section(material)),
        ("What nobody does well", gaps_section(material)),
        ("In the words of the sources", passages_section(material)),
        ("Limits of the data", limits_section(material)),
    )
    for title, body in sections:
        if any(line.strip() for line in body):
            lines += [f"## {title}", "", *body]
    lines += [f"## {HEADING}", "", *note_on_sources(material), *material.book.lines(), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _summary(material: Material) -> list[str]:
    leads = leaders_summary(material) or [
        "The sources hold no table that puts names in an order, so they do not tell who leads."
    ]
    points = (
        ("Who leads", leads),
        ("Where it is moving", movement_summary(material)),
        ("What nobody does well", gaps_summary(material)),
        ("How far this carries", trust_summary(material)),
    )
    return [line for head, said in points for line in (f"- **{head}.** {' '.join(said)}", "")]
