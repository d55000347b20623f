"""How the answer to a call is put on record, and had again exactly.

People may read a journal, so an answer that holds what looks like a secret is sealed for the
agent alone, and people see it redacted. A large one is sealed too, without being searched, and
goes where artefacts go. Knows no keys: it is given what seals.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from consort_agents.artefacts import MemoryStore, Store
from consort_shared import hiding
from consort_shared.errors import DecodeError
from consort_shared.journal import Answered
from consort_shared.values import INLINE_LIMIT, Json

SEALED_TYPE = "application/octet-stream"
_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Sealer(Protocol):
    """Makes bytes unreadable for everybody else."""

    def seal(self, raw: bytes) -> bytes: ...

    def open(self, sealed: bytes) -> bytes: ...


class Unsealed:
    """Leaves bytes as they are, where nobody else can look."""

    def seal(self, raw: bytes) -> bytes:
        return raw

    def open(self, sealed: bytes) -> bytes:
        return sealed


@dataclass(frozen=True, slots=True)
class Keeping:
    """Puts answers down and gives them back."""

    store: Store
    sealer: Sealer

    async def kept(self, text: str, value: Json) -> dict[str, Any]:
        """The fields of `Answered` that hold a value, whose JSON is `text`. Raises BusError."""
        raw = text.encode()
        if len(raw) > INLINE_LIMIT:
            ref = await self.store.put(self.sealer.seal(raw), media_type=SEALED_TYPE)
            return {"ref": ref, "shown": f"{len(raw)} bytes"}
        if hiding.secret_in(value):
            return {"sealed": self.sealer.seal(raw), "shown": hiding.shown(value)}
        return {"text": text}

    async def given(self, answered: Answered) -> Json:
        """The value, as it was. Raises BusError, DecodeError."""
        if answered.text is not None:
            return json.loads(answered.text)
        sealed = answered.sealed if answered.ref is None else await self.store.get(answered.ref)
        if sealed is None:
            raise DecodeError(b"", f"the answer to call {answered.n} is on record without its value")
        return json.loads(self.sealer.open(sealed))


def as_text(value: Json) -> str:
    """A value as JSON, its keys in their order. Raises ValueError, TypeError, RecursionError for what is no JSON."""
    return _json.encode(value)


def offline() -> Keeping:
    return Keeping(MemoryStore(), Unsealed())
