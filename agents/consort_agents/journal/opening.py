"""The journals of an agent's process: makes the one of a task."""

from __future__ import annotations

from dataclasses import dataclass

from consort_agents.heeding import InHand
from consort_agents.journal.journaling import FRESH, Journaling, Whose
from consort_agents.journal.keeping import Keeping
from consort_agents.journal.port import Divergence
from consort_agents.journal.rehearsal import Rehearsal
from consort_bus.artefacts import Artefacts
from consort_bus.envelope import AgentSeal
from consort_bus.journals import TaskJournal
from consort_bus.sealing import Box
from consort_bus.wire import Wire


@dataclass(frozen=True, slots=True)
class Journals:
    """What the journals of a process have in common."""

    wire: Wire
    seal: AgentSeal
    artefacts: Artefacts
    box: Box
    instance: str
    lease: float
    """seconds of silence after which a task goes to another process"""
    divergence: Divergence = "fail"
    rehearsal: Rehearsal | None = None

    def of(self, held: InHand) -> Journaling:
        """The journal of a task in hand."""
        run, granted = held.task.run, held.task.granted
        store = TaskJournal(self.wire, self.seal, granted.agent, run, granted.task)
        whose = Whose(run, granted.task, self.instance, held.delivery.delivered)
        # The last sign of life may be a third of a lease older than the last record.
        fresh = min(FRESH, self.lease / 2)
        return Journaling(store, Keeping(self.artefacts, self.box), whose, self.rehearsal, fresh)
