"""What must not leave, and what must or must not be said: rules held against a text.

Pure, and without a model. Finds what looks like an address, a number or a key by its shape and
puts its kind in its place; finds phrases by their words. Names of people and what a text means
have no shape, so they are not found here. Places are those in the text as it is given back,
in which nothing stands any more that was masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from consort_shared.telemetry.redacting import secret_places

Kind: TypeAlias = Literal["e-mail", "phone", "card", "iban", "key"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PROMISES = ("guaranteed", "risk-free", "legally binding", "no side effects")
"""What nobody may promise unless a plan's own rules say otherwise."""
_PHONES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?<![\w.,+-])(?:\+|00)[1-9](?:[ ./()-]{0,2}\d){7,13}(?!\w)",
        r"(?<![\w.,-])(?:\(0\)\d{1,4}|\(?0\d{1,4}\)?)(?:[ /-]\d{2,8}){1,4}(?!\w)",
        r"(?<![\w-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.-])\d{3}[ .-]\d{4}(?![\w-])",
    )
)
_DATE = re.compile(r"\d{2}([/-])\d{2}\1\d{2,4}")
_FEWEST_DIGITS = 7
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=200)]


class Rules(BaseModel):
    """What holds for a text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mask: tuple[Kind, ...] = Field(default=KINDS, description="what is replaced by its kind")
    forbidden: tuple[Phrase, ...] = Field(
        default=PROMISES, max_length=200, description="phrases that must not stand in it, in any case"
    )
    required: tuple[Phrase, ...] = Field(default=(), max_length=50, description="phrases that must")
    guidance: str = Field(
        default="",
        max_length=4000,
        description="what else holds, in words; judged by a model, if there is one",
    )


class Finding(BaseModel):
    """Something that a rule says of a text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Literal["mask", "forbidden", "required", "claim", "tone"]
    line: int = Field(default=0, description="of the text as it is given back; 0 for what is nowhere in it")
    column: int = 0
    quote: str = Field(default="", description="the words of the text; of what is masked only its kind")
    reason: str


class Screened(BaseModel):
    """What came of screening a text."""

    verdict: Literal["pass", "masked", "refuse"] = Field(
        description="`masked`: it may go out as it is given back; `refuse`: it may not"
    )
    findings: list[Finding]
    text: str = Field(description="without what must not leave")
    dropped: list[str] = Field(default_factory=list, description="objections of a model that quote nothing")
    without_model: str = Field(default="", description="why a model that is configured judged nothing")


def screened(text: str, rules: Rules) -> Screened:
    """A text by the rules."""
    clean, masked = _masked(text, rules)
    findings = [*masked, *_said(clean, rules)]
    return Screened(verdict=verdict_of(findings), findings=findings, text=clean)


def masked_text(text: str) -> str:
    """A text without anything that can be masked."""
    return _masked(text, Rules())[0]


def bears_mask(sentence: str) -> bool:
    """Whether something was masked in a sentence, so that it says nothing to whoever gets it."""
    return any(f"[{kind}]" in sentence for kind in KINDS)


def verdict_of(findings: list[Finding]) -> Literal["pass", "masked", "refuse"]:
    """The strictest that follows from findings; a matter of tone is only noted."""
    rules = {finding.rule for finding in findings}
    if rules & {"forbidden", "required", "claim"}:
        return "refuse"
    return "masked" if "mask" in rules else "pass"


def place_of(text: str, at: int) -> tuple[int, int]:
    """Line and column of a character, both from 1."""
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _masked(text: str, rules: Rules) -> tuple[str, list[Finding]]:
    """The text with kinds in place of what must not leave, and where they stand in it."""
    parts: list[str] = []
    at = length = 0
    marks: list[tuple[str, int]] = []
    for kind, start, end in _merged(text, rules):
        parts += [text[at:start], f"[{kind}]"]
        length += start - at
        marks.append((kind, length))
        length += len(parts[-1])
        at = end
    clean = "".join([*parts, text[at:]])
    findings = []
    for kind, start in marks:
        line, column = place_of(clean, start)
        reason = f"looks like {_NAMES[kind]}"
        findings.append(Finding(rule="mask", line=line, column=column, quote=f"[{kind}]", reason=reason))
    return clean, findings


_NAMES = {
    "e-mail": "somebody's address",
    "phone": "a telephone number",
    "card": "the number of a payment card",
    "iban": "the number of an account",
    "key": "a key, token or password",
}


def _merged(text: str, rules: Rules) -> list[tuple[str, int, int]]:
    """Places to mask, in order; those that overlap are one, named like the first."""
    merged: list[tuple[str, int, int]] = []
    for kind, start, end in sorted(_places(text), key=lambda place: (place[1], -place[2])):
        if kind not in rules.mask:
            continue
        if merged and start < merged[-1][2]:
            before, first, last = merged[-1]
            merged[-1] = (before, first, max(last, end))
        else:
            merged.append((kind, start, end))
    return merged


def _places(text: str) -> Iterator[tuple[str, int, int]]:
    yield from secret_places(text)
    for shape in _PHONES:
        for found in shape.finditer(text):
            digits = sum(char.isdigit() for char in found[0])
            if digits >= _FEWEST_DIGITS and not _DATE.fullmatch(found[0].strip("()")):
                yield "phone", *found.span()


def _said(text: str, rules: Rules) -> Iterator[Finding]:
    for phrase in rules.forbidden:
        for found in _phrase(phrase).finditer(text):
            line, column = place_of(text, found.start())
            reason = "must not be said"
            yield Finding(rule="forbidden", line=line, column=column, quote=found[0], reason=reason)
    for phrase in rules.required:
        if not _phrase(phrase).search(text):
            yield Finding(rule="required", reason=f"“{phrase}” must be said")


def _phrase(phrase: str) -> re.Pattern[str]:
    """A phrase as words: in any case, with any space between them."""
    words = r"\s+".join(map(re.escape, phrase.split()))
    return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
