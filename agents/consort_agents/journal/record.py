"""The record of a run as a source of answers: each recorded call answers one request, and none is made up.

A request is known by who asks, by what kind of thing and by its parts; of a model the name does
not count, which was another when the run was recorded. What is not on record is compared with the
call that should have come next, and the part that differs is named.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from consort_shared import hiding
from consort_shared.journal import differing, part_of, parts_of, short
from consort_shared.journal_export import ExportedCall, read_record
from consort_shared.values import Json

_MODEL = "model"
_EXCERPT = 300
_NAMED = 4
"""Differing parts that are named."""


class Drift(Exception):
    """Something is asked that the record does not hold; says which call, and which part differs."""


class SealedAnswer(Exception):
    """The record holds an answer that only its agent can read; says how it is opened."""


class RunRecord:
    """What is left of a record. It is used up as it answers."""

    def __init__(self, file: str, calls: Sequence[ExportedCall]) -> None:
        self._file = file
        self._all = tuple(calls)
        self._left = list(calls)

    @classmethod
    def load(cls, file: Path) -> RunRecord:
        """Raises BadRecord."""
        return cls(str(file), read_record(file)[1])

    @property
    def left(self) -> int:
        """Recorded calls that were not asked for yet."""
        return len(self._left)

    def first_name(self, kind: str) -> str:
        """The name in the first recorded call of a kind, empty if there is none."""
        return next((call.name for call in self._all if call.call == kind), "")

    def take(self, agent: str, kind: str, name: str, request: Json) -> Json:
        """The answer to a request; an empty `agent` is anybody. Raises Drift, SealedAnswer."""
        parts = _compared(kind, name, short(parts_of(request)))
        mine = [call for call in self._left if call.call == kind and agent in ("", call.agent)]
        for call in mine:
            if _of(call) == parts:
                if call.sealed is not None:
                    raise SealedAnswer(self._sealed(call))
                self._left.remove(call)
                return json.loads(json.dumps(call.answer))  # whoever gets it may change it
        raise Drift(self._drift(agent, kind, request, parts, mine))

    def _sealed(self, call: ExportedCall) -> str:
        unseal = f"python -m consort_agents.journal unseal {self._file} --creds CREDS"
        told = f"{self._file}: the answer to {call.where} is sealed"
        return f"{told}; open it with `{unseal}`, the credentials of {call.agent}"

    def _drift(
        self, agent: str, kind: str, request: Json, parts: dict[str, str], mine: list[ExportedCall]
    ) -> str:
        who = f"agent {agent}" if agent else "who asks"
        for call in self._all:
            if call.call == kind and agent in ("", call.agent) and _of(call) == parts:
                return f"{self._file}: {who} asks again what was recorded only as {call.where}"
        heads = {call.task: call for call in reversed(mine)}
        if not heads:
            asked = hiding.shown(request)[:_EXCERPT]
            return f"{self._file}: {who} asks for more than was recorded of kind {kind}: {asked}"
        near = max(reversed(heads.values()), key=lambda call: len(parts.items() & _of(call).items()))
        names = differing(_of(near), parts)
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        now = hiding.shown(part_of(request, names[0]))[:_EXCERPT]
        then = f"; then {near.shown[:_EXCERPT]}" if near.shown else ""
        differs = f"differs in {', '.join(names[:_NAMED])}{more}; now {now}{then}"
        return f"{self._file}: {who} asks something else than {near.where}: {differs}"


def _of(call: ExportedCall) -> dict[str, str]:
    return _compared(call.call, call.name, call.parts)


def _compared(kind: str, name: str, parts: dict[str, str]) -> dict[str, str]:
    if kind == "model":
        return {part: digest for part, digest in parts.items() if part != _MODEL}
    return {"name": name, **parts}
