"""How far the data carries: what a reader must know before leaning on the report."""

from __future__ import annotations

import re

from consort_agents.specialists.basis import is_
from consort_agents.specialists.citations import NOTES, quotable
from consort_agents.specialists.facts import Passage, Role
from consort_agents.specialists.gaps_section import unknown_limit
from consort_agents.specialists.material import Material, count, known_count, many, one
from consort_agents.specialists.passages import CAVEAT
from consort_agents.specialists.wording import label, listing, quoted

_QUOTED = 5


def limits_section(material: Material) -> list[str]:
    """The limits, as a list: first what was seen while reading, then what the figures cannot say."""
    points = [f"{note}{material.book.note(at)}" for at, note in enumerate(material.facts.limits, start=1)]
    points += [f"“{quotable(p.text)}”{material.book.quote(p)}." for p in material.facts.passages if p.caveat]
    for coverage in material.coverage:
        points += [unknown_limit(material, coverage), _weights(material)]
    points += _orders(material)
    if material.trends.matches and material.coverage:
        points.append(
            "Names in different tables were matched by their words; a name spelt otherwise was not found."
        )
    return [*(f"- {point}" for point in dict.fromkeys(points)), ""]


def trust_summary(material: Material) -> list[str]:
    """How far the answers can be trusted, for the summary."""
    said = []
    for coverage in material.coverage[:1]:
        table, matrix, total = material.table(coverage.matrix.table), coverage.matrix, coverage.total
        cited = material.book.count(table, known_count(matrix), count())
        cells = total.counted + total.apart + total.unknown
        said.append(f"{total.counted:,} of {cells:,} cells of {matrix.table} could be counted{cited}.")
    for passage in [p for p in material.facts.passages if p.caveat][:1]:
        words = next(
            (part for part in re.split(r"(?<=[.!?])\s+", passage.text) if CAVEAT.search(part)), passage.text
        )
        said.append(f"The sources say of themselves: “{quotable(words)}”{material.book.quote(passage)}.")
    if material.facts.limits:
        said.append("Some of the sources could not be used in full.")
    return [*said, "What the figures cannot say is under “Limits of the data”."]


def _weights(material: Material) -> str:
    matrix = material.coverage[0].matrix
    said = f"Every {one(matrix.item)} counts the same, however much it matters to you"
    return said + (f", and {quoted(matrix.partial)} has no worth of its own." if matrix.partial else ".")


def _orders(material: Material) -> list[str]:
    points = []
    for order in material.trends.orders:
        name = label(order.column)
        if order.role is Role.RANK:
            points.append(f"The {name} is a place in an order: it says who is ahead, not by how much.")
        missing = order.rows - order.valued
        if missing and not order.period and not order.summed:
            cited = material.book.count(material.table(order.table), count(is_(order.column, "")), count())
            points.append(
                f"{missing} of {order.rows} {many(order.key)} have no {name} and are in no order by it{cited}."
            )
    if points and not any(order.role is Role.QUANTITY for order in material.trends.orders):
        points.append(
            "No column holds amounts, so the report says nothing of market shares or concentration."
        )
    return points


def passages_section(material: Material) -> list[str]:
    """The passages nearest to the question, word for word."""
    near = [p for p in material.facts.passages if not p.caveat][:_QUOTED]
    return [line for passage in near for line in (f"> {_said(material, passage)}", "")]


def _said(material: Material, passage: Passage) -> str:
    who = f"{passage.about}: " if passage.about else ""
    return f"{who}“{quotable(passage.text)}”{material.book.quote(passage)}"


def note_on_sources(material: Material) -> list[str]:
    """How to read the list of sources."""
    files = listing([f"`{file.name}`" for file in material.facts.files])
    return [
        f"Read: {files}. Each entry names a file, its lines, and how the figure was counted there: conditions in round "
        f"brackets, columns in square ones. Entries named “{NOTES}” are what was seen while reading.",
        "",
    ]
