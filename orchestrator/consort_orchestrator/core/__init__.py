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
    Forged,
    NeedArtefacts,
    Said,
    Unreadable,
    World,
    decide,
)
from consort_orchestrator.core.portrait import portrait
from consort_orchestrator.core.state import (
    LEGAL,
    REOPENS,
    Effected,
    IllegalMove,
    Node,
    Phase,
    Role,
    Run,
    in_hand,
    node_of_task,
    outstanding,
)

__all__ = [
    "LEGAL",
    "REOPENS",
    "Candidate",
    "Decision",
    "Effected",
    "Foreign",
    "Forged",
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
    "in_hand",
    "node_of_task",
    "outstanding",
    "portrait",
]
