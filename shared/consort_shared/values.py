"""JSON values, their digests, and references to large ones.

Everything that steps exchange is a JSON value. A value over `INLINE_LIMIT` bytes
does not travel: it is stored once, and an `ArtefactRef` naming it by digest goes
in its place. The digest of a value is taken over its canonical JSON, so that any
language can check it; the digest of an artefact over its bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from consort_shared.ids import Digest, WriterName

Json: TypeAlias = Any
"""null, bool, int, float, str, list of Json, or dict of str to Json: checked where it enters, see `codec`."""

STORED = "$stored"
"""In a run's result: the only key of an object that stands for a stored value, whose reference it holds."""

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

INLINE_LIMIT = 64 * 1024
"""Bytes of canonical JSON up to which a value travels inside a message."""


class ArtefactRef(BaseModel):
    """Names bytes in the object store: who wrote them, their digest, how many there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artefact: Digest
    writer: WriterName
    size: int = Field(ge=0, description="bytes")
    media_type: str = "application/octet-stream"
    name: str = ""


def canonical(value: Json) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8.

    Raises ValueError for NaN and infinities, TypeError for what is not JSON.
    """
    return _canonical.encode(value).encode()


def digest(value: Json) -> str:
    """SHA-256 of a value's canonical JSON, hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def bytes_digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


class NoSuchPath(LookupError):
    """A reference leads into a value where there is nothing."""


def pick(value: Json, path: Sequence[str | int]) -> Json:
    """The part of a value that a path names. Raises NoSuchPath."""
    for at, part in enumerate(path):
        try:
            if isinstance(value, list):
                if not isinstance(part, int):
                    raise KeyError(part)
                value = value[part]
            elif isinstance(value, Mapping):
                value = value[part]
            else:
                raise KeyError(part)
        except (KeyError, IndexError) as exc:
            trail = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path[: at + 1])
            offered = (
                f"; there are: {', '.join(sorted(map(str, value)))}" if isinstance(value, Mapping) else ""
            )
            raise NoSuchPath(f"nothing at {trail}{offered}") from exc
    return value
