"""What to tell a person, taken out of a result, and the form of a message.

Pure. Takes sentences as they stand, out of a Markdown report or an object, the summary first; adds
a greeting and an ending by tone, and claims nothing of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from consort_agents.specialists.citations import HEADING
from consort_agents.specialists.grounding import sentences
from consort_agents.specialists.report import SUMMARY
from consort_agents.specialists.screening import Finding
from consort_agents.specialists.wording import capital, label, listing
from consort_shared.values import Json

Tone: TypeAlias = Literal["plain", "warm", "formal"]
_TEXTS = ("summary", "message", "answer", "text", "report", "output")
"""The fields of an object that may hold what is to be told, the best first."""
_GREETINGS = {
    "plain": ("Hello {},", "Hello,"),
    "warm": ("Dear {},", "Hello,"),
    "formal": ("Dear {},", "Dear customer,"),
}
_THANKS = {"plain": "", "warm": "Thank you for writing.", "formal": "Thank you for your message."}
_ENDINGS = {
    "plain": "",
    "warm": "Please write again if anything is unclear. Kind regards",
    "formal": "Yours sincerely",
}
_REFUSED = {
    "forbidden": "it says something that we may not say",
    "required": "something that has to be said is missing in it",
    "claim": "it claims something that we cannot stand by",
}
_MARKS = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|\s*\[\d+\]|\*\*|`")
_NO_TEXT = re.compile(r"^\s*(#|\||>|!\[|```|([-=*_]\s*){3,}$)")


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to say: sentences, the most telling first, and a title if there is one."""

    sentences: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """To whom, how, about what."""

    to: str
    about: str
    tone: Tone
    sign: str


def told_by(result: Json) -> Told:
    """What a result has to say: of a text its summary, or all of it; of an object its text, or its values."""
    if isinstance(result, str):
        return _of_markdown(result)
    if isinstance(result, Mapping):
        for name in _TEXTS:
            text = result.get(name)
            if isinstance(text, str) and text.strip():
                return _of_markdown(text)
        return Told(tuple(_values(result)))
    if isinstance(result, list | tuple):
        return Told(tuple(s for part in result for s in told_by(part).sentences))
    return (
        Told((f"{result}.",))
        if isinstance(result, int | float) and not isinstance(result, bool)
        else Told(())
    )


def reasons_of(findings: Sequence[Finding]) -> str:
    """Why something cannot be sent, for the person it was meant for: no quotation, no inner rule."""
    reasons = dict.fromkeys(_REFUSED[one.rule] for one in findings if one.rule in _REFUSED)
    return listing(list(reasons)) or "it did not pass our check"


def message(paragraphs: Sequence[str], form: Form) -> str:
    """The whole message."""
    named, nameless = _GREETINGS[form.tone]
    parts = [
        named.format(form.to) if form.to else nameless,
        *([_THANKS[form.tone]] if _THANKS[form.tone] else []),
        *paragraphs,
        *([_ENDINGS[form.tone]] if _ENDINGS[form.tone] else []),
        *([form.sign] if form.sign else []),
    ]
    return "\n\n".join(parts)


def fitting(said: Sequence[str], words: int) -> list[str]:
    """The first sentences that have so many words together; one at least."""
    kept: list[str] = []
    room = words
    for sentence in said:
        room -= len(sentence.split())
        if kept and room < 0:
            break
        kept.append(sentence)
    return kept


def _of_markdown(text: str) -> Told:
    lines = text.partition(f"\n## {HEADING}\n")[0].split("\n")
    title = next((line.lstrip("# ").strip() for line in lines if line.startswith("# ")), "")
    summary = _section(lines, SUMMARY)
    return Told(tuple(_prose(summary) or _prose(lines)), title)


def _section(lines: Sequence[str], name: str) -> list[str]:
    start = next((at for at, line in enumerate(lines) if line.strip() == f"## {name}"), None)
    if start is None:
        return []
    end = next((at for at in range(start + 1, len(lines)) if lines[at].startswith("#")), len(lines))
    return list(lines[start + 1 : end])


def _prose(lines: Sequence[str]) -> list[str]:
    """The sentences of paragraphs and lists; no headings, tables, quotations, pictures."""
    found: list[str] = []
    block: list[str] = []
    for line in [*lines, ""]:
        item = re.match(r"^\s*([-*+]|\d+[.)]) +", line)
        if not line.strip() or item or _NO_TEXT.match(line):
            found += sentences(_MARKS.sub(r"\1", " ".join(block)))
            block = []
        if line.strip() and not _NO_TEXT.match(line):
            block.append(line[item.end() :].strip() if item else line.strip())
    return found


def _values(result: Mapping[str, Json]) -> list[str]:
    return [
        f"{capital(label(name))}: {value}."
        for name, value in result.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip()
    ]
