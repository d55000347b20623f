"""What computed findings mean, said by a model and held against them.

Each finding has an id. A statement rests on one finding: every figure in it must be one of
that finding's, and every name of the data must stand in it. What does not hold is dropped
with the reason. The findings themselves are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from consort_agents import Context
from consort_agents.specialists.coverage import Coverage, Tally
from consort_agents.specialists.facts import Facts
from consort_agents.specialists.findings import Trends
from consort_agents.specialists.lexing import Lexicon, agrees, is_telling, lexicon_of, tokens, uncounted
from consort_agents.specialists.with_model import prompt
from consort_agents.specialists.wording import clip, listing
from consort_shared.values import Json

MOST_FINDINGS = 24
MOST_PARTS = 24
"""Of one list in a finding: names in an order come first, so these are the telling ones."""
MOST_STATEMENTS = 12
LONGEST = 400
"""Characters of a statement."""
_ASK = (
    "Say what the findings mean for the question: at most twelve statements, each one sentence that rests on one "
    "finding, named by its id. Every figure and every name in a statement must stand in that finding, as it is "
    "written there; add nothing up, work out no share. A statement that does not hold is dropped."
)


class Statement(BaseModel):
    """A sentence on what a finding means."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    finding: str = Field(description="the id of the finding that it rests on")
    text: str


class Statements(BaseModel):
    """What a model is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    statements: list[Statement]


def statements_on(
    findings: Mapping[str, Json], facts: Facts, ctx: Context
) -> tuple[list[Statement], list[str]]:
    """The statements that hold, and why others were dropped. Raises ThinkingFailed."""
    if not findings:
        return [], []
    asked: Json = [{"id": name, **finding} for name, finding in findings.items()]
    answer = ctx.model.ask_sync(
        prompt({"question": facts.question, "findings": asked}), schema=Statements, system=_ASK
    )
    kept, dropped = held(answer.value.statements, findings, lexicon_of(facts))
    ctx.progress(f"{len(kept)} statements, {len(dropped)} dropped")
    return kept, dropped


def held(
    statements: Sequence[Statement], findings: Mapping[str, Json], words: Lexicon
) -> tuple[list[Statement], list[str]]:
    """The statements that say what their finding says, and a sentence on each of the others."""
    kept: list[Statement] = []
    dropped: list[str] = []
    for statement in statements:
        why = _fault(statement, findings, words)
        if not why and len(kept) == MOST_STATEMENTS:
            why = f"there are {MOST_STATEMENTS} statements already"
        if why:
            dropped.append(f"{clip(statement.finding, 40)}: “{clip(statement.text, 160)}”: {why}")
        else:
            kept.append(statement)
    return kept, dropped


def numbered_trends(trends: Trends) -> dict[str, Json]:
    """The findings of the analyst by id, without what is only there to be drawn."""
    left_out = {"lines", "periods"}
    kinds = {
        "order": trends.orders,
        "recency": trends.recency,
        "majors": trends.majors,
        "series": trends.series,
    }
    found: dict[str, Json] = {}
    for kind, several in kinds.items():
        for number, finding in enumerate(several, start=1):
            found[f"{kind}-{number}"] = _neat(finding.model_dump(mode="json", exclude=left_out))
    return dict(list(found.items())[:MOST_FINDINGS])


def numbered_coverage(coverage: Sequence[Coverage]) -> dict[str, Json]:
    """The findings of the surveyor by id: who has most, by group, and what nobody has."""
    found: dict[str, Json] = {}
    for number, one in enumerate(coverage, start=1):
        found[f"coverage-{number}"] = {
            "table": one.matrix.table,
            "of": one.matrix.item,
            "items": one.items,
            "entities": [_share(tally) for tally in one.entities[:MOST_PARTS]],
        }
        if one.groups:
            found[f"groups-{number}"] = {
                "by": one.matrix.group,
                "groups": [_share(g) for g in one.groups[:MOST_PARTS]],
            }
        found[f"open-{number}"] = {
            "nobody_has": len(one.open_items),
            "items": [{"name": item.name, "partial": item.partial} for item in one.open_items[:MOST_PARTS]],
        }
    return dict(list(found.items())[:MOST_FINDINGS])


def _neat(value: Json) -> Json:
    """Without nulls and empty texts; numbers as people write them."""
    if isinstance(value, Mapping):
        return {name: _neat(part) for name, part in value.items() if part is not None and part != ""}
    if isinstance(value, list | tuple):
        return [_neat(part) for part in value[:MOST_PARTS]]
    if isinstance(value, float):
        return int(value) if value.is_integer() else round(value, 4)
    return value


def _share(tally: Tally) -> dict[str, Json]:
    percent = round(100 * tally.share)
    return {"name": tally.name, "full": tally.full, "counted": tally.counted, "percent": percent}


def _fault(statement: Statement, findings: Mapping[str, Json], words: Lexicon) -> str:
    """Why a statement does not hold, or nothing."""
    if statement.finding not in findings:
        return f"there is no such finding; there are {listing(list(findings))}"
    if len(statement.text) > LONGEST or not statement.text.strip():
        return f"a statement has up to {LONGEST} characters"
    leaves = list(_leaves(findings[statement.finding]))
    said = tokens(statement.text, words)
    figures = [token.text for token in said if token.kind != "name"]
    lost = [figure for figure in figures if not any(agrees(figure, leaf) for leaf in leaves)]
    if lost:
        return f"{listing(lost)} is no figure of the finding"
    texts = [leaf for leaf in leaves if isinstance(leaf, str)]
    if amounts := uncounted(statement.text, words, " ".join(texts)):
        return f"{listing(amounts)} is an amount that nobody can count again"
    names = [token.text for token in said if token.kind == "name" and is_telling(token.text)]
    lost = [name for name in names if not any(name in text for text in texts)]
    return f"{listing(lost)} does not stand in the finding" if lost else ""


def _leaves(value: Json) -> Iterator[float | str]:
    """Every number and text of a finding."""
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value
