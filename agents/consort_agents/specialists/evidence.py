"""What the entries of a list of sources give when they are followed.

An entry is counted again from the tables, or its quotation or note is looked up.
What comes of it is what a claim may say; whether the claim says that is for
`verifying`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consort_agents.specialists.basis import BasisError, Call, Col, Where
from consort_agents.specialists.citations import Entry
from consort_agents.specialists.facts import Facts, Kind, Passage
from consort_agents.specialists.recount import Expected, Ledger, names_of_each, recount
from consort_agents.specialists.wording import listing


@dataclass(slots=True)
class Evidence:
    """What an entry of the list gives."""

    expected: list[Expected] = field(default_factory=list)
    tables: list[tuple[Ledger, Call]] = field(default_factory=list)
    conditions: list[Where] = field(default_factory=list)
    thresholds: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    quote: Passage | None = None
    note: str = ""


class Scales:
    """Weighs entries against the facts. Keeps what was worked out about a table from one entry to the next."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._ledgers = {table.name: Ledger(table) for table in facts.tables}

    def weigh(self, entry: Entry) -> tuple[Evidence, tuple[int, int] | None]:
        """What an entry gives, and the right place if it names a wrong one. Raises BasisError."""
        match entry.kind:
            case "note":
                return self._note(entry), None
            case "quote":
                return self._quoted(entry), None
            case "count":
                return self._counted(entry)

    def _note(self, entry: Entry) -> Evidence:
        number = next((a for a in entry.measures[0].arguments if isinstance(a, int)), 0)
        if not 1 <= number <= len(self._facts.limits):
            raise BasisError(f"there is no note {number}; there are {len(self._facts.limits)}")
        return Evidence(note=self._facts.limits[number - 1])

    def _quoted(self, entry: Entry) -> Evidence:
        for passage in self._facts.passages:
            if (passage.file, passage.first, passage.last) == (entry.file, entry.first, entry.last):
                return Evidence(quote=passage, names=[passage.about] if passage.about else [])
        raise BasisError(
            f"no passage of {entry.file} from {entry.place} {entry.first} to {entry.last} was gathered"
        )

    def _counted(self, entry: Entry) -> tuple[Evidence, tuple[int, int] | None]:
        if entry.file not in self._ledgers:
            raise BasisError(
                f"no table {entry.file} was gathered; there are: {listing(sorted(self._ledgers)) or 'none'}"
            )
        ledger = self._ledgers[entry.file]
        if entry.place != ledger.table.place:
            raise BasisError(f"places in {entry.file} are counted in {ledger.table.place}s")
        plain = [measure for measure in entry.measures if measure.name != "each"]
        tables = [measure for measure in entry.measures if measure.name == "each"]
        counted = recount(ledger, plain)
        evidence = Evidence(expected=counted.expected, tables=[(ledger, measure) for measure in tables])
        evidence.columns.extend(name for measure in entry.measures for name in _columns(measure))
        for measure in entry.measures:
            evidence.conditions.extend(_conditions(measure))
        for condition in evidence.conditions:
            self._literals(ledger, condition, evidence)
        rows = set(counted.rows)
        for measure in tables:
            rows.update(row for members in names_of_each(ledger, measure).values() for row in members)
        return evidence, _wrong_place(entry, ledger, rows)

    def _literals(self, ledger: Ledger, condition: Where, evidence: Evidence) -> None:
        """Thresholds and names in a condition must stand in the sentence that leans on it."""
        kind = ledger.column(condition.column).kind
        for text in condition.texts:
            if self._is_value(ledger, condition):
                continue
            if text and kind in (Kind.NUMBER, Kind.DATE, Kind.VERSION):
                evidence.thresholds.append(text)
            elif condition.operator == "=" and text:
                evidence.names.append(text)

    def _is_value(self, ledger: Ledger, condition: Where) -> bool:
        """Whether a column holds levels rather than names."""
        matrix = any(
            m.table == ledger.table.name and m.value == condition.column for m in self._facts.matrices
        )
        return matrix or ledger.column(condition.column).kind is Kind.LEVEL


def _conditions(measure: Call) -> list[Where]:
    found = [argument for argument in measure.arguments if isinstance(argument, Where)]
    for inner in measure.arguments:
        if isinstance(inner, Call):
            found.extend(_conditions(inner))
    return found


def _columns(measure: Call) -> list[str]:
    """The columns that a measure speaks of: a header may be the same word as a name."""
    found = [argument.name for argument in measure.arguments if isinstance(argument, Col)]
    for inner in measure.arguments:
        if isinstance(inner, Call):
            found.extend(_columns(inner))
    return found


def _wrong_place(entry: Entry, ledger: Ledger, rows: set[int]) -> tuple[int, int] | None:
    """The right lines if an entry names neither the whole table nor exactly the rows that were counted."""
    places = ledger.table.places
    if not places:
        return None
    whole = (min(places), max(places))
    counted = [places[row] for row in rows]
    exact = (min(counted), max(counted)) if counted else whole
    return None if (entry.first, entry.last) in (whole, exact) else exact
