"""Holds a draft against the facts, claim by claim.

Trusts nothing that the writer says: the draft is taken apart from its text, every
entry of its list of sources is counted again from the tables, and the figures and
names of each sentence must be what the counting gives, in order. A figure or a name
without a citation is a fault even if it is right, because no reader could tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from consort_agents.specialists.basis import BasisError
from consort_agents.specialists.citations import quotable
from consort_agents.specialists.drafts import Claim, Draft, taken_apart
from consort_agents.specialists.evidence import Evidence, Scales
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.lexing import Lexicon, Token, agrees, is_telling, lexicon_of, tokens
from consort_agents.specialists.problems import Fault, Problem
from consort_agents.specialists.recount import Expected, Figure, Name, inner_measures, names_of_each, recount
from consort_agents.specialists.wording import figure, listing


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a check. `figures` and `citations` are how many were held against the facts."""

    problems: tuple[Problem, ...]
    figures: int
    citations: int


def verify(markdown: str, facts: Facts) -> Verdict:
    """Everything in a draft that does not hold against the facts."""
    words = lexicon_of(facts)
    return _Check(facts, words, taken_apart(markdown, words)).verdict()


class _Check:
    def __init__(self, facts: Facts, words: Lexicon, draft: Draft) -> None:
        self._facts = facts
        self._words = words
        self._draft = draft
        self._scales = Scales(facts)
        self._evidence: dict[int, Evidence] = {}
        self._figures = 0
        self._levels = {
            w for m in facts.matrices for w in (*m.full, *m.partial, *m.none, *m.apart, *m.unknown) if w
        }

    def verdict(self) -> Verdict:
        problems = [*self._sources()]
        for claim in self._draft.claims:
            if claim.kind == "heading" and claim.text == self._facts.question:
                continue
            problems.extend(self._row(claim) if claim.kind == "row" else self._sentence(claim))
        cited = sum(len(claim.cited) for claim in self._draft.claims)
        return Verdict(tuple(problems), self._figures, cited)

    def _sources(self) -> Iterator[Problem]:
        for bad in self._draft.unreadable:
            yield Problem(
                fault=Fault.SOURCE, place=f"Sources, line {bad.line}", claim=bad.text, reason=bad.why
            )
        used = {number for claim in self._draft.claims for number in claim.cited}
        for number, entry in self._draft.entries.items():
            line, text = self._draft.entry_lines[number]
            place = f"Sources, line {line}"
            if number not in used:
                yield Problem(
                    fault=Fault.SOURCE, place=place, claim=text, reason=f"[{number}] is cited nowhere"
                )
            try:
                self._evidence[number], wanted = self._scales.weigh(entry)
            except BasisError as exc:
                yield Problem(fault=Fault.SOURCE, place=place, claim=text, reason=str(exc))
                continue
            if wanted is not None:
                yield Problem(
                    fault=Fault.PLACE,
                    place=place,
                    claim=text,
                    claimed=(str(entry.first), str(entry.last)),
                    facts=(str(wanted[0]), str(wanted[1])),
                    reason=f"what was counted stands in {entry.place}s {wanted[0]} to {wanted[1]} of {entry.file}",
                )

    def _sentence(self, claim: Claim) -> Iterator[Problem]:
        missing = [number for number in claim.cited if number not in self._draft.entries]
        if missing:
            numbers = listing([f"[{number}]" for number in missing])
            yield _problem(Fault.MISSING, claim, reason=f"{numbers} is not in the list of sources")
            return
        if any(number not in self._evidence for number in claim.cited):
            yield _problem(Fault.MISSING, claim, reason="it leans on a source that does not hold")
            return
        evidence = [self._evidence[number] for number in claim.cited]
        if claim.kind != "caption" and any(piece.tables for piece in evidence):
            yield _problem(
                Fault.MISSING, claim, reason="it cites the count of a table's rows and has no table below it"
            )
            return
        text, wrong = _without_quotes(claim, evidence)
        if wrong is not None:
            yield wrong
            return
        yield from self._segments(claim, text, evidence)

    def _segments(self, claim: Claim, text: str, evidence: Sequence[Evidence]) -> Iterator[Problem]:
        literals = {word for piece in evidence for where in piece.conditions for word in where.texts if word}
        if claim.kind != "sentence" or not evidence:
            literals |= self._levels
        found = tokens(text, self._words, literals)
        said: list[Token] = []
        backing: list[Evidence] = []
        at = 0
        for number, token in enumerate(found):
            if token.kind != "cite":
                said.append(token)
                continue
            backing.append(evidence[at])
            at += 1
            if number + 1 < len(found) and found[number + 1].kind == "cite":
                continue
            yield from self._compare(claim, said, backing, text)
            said, backing = [], []
        figures = [token.text for token in said if token.kind == "figure"]
        names = [token.text for token in said if token.kind == "name" and is_telling(token.text)]
        if figures or (names and claim.kind != "heading"):
            what = listing([*figures, *names])
            yield _problem(
                Fault.UNCITED, claim, claimed=(*figures, *names), reason=f"no source is cited for {what}"
            )

    def _row(self, claim: Claim) -> Iterator[Problem]:
        """A row of a table: its names say which groups of the cited tables it is about."""
        if not claim.cited or any(number not in self._evidence for number in claim.cited):
            yield from self._sentence(claim)
            return
        found = [t for t in tokens(claim.text, self._words) if t.kind != "cite"]
        names = [token.text for token in found if token.kind == "name"]
        expected: list[Expected] = []
        beside: set[str] = set()
        taken: set[int] = set()
        for ledger, measure in (table for number in claim.cited for table in self._evidence[number].tables):
            groups = names_of_each(ledger, measure)
            at = next((at for at, n in enumerate(names) if n in groups and at not in taken), None)
            if at is None:
                yield _problem(
                    Fault.NAME, claim, claimed=tuple(names), reason="the row names nothing that was counted"
                )
                return
            taken.add(at)
            name = names[at]
            for column in ledger.table.columns:  # what goes with the name throughout, such as its group
                texts = set(ledger.texts(column.name, groups[name]))
                beside |= texts if len(texts) == 1 else set()
            expected += [Name(name), *recount(ledger, inner_measures(measure), groups[name]).expected]
        if not taken:
            yield _problem(Fault.UNCITED, claim, reason="the source cited above the table counts no rows")
            return
        yield from self._compare(claim, found, [Evidence(expected=expected)], claim.text, beside)

    def _compare(
        self,
        claim: Claim,
        said: Sequence[Token],
        backing: Sequence[Evidence],
        text: str,
        beside: set[str] | frozenset[str] = frozenset(),
    ) -> Iterator[Problem]:
        figures = [token.text for token in said if token.kind == "figure"]
        wanted = [item.exact for piece in backing for item in piece.expected if isinstance(item, Figure)]
        self._figures += len(figures)
        if len(figures) != len(wanted) or not all(map(agrees, figures, wanted)):
            shown = tuple(
                _shown(exact, figures[at] if at < len(figures) else "") for at, exact in enumerate(wanted)
            )
            reason = f"it says {listing(figures) or 'no figure'}; the facts give {listing(shown) or 'none'}"
            yield _problem(Fault.FIGURE, claim, tuple(figures), shown, reason)
            return
        for threshold in (bound for piece in backing for bound in piece.thresholds):
            if not any(agrees(said_figure, threshold) for said_figure in figures):
                reason = f"it was counted with the threshold {threshold}, which the sentence does not name"
                yield _problem(Fault.FIGURE, claim, tuple(figures), (), reason)
                return
        yield from self._names(claim, [t.text for t in said if t.kind == "name"], backing, text, beside)

    def _names(
        self,
        claim: Claim,
        names: Sequence[str],
        backing: Sequence[Evidence],
        text: str,
        beside: set[str] | frozenset[str],
    ) -> Iterator[Problem]:
        ordered = [item.text for piece in backing for item in piece.expected if isinstance(item, Name)]
        required = [name for piece in backing for name in piece.names]
        rest = iter(names)
        lost = [name for name in ordered if name in self._words.names and name not in rest]
        lost += [n for n in ordered if n not in self._words.names and n not in text]
        lost += [name for name in required if name not in text]
        columns = [name for piece in backing for name in piece.columns]
        extra = [n for n in names if is_telling(n) and n not in {*ordered, *required, *beside, *columns}]
        if lost or extra:
            parts = ([f"the facts name {listing(lost)} there"] if lost else []) + (
                [f"{listing(extra)} is not what was counted"] if extra else []
            )
            yield _problem(Fault.NAME, claim, tuple(names), tuple(ordered or required), "; ".join(parts))


