"""Makes a draft hold: corrects what the facts correct, drops what they do not bear.

Works on the text of any draft, whoever wrote it. A claim is corrected only if the
facts give a figure for every figure of it; anything else that does not hold is
taken out, together with sources that nobody cites any more. Nothing is reworded:
a sentence either stands with the right figures or it goes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from consort_agents.specialists.citations import HEADING
from consort_agents.specialists.drafts import cited_in
from consort_agents.specialists.lexing import Lexicon, tokens
from consort_agents.specialists.problems import Fault, Problem


@dataclass(frozen=True, slots=True)
class Revised:
    """A draft after its revision, and what was done to it, for a person."""

    markdown: str
    changes: tuple[str, ...]


def revise(markdown: str, problems: Sequence[Problem], words: Lexicon) -> Revised:
    """The draft with every problem corrected or taken out."""
    changes = []
    renewed: dict[str, str] = {}
    for told in problems:
        problem = told.model_copy(update={"claim": renewed.get(told.claim, told.claim)})
        corrected = _corrected(problem, words)
        shorter = _replaced(markdown, problem, corrected)
        if shorter == markdown:
            continue
        markdown = shorter
        renewed[problem.claim] = corrected
        done = f"corrected to: {corrected}" if corrected else "taken out"
        changes.append(f"{problem.place}: {problem.reason}; {done}")
    return Revised(_tidied(markdown), tuple(changes))


def _corrected(problem: Problem, words: Lexicon) -> str:
    """The claim with the figures that the facts give; empty if it must go."""
    claim = problem.claim
    if problem.fault is Fault.PLACE and len(problem.facts) == 2:
        first, last = problem.facts
        where = f"{first}–{last}" if first != last else first
        return re.sub(r", (line|item)s? \d+(?:–\d+)?: ", lambda m: _place(m[1], where), claim, count=1)
    if problem.fault is not Fault.FIGURE or not problem.facts or len(problem.facts) != len(problem.claimed):
        return ""
    right = dict(enumerate(problem.facts))
    for start, said, fact in reversed(_located(problem, words, right)):
        claim = claim[:start] + fact + claim[start + len(said) :]
    return claim


def _place(unit: str, where: str) -> str:
    return f", {unit}{'s' if '–' in where else ''} {where}: "


def _located(problem: Problem, words: Lexicon, right: dict[int, str]) -> list[tuple[int, str, str]]:
    """Where in the claim the faulty figures stand: the first run of tokens that reads as what was claimed."""
    found = [token for token in tokens(problem.claim, words) if token.kind == "figure"]
    texts = [token.text for token in found]
    for start in range(len(texts) - len(problem.claimed) + 1):
        if tuple(texts[start : start + len(problem.claimed)]) == problem.claimed:
            run = found[start : start + len(problem.claimed)]
            return [(token.start, token.text, right[at]) for at, token in enumerate(run)]
    return []


def _replaced(markdown: str, problem: Problem, corrected: str) -> str:
    """Puts the corrected claim in the place of the claim, or takes its line or sentence out."""
    lines = markdown.split("\n")
    at = _line_of(problem, lines)
    if at is None:
        return markdown
    claim = problem.claim if problem.claim in lines[at] else problem.claim.replace("|", "\\|")
    if corrected:
        lines[at] = lines[at].replace(problem.claim, corrected, 1)
    elif lines[at].startswith(("|", ">", "#", f"- {problem.claim[:3]}")) or problem.fault is Fault.SOURCE:
        del lines[at]
    else:
        rest = re.sub(r"\s{2,}", " ", lines[at].replace(claim, "", 1)).rstrip()
        if re.match(r"^\s*([-*+]|\d+[.)])?\s*(\*\*[^*]*\*\*)?$", rest):
            del lines[at]
        else:
            lines[at] = rest
    return "\n".join(lines)


def _line_of(problem: Problem, lines: Sequence[str]) -> int | None:
    """The line that holds the claim: the one the problem names if it does, else the first that does."""
    named = re.search(r"line (\d+)$", problem.place)
    at = int(named[1]) - 1 if named else -1
    if 0 <= at < len(lines) and problem.claim in lines[at].replace("\\|", "|"):
        return at
    return next((n for n, line in enumerate(lines) if problem.claim in line.replace("\\|", "|")), None)


def _tidied(markdown: str) -> str:
    """Drops sources that nobody cites, and sections and tables that have become empty."""
    body, heading, sources = markdown.partition(f"\n## {HEADING}\n")
    used = set(cited_in(body))
    kept = [
        line
        for line in sources.split("\n")
        if not (found := re.match(r"^- \[(\d+)\]", line)) or int(found[1]) in used
    ]
    body = re.sub(r"(?:^[^\n|]*:\n\n)?^\|[^\n]*\|\n\|[-:| ]+\|\n(?!\|)", "\n", body, flags=re.MULTILINE)
    body = re.sub(r"\n{3,}", "\n\n", body)
    return body + heading + "\n".join(kept)
