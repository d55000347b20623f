"""A model that answers from the record of a run: no network, no key, no cost, and loud at the first difference.

`consort journal export RUN --out FILE` writes the record, `replay:FILE` answers from it, as
`journal.record` says. Knows nothing of what else was recorded.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from consort_agents.journal.record import Drift, RunRecord, SealedAnswer
from consort_agents.models.errors import ModelUnusable, ReplayDrift
from consort_agents.models.finding import Opened, Source
from consort_agents.models.port import Deliver, Reply, Request, SeenLimits
from consort_shared.journal_export import BadRecord

NAME = "replay"


class Replay:
    """A record as a provider. What was used up of it is forgotten with the process."""

    name = NAME
    key = ""
    needs_network = False

    def __init__(self, file: str, record: RunRecord) -> None:
        self._file = file
        self.record = record

    async def ask(self, request: Request, deliver: Deliver | None = None, *, timeout: float = 600.0) -> Reply:
        """Raises ReplayDrift, ModelUnusable for an answer that the record holds sealed or damaged."""
        try:
            asked = request.model_dump(mode="json")
            reply = Reply.model_validate(self.record.take(request.agent, "model", request.model, asked))
        except Drift as exc:
            raise ReplayDrift(str(exc)) from exc
        except SealedAnswer as exc:
            raise ModelUnusable(str(exc)) from exc
        except ValidationError as exc:
            raise ModelUnusable(f"{self._file}: a recorded answer is none of a model: {exc}") from exc
        if deliver is not None and reply.text:
            deliver(reply.text)
        return reply

    async def count(self, request: Request) -> int:
        """A rough figure: the record does not hold what providers count."""
        return max(len(request.model_dump_json()) // 4, 1)

    def limits(self) -> SeenLimits | None:
        return None

    async def close(self) -> None:
        return None


def _open(file: str) -> Opened:
    try:
        record = RunRecord.load(Path(file))
    except BadRecord as exc:
        raise ModelUnusable(
            f"{exc}; `consort journal export RUN --out FILE` writes a record to replay"
        ) from exc
    return Replay(file, record), record.first_name("model") or NAME


SOURCE = Source(_open, takes="a record of a run, written by `consort journal export`")
