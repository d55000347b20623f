"""The section "What this means" of a report: where it stands, whether it holds, and how it is made to.

The section is text that nobody computed, so nothing of it is believed: it is held against the
facts like the rest of the report, sentence by sentence, by the same `verify`. Knows no model;
who writes the section is told in `drafting`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from consort_agents.specialists.citations import HEADING
from consort_agents.specialists.drafts import Claim, taken_apart
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.lexing import lexicon_of, uncounted
from consort_agents.specialists.verifying import verify
from consort_agents.specialists.wording import listing

TITLE = "What this means"
AFTER = "Summary"
LABEL = "*Written by a model from the findings of this report, and held against the sources like all of it.*"
MOST_PARAGRAPHS = 6
LONGEST = 1_500
"""Characters of a paragraph."""
_MARKUP = re.compile(
    r"^\s*([#>|]|[-*+]\s|\d+[.)]\s|```|~~~|\[\d+\]:)|\]\(|<|`|!\[|://|\bwww\.|^\s*([-=*_]\s*){3,}$"
)
"""What would make of a paragraph something else: a heading, a list, a table, a link."""


@dataclass(frozen=True, slots=True)
class Unheld:
    """A sentence, or a paragraph, that does not hold."""

    text: str
    reason: str


def quotable_sentences(report: str, facts: Facts) -> list[Claim]:
    """The sentences of a report that cite and hold: what a section may take its figures from."""
    faulty = {problem.claim for problem in verify(report, facts).problems}
    claims = taken_apart(report, lexicon_of(facts)).claims
    told = [c for c in claims if c.kind in ("sentence", "quote") and c.cited and c.section != TITLE]
    return [claim for claim in told if claim.text not in faulty]


def tidied(paragraphs: Sequence[str]) -> list[str]:
    """Paragraphs of one line each."""
    return [plain for text in paragraphs if (plain := " ".join(text.split()))]


def with_section(report: str, paragraphs: Sequence[str]) -> str:
    """The report with this section, in the place of the one it may have; without paragraphs, with none."""
    lines = _without_section(report.split("\n"))
    if not paragraphs:
        return "\n".join(lines)
    at = _place(lines)
    section = [""] if at and lines[at - 1] else []
    section += [f"## {TITLE}", "", LABEL, ""]
    section += [line for text in paragraphs for line in (text, "")]
    return "\n".join([*lines[:at], *section, *lines[at:]])


def section_of(report: str) -> list[str]:
    """The paragraphs of the section; none if the report has no such section."""
    lines = report.split("\n")
    if (span := _span(lines)) is None:
        return []
    return [line for line in lines[span[0] + 1 : span[1]] if line.strip() and line != LABEL]


def unheld(report: str, paragraphs: Sequence[str], facts: Facts) -> list[Unheld]:
    """What of these paragraphs does not hold in this report."""
    found = [
        Unheld(text, "a paragraph is plain text: no heading, list, table, link, quotation block or code")
        for text in paragraphs
        if _MARKUP.search(text)
    ]
    found += [
        Unheld(text, f"a paragraph has up to {LONGEST} characters")
        for text in paragraphs
        if len(text) > LONGEST
    ]
    if len(paragraphs) > MOST_PARAGRAPHS:
        found.append(Unheld(paragraphs[-1], f"the section has up to {MOST_PARAGRAPHS} paragraphs"))
    if found:
        return found
    whole = with_section(report, paragraphs)
    problems = verify(whole, facts).problems
    mine = [problem for problem in problems if problem.place.startswith(f"{TITLE}, line ")]
    return [*(Unheld(problem.claim, problem.reason) for problem in mine), *_amounts(report, whole, facts)]


def _amounts(report: str, whole: str, facts: Facts) -> list[Unheld]:
    """Sentences of the section with words for amounts; those that the report has itself were counted."""
    words = lexicon_of(facts)
    headers = " ".join(column.name for table in facts.tables for column in table.columns)
    mine = [claim for claim in taken_apart(whole, words).claims if claim.section == TITLE]
    found = []
    for claim in mine:
        if claim.text not in report and (amounts := uncounted(claim.text, words, headers)):
            found.append(Unheld(claim.text, f"{listing(amounts)} is an amount that nobody can count again"))
    return found


def held(report: str, paragraphs: Sequence[str], facts: Facts) -> tuple[list[str], list[Unheld]]:
    """The paragraphs without what does not hold, and what that was."""
    left = list(paragraphs)
    dropped: list[Unheld] = []
    while left and (faults := unheld(report, left, facts)):
        shorter = left
        for fault in faults:
            shorter = _without(shorter, fault.text)
        if shorter == left:  # a fault whose text cannot be found: nothing of it can be trusted
            return [], [*dropped, *faults]
        dropped += faults
        left = shorter
    return left, dropped


def _without(paragraphs: Sequence[str], text: str) -> list[str]:
    """The paragraphs without the first that this is, or without this sentence of it."""
    at = next((at for at, paragraph in enumerate(paragraphs) if text and text in paragraph), None)
    if at is None:
        return list(paragraphs)
    rest = " ".join(paragraphs[at].replace(text, " ", 1).split())
    return [*paragraphs[:at], *([rest] if rest else []), *paragraphs[at + 1 :]]


def _place(lines: Sequence[str]) -> int:
    """The line before which the section goes: after the summary, else before the sources, else the end."""
    heads = [at for at, line in enumerate(lines) if line.startswith("## ")]
    for at, head in enumerate(heads):
        if lines[head] == f"## {AFTER}":
            return heads[at + 1] if at + 1 < len(heads) else len(lines)
    return next((at for at in heads if lines[at] == f"## {HEADING}"), len(lines))


def _span(lines: Sequence[str]) -> tuple[int, int] | None:
    """From the section's heading to the next."""
    start = next((at for at, line in enumerate(lines) if line == f"## {TITLE}"), None)
    if start is None:
        return None
    return start, next((at for at in range(start + 1, len(lines)) if lines[at].startswith("#")), len(lines))


def _without_section(lines: list[str]) -> list[str]:
    span = _span(lines)
    return lines if span is None else lines[: span[0]] + lines[span[1] :]
