"""What does not hold in a draft: the words in which checker and writer understand each other."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Fault(StrEnum):
    """In what way a claim does not hold."""

    FIGURE = "figure"
    """a figure is not what the facts give"""
    NAME = "name"
    """a name is not the one that the facts give, or one too many"""
    UNCITED = "uncited"
    """a figure or name without a citation"""
    MISSING = "missing"
    """a citation of something that is not in the list of sources or not in the facts"""
    WORDS = "words"
    """a quotation that does not stand in the source"""
    PLACE = "place"
    """an entry of the list names the wrong lines"""
    SOURCE = "source"
    """an entry of the list cannot be read, counted or is used by nobody"""
    JUDGEMENT = "judgement"
    """the report does not answer the question, a judge thinks; it is about no claim"""


class Problem(BaseModel):
    """One claim that does not hold. `claim` is the text exactly as it stands in the draft, empty for a judgement."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: Fault
    place: str = Field(description="section and line of the draft")
    claim: str
    claimed: tuple[str, ...] = Field(default=(), description="the figures or names of the claim")
    facts: tuple[str, ...] = Field(
        default=(), description="what the facts give in their place, in the same order"
    )
    reason: str = Field(description="for a person")
