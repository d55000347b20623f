"""A whole run from its record: every call of a process is answered from a file, and none is made.

`CONSORT_REPLAY=calls.jsonl` in an agent's environment turns it on: models, tools, the time and
random numbers are those of the recorded run. For tests; a difference fails the task at once.
"""

from __future__ import annotations

import os
from pathlib import Path

from consort_agents.errors import AgentError, SkillError
from consort_agents.journal.record import Drift, RunRecord, SealedAnswer
from consort_shared.journal_export import BadRecord
from consort_shared.values import Json

VARIABLE = "CONSORT_REPLAY"
KIND = "replay-drift"


class Rehearsal:
    """The answers of one agent's calls."""

    def __init__(self, record: RunRecord, agent: str) -> None:
        self._record = record
        self._agent = agent

    def answer(self, kind: str, name: str, request: Json) -> Json:
        """Raises SkillError."""
        try:
            return self._record.take(self._agent, kind, name, request)
        except (Drift, SealedAnswer) as exc:
            raise SkillError(str(exc), kind=KIND, retry=False) from exc


def asked_for(agent: str) -> Rehearsal | None:
    """None unless the environment asks for it. Raises AgentError for a file that is no record."""
    file = os.environ.get(VARIABLE)
    if not file:
        return None
    try:
        return Rehearsal(RunRecord.load(Path(file)), agent)
    except BadRecord as exc:
        raise AgentError(f"{VARIABLE} names no record of a run: {exc}") from exc
