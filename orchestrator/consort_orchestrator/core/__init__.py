"""What happens next: pure functions from a run and what was said to new facts.

`decide` says which facts follow from messages, `apply` is the only code that
changes a run, and `fold` applies a history. Nothing here does I/O, reads a clock,
draws a random number or logs.
"""

from consort_orchestrator.core.apply import apply, fold
from consort_orchestrator.core.decide import (
    Candidate,
    Decision,
    Foreign,
    NeedArtefacts,
    Said,
    Unreadable,
    World,
    decide,
)
from consort_orchestrator.core.state import LEGAL, IllegalMove, Node, Phase, Role, Run, outstanding

__all__ = [
    "LEGAL",
    "Candidate",
    "Decision",
    "Foreign",
    "IllegalMove",
    "NeedArtefacts",
    "Node",
    "Phase",
    "Role",
    "Run",
    "Said",
    "Unreadable",
    "World",
    "apply",
    "decide",
    "fold",
    "outstanding",
]