def _problem(
    fault: Fault, claim: Claim, claimed: tuple[str, ...] = (), facts: tuple[str, ...] = (), reason: str = ""
) -> Problem:
    return Problem(
        fault=fault, place=claim.place, claim=claim.text, claimed=claimed, facts=facts, reason=reason
    )


def _without_quotes(claim: Claim, evidence: Sequence[Evidence]) -> tuple[str, Problem | None]:
    """The claim with quoted words and notes blotted out, and the problem if they are not in the source."""
    text = claim.text
    for piece in evidence:
        if piece.note:
            if not text.startswith(piece.note):
                problem = _problem(Fault.WORDS, claim, (), (piece.note,), "the note reads otherwise")
                return text, problem
            text = " " * len(piece.note) + text[len(piece.note) :]
    passages = [piece.quote for piece in evidence if piece.quote is not None]
    if not passages:
        return text, None
    quotes = re.findall(r"“([^”]*)”", text)
    for quote in quotes:
        if not any(quote in quotable(passage.text) for passage in passages):
            return text, _problem(
                Fault.WORDS, claim, (quote,), (passages[0].text,), "the source reads otherwise"
            )
        text = text.replace(f"“{quote}”", " " * (len(quote) + 2))
    return text, None if quotes else _problem(Fault.WORDS, claim, reason="it cites words and quotes none")


def _shown(exact: float | str, claimed: str) -> str:
    """A figure as it should have been written, with as many decimals as were claimed."""
    if isinstance(exact, str):
        return exact
    decimals = len(claimed.rpartition(".")[2]) if "." in claimed else None
    if decimals is None and claimed and claimed[-1].isdigit():
        decimals = 0
    return figure(exact, decimals)
