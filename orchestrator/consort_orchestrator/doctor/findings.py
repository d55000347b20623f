"""What an examination finds: single findings, the state of each component, the whole report.

Data and the order of it; what is found is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from typing import Any


class Level(IntEnum):
    """How bad a finding is."""

    OK = 0
    NOTE = 1
    """worth knowing, nothing to mend"""
    WARNING = 2
    """something does not work as it should, or soon will not"""
    ERROR = 3
    """something does not work"""

    @property
    def word(self) -> str:
        return self.name.lower()


class Status(StrEnum):
    """How a component is; `unknown` when it could not be looked at."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: a sentence, and the command that mends it, empty where there is nothing to mend."""

    check: str
    level: Level
    what: str
    mend: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    """the facts, for programs"""


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the system and how it is."""

    name: str
    status: Status
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found. `reached` is whether the bus could be examined at all."""

    bus: str
    components: tuple[Component, ...]
    findings: tuple[Finding, ...]
    reached: bool = True

    @property
    def worst(self) -> Level:
        return max((finding.level for finding in self.findings), default=Level.OK)

    def counted(self) -> dict[str, int]:
        """How many findings there are of each level."""
        return {level.word: sum(one.level is level for one in self.findings) for level in Level}

    def as_data(self) -> dict[str, Any]:
        """For programs: everything, the worst findings first."""
        return {
            "bus": self.bus,
            "reached": self.reached,
            "level": self.worst.word,
            "counts": self.counted(),
            "components": [asdict(component) for component in self.components],
            "findings": [
                {**asdict(finding), "level": finding.level.word} for finding in worst_first(self.findings)
            ],
        }


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """In the order in which somebody should read them."""
    return sorted(findings, key=lambda finding: -finding.level)
