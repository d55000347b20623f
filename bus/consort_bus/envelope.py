"""How a message is wrapped: its headers, its codes, and its body when that is large.

The one place that knows header names. A body over `INLINE_LIMIT` is stored as an
artefact and the message carries its reference; the codes then cover the
reference, so nobody fetches anything for a message that is not genuine.

Knows keys, never what a message means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from pydantic import ValidationError

from consort_bus.append import ENTRY_HEADER as ENTRY_ID
from consort_shared import seal
from consort_shared.codec import MSGPACK
from consort_shared.entries import SCHEMA as SCHEMA_NUMBER
from consort_shared.errors import DecodeError
from consort_shared.ids import traceparent
from consort_shared.telemetry.span_ids import attempt_span_id
from consort_shared.values import INLINE_LIMIT, ArtefactRef

CODE = "Consort-Mac"
AGENT_CODE = "Consort-Agent-Mac"
TOKEN = "Consort-Token"  # noqa: S105 # the name of a header
STORED_BODY = "Consort-Body"
SCHEMA = "Consort-Schema"
CONTENT_TYPE = "Content-Type"
TRACE, TRACE_STATE = "traceparent", "tracestate"
FORWARDED = "Nats-Stream"
"""The server puts this on what it forwards from a stream as a reply; no message of ours bears it when stored."""

VERSION = str(SCHEMA_NUMBER)

_trace_of = lru_cache(maxsize=4096)(traceparent)


class Store(Protocol):
    """Where large bodies go."""

    async def put(self, data: bytes, *, media_type: str = ..., name: str = ...) -> ArtefactRef: ...

    async def get(self, ref: ArtefactRef) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A message ready to be published."""

    subject: str
    payload: bytes
    headers: dict[str, str]


async def stow(
    body: bytes, store: Store, content_type: str = MSGPACK, *, limit: int = INLINE_LIMIT
) -> tuple[bytes, dict[str, str]]:
    """The payload and the headers that describe it; a body over the limit goes to the store."""
    if len(body) <= limit:
        return body, {CONTENT_TYPE: content_type, SCHEMA: VERSION}
    ref = await store.put(body, media_type=content_type)
    return b"", {CONTENT_TYPE: content_type, SCHEMA: VERSION, STORED_BODY: ref.model_dump_json()}


async def body_of(payload: bytes, headers: Mapping[str, str] | None, store: Store) -> bytes:
    """The body of a message, fetched if it is stored. Raises DecodeError, BusError."""
    stored = headers.get(STORED_BODY) if headers else None
    if stored is None:
        return payload
    try:
        ref = ArtefactRef.model_validate_json(stored)
    except ValidationError as exc:
        raise DecodeError(payload, f"header {STORED_BODY} is no reference") from exc
    return await store.get(ref)


def covered(payload: bytes, headers: Mapping[str, str] | None) -> bytes:
    """What a code is taken over: the payload, or the reference that stands for it."""
    stored = headers.get(STORED_BODY) if headers else None
    return payload if stored is None else stored.encode()


