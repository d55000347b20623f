"""Reading entries and deliveries of this version and of all before it.

Every entry names the version of the schema it was written under. An older one is
brought up, one version at a time, as plain values, before it is parsed; what is
stored is never rewritten, and digests are taken over the stored bytes. A newer one
is refused with `TooNew`: a process that does not know all facts must not fold.

A release that changes an entry's form adds one function here and a folder of
histories of the version before it to the test data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from consort_shared.codec import decode_value, unpack
from consort_shared.entries import SCHEMA, Delivery, Entry, delivery_adapter, entry_adapter
from consort_shared.errors import DecodeError

T = TypeVar("T")
Plain = dict[str, Any]


class TooNew(DecodeError):
    """Written by a later version of Consort than this one."""


def _refusals_name_their_stream(entry: Plain) -> Plain:
    """Version 1 set aside messages of the log only, and did not say so."""
    for fact in entry.get("facts", ()):
        if fact.get("fact") == "refused" and fact.get("seq"):
            fact["stream"] = "LOG"
    return entry


def _as_it_is(value: Plain) -> Plain:
    return value


ENTRIES: dict[int, Callable[[Plain], Plain]] = {1: _refusals_name_their_stream}
"""By version: what brings an entry to the next."""
DELIVERIES: dict[int, Callable[[Plain], Plain]] = {1: _as_it_is}


def read_entry(body: bytes, content_type: str | None = None) -> Entry:
    """The entry in a body. Raises DecodeError, TooNew."""
    return _read(entry_adapter, body, content_type, ENTRIES)


def read_delivery(body: bytes, content_type: str | None = None) -> Delivery:
    """The delivery in a body. Raises DecodeError, TooNew."""
    return _read(delivery_adapter, body, content_type, DELIVERIES)


def _read(
    adapter: TypeAdapter[T], body: bytes, content_type: str | None, steps: dict[int, Callable[[Plain], Plain]]
) -> T:
    value = unpack(body, content_type)
    version = value.get("v", 1) if isinstance(value, dict) else 1
    if version != SCHEMA:
        value = _brought_up(value, version, body, steps)
    return decode_value(adapter, value, body)


def _brought_up(value: Any, version: Any, body: bytes, steps: dict[int, Callable[[Plain], Plain]]) -> Any:
    if not isinstance(version, int) or version < 1:
        raise DecodeError(body, f"v: {version!r} is no version of the schema")
    if version > SCHEMA:
        raise TooNew(body, f"written under schema {version}, this version knows {SCHEMA}: upgrade it")
    try:
        for step in range(version, SCHEMA):
            value = steps[step](value)
    except (AttributeError, TypeError, ValidationError) as exc:
        raise DecodeError(body, f"no entry of schema {version}: {exc}") from exc
    value["v"] = SCHEMA
    return value
