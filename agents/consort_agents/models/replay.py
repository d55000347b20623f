"""A model that answers from the record of a run: no network, no key, no cost, and loud at the first difference.

`consort journal export RUN --out FILE` writes the record, `replay:FILE` answers from it. A request
is known by its parts, without the name of the model, and by the agent that asks. Each recorded call
answers once; equal ones in their order. What is not recorded is not made up: the request is
compared with the call that should come next, and the part that differs is named.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from consort_agents.models.errors import ModelUnusable, ReplayDrift
from consort_agents.models.finding import Opened, Source
from consort_agents.models.port import Deliver, Reply, Request, SeenLimits
from consort_shared import hiding
from consort_shared.journal import differing, part_of, parts_of, short
from consort_shared.journal_export import BadRecord, ExportedCall, read_record

NAME = "replay"
_MODEL = "model"
"""The part that is not compared: under another name the model was asked when the run was recorded."""
_EXCERPT = 300
_NAMED = 4


class Replay:
    """A record as a provider. What was used up of it is forgotten with the process."""

    name = NAME
    key = ""
    needs_network = False

    def __init__(self, file: str, calls: list[ExportedCall]) -> None:
        self._file = file
        self._left = [call for call in calls if call.call == "model"]
        self._all = tuple(self._left)

    @property
    def left(self) -> int:
        """Recorded calls that were not asked for yet."""
        return len(self._left)

    async def ask(self, request: Request, deliver: Deliver | None = None, *, timeout: float = 600.0) -> Reply:
        """Raises ReplayDrift, ModelUnusable for an answer that the record holds sealed or damaged."""
        call = self._found(request)
        if call.sealed is not None:
            told = f"{self._file}: the answer to {call.where} is sealed; open it with `python -m consort_agents.journal"
            raise ModelUnusable(f"{told} unseal {self._file} --creds` and the credentials of {call.agent}")
        try:
            reply = Reply.model_validate(call.answer)
        except ValidationError as exc:
            raise ModelUnusable(f"{self._file}: the answer to {call.where} is none of a model") from exc
        self._left.remove(call)
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

    def _found(self, request: Request) -> ExportedCall:
        asked = request.model_dump(mode="json")
        parts = _compared(short(parts_of(asked)))
        mine = [call for call in self._left if not request.agent or call.agent == request.agent]
        for call in mine:
            if _compared(call.parts) == parts:
                return call
        raise ReplayDrift(self._drift(request, asked, parts, mine))

    def _drift(
        self, request: Request, asked: dict[str, object], parts: dict[str, str], mine: list[ExportedCall]
    ) -> str:
        who = f"agent {request.agent}" if request.agent else "who asks"
        used = next((call for call in self._all if call not in mine and _compared(call.parts) == parts), None)
        if used is not None and request.agent in ("", used.agent):
            return f"{self._file}: {who} asks again what was recorded only as {used.where}"
        heads = {call.task: call for call in reversed(mine)}
        if not heads:
            return f"{self._file}: {who} asks for more than was recorded: {_shown(asked, 'messages')}"
        near = max(reversed(heads.values()), key=lambda call: len(parts.items() & call.parts.items()))
        names = differing(_compared(near.parts), parts)
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        then = f"; then {near.shown[:_EXCERPT]}" if near.shown else ""
        differs = f"differs in {', '.join(names[:_NAMED])}{more}; now {_shown(asked, names[0])}{then}"
        return f"{self._file}: {who} asks something else than {near.where}: {differs}"


def _compared(parts: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in parts.items() if name != _MODEL}


def _shown(asked: dict[str, object], name: str) -> str:
    return hiding.shown(part_of(asked, name))[:_EXCERPT]


def _open(file: str) -> Opened:
    try:
        _, calls = read_record(Path(file))
    except BadRecord as exc:
        raise ModelUnusable(
            f"{exc}; `consort journal export RUN --out FILE` writes a record to replay"
        ) from exc
    provider = Replay(file, calls)
    return provider, next((call.name for call in calls if call.call == "model"), NAME)


SOURCE = Source(_open, takes="a record of a run, written by `consort journal export`")