def context_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The trace context of a message, handed on as it is."""
    return {name: headers[name] for name in (TRACE, TRACE_STATE) if name in headers}


def schema_of(headers: Mapping[str, str] | None) -> str:
    return headers.get(SCHEMA, VERSION) if headers else VERSION


class OrchestratorSeal:
    """The codes that orchestrators write and check. Holds the installation's secret."""

    def __init__(self, master: bytes) -> None:
        self._log = seal.log_key(master)
        self._tokens = seal.token_key(master)
        self._agent = lru_cache(maxsize=4096)(lambda name: seal.agent_key(master, name))

    def entry(
        self, subject: str, payload: bytes, headers: dict[str, str], run: str, entry_id: str
    ) -> Wrapped:
        """An entry, provably an orchestrator's."""
        headers[ENTRY_ID] = entry_id
        headers[TRACE] = _trace_of(run)
        headers[CODE] = seal.code(self._log, subject, covered(payload, headers))
        return Wrapped(subject, payload, headers)

    def address(
        self, wrapped: Wrapped, run: str, agent: str, task: str, nonce: str, *, sampled: bool = True
    ) -> Wrapped:
        """Prove a message to one agent, give it the attempt's token, masked, and the span of the attempt."""
        wrapped.headers[TRACE] = traceparent(run, attempt_span_id(run, task), sampled=sampled)
        key = self._agent(agent)
        token = seal.attempt_token(self._tokens, run, task, nonce)
        wrapped.headers[TOKEN] = seal.mask(key, run, task, nonce, token).hex()
        wrapped.headers[AGENT_CODE] = seal.code(
            key, wrapped.subject, covered(wrapped.payload, wrapped.headers)
        )
        return wrapped

    def order(self, subject: str, payload: bytes, agent: str, content_type: str = MSGPACK) -> Wrapped:
        """Something told to an agent outside the log."""
        headers = {CONTENT_TYPE: content_type, SCHEMA: VERSION}
        headers[AGENT_CODE] = seal.code(self._agent(agent), subject, payload)
        return Wrapped(subject, payload, headers)

    def own(self, subject: str, payload: bytes) -> Wrapped:
        """Something an orchestrator puts down for the others, provably one of them."""
        headers = {CONTENT_TYPE: MSGPACK, SCHEMA: VERSION, CODE: seal.code(self._log, subject, payload)}
        return Wrapped(subject, payload, headers)

    def genuine_own(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> bool:
        return headers is not None and seal.genuine(self._log, subject, payload, headers.get(CODE))

    def genuine_from(
        self, agent: str, subject: str, payload: bytes, headers: Mapping[str, str] | None
    ) -> bool:
        """Whether something outside the log, a card or a sign of life, comes from that agent."""
        return headers is not None and seal.genuine(self._agent(agent), subject, payload, headers.get(CODE))

    def genuine_entry(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> bool:
        return headers is not None and seal.genuine(
            self._log, subject, covered(payload, headers), headers.get(CODE)
        )

    def genuine_report(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None,
        *,
        run: str,
        agent: str,
        task: str,
        nonce: str,
    ) -> bool:
        """Whether a report comes from that agent and from whoever received that very attempt."""
        if headers is None:
            return False
        token = seal.attempt_token(self._tokens, run, task, nonce)
        key = seal.report_key(self._agent(agent), token)
        return seal.genuine(key, subject, covered(payload, headers), headers.get(CODE))


class AgentSeal:
    """The codes that one agent checks and writes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def genuine_task(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> bool:
        return (
            headers is not None
            and FORWARDED not in headers
            and seal.genuine(self._key, subject, covered(payload, headers), headers.get(AGENT_CODE))
        )

    def signed(self, subject: str, payload: bytes) -> Wrapped:
        """A card, a sign of life or a record of its journal, provably this agent's."""
        headers = {CONTENT_TYPE: MSGPACK, SCHEMA: VERSION, CODE: seal.code(self._key, subject, payload)}
        return Wrapped(subject, payload, headers)

    def genuine_own(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> bool:
        """Whether something is this agent's own word, as `signed` made it, and no answer of the server."""
        return (
            headers is not None
            and FORWARDED not in headers
            and seal.genuine(self._key, subject, payload, headers.get(CODE))
        )

    def token(self, headers: Mapping[str, str], run: str, task: str, nonce: str) -> bytes:
        """The attempt's token. Raises DecodeError."""
        try:
            return seal.mask(self._key, run, task, nonce, bytes.fromhex(headers[TOKEN]))
        except (KeyError, ValueError) as exc:
            raise DecodeError(b"", f"header {TOKEN} is missing or malformed") from exc

    def report(
        self,
        subject: str,
        payload: bytes,
        headers: dict[str, str],
        run: str,
        token: bytes,
        span: str | None = None,
    ) -> Wrapped:
        """A report that proves who speaks, and that they received the attempt; `span` is the one it is sent under."""
        headers[TRACE] = _trace_of(run) if span is None else traceparent(run, span)
        headers[CODE] = seal.code(seal.report_key(self._key, token), subject, covered(payload, headers))
        return Wrapped(subject, payload, headers)


def as_text(headers: Mapping[str, str] | None) -> str:
    """Headers as JSON, for messages that are set aside."""
    return json.dumps(dict(headers or {}), sort_keys=True)
