"""From what a provider answers when it does not answer, to the error that it is.

By HTTP status, and where that says nothing (an error in the midst of a stream comes after
a status of 200) by the error type of the wire form. What a provider writes may quote the
prompt or the key, so it is redacted before it becomes part of an error's text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from consort_agents.models.errors import (
    ContextExceeded,
    KeyRefused,
    ModelError,
    ModelUnknown,
    ModelUnusable,
    Overloaded,
    RateLimited,
    RequestRefused,
    TookTooLong,
)
from consort_agents.models.port import SeenLimits
from consort_shared.telemetry.redacting import HIDDEN, redacted_text

_BY_STATUS: Mapping[int, type[ModelError]] = {
    401: KeyRefused,
    402: KeyRefused,
    403: KeyRefused,
    404: ModelUnknown,
    408: TookTooLong,
    409: Overloaded,  # the same request may succeed a little later
    429: RateLimited,
}
_BY_TYPE: Mapping[str, type[ModelError]] = {
    "invalid_request_error": RequestRefused,
    "request_too_large": RequestRefused,
    "authentication_error": KeyRefused,
    "permission_error": KeyRefused,
    "billing_error": KeyRefused,
    "not_found_error": ModelUnknown,
    "rate_limit_error": RateLimited,
    "timeout_error": TookTooLong,
    "conflict_error": Overloaded,
    "api_error": Overloaded,
    "overloaded_error": Overloaded,
}
_TOO_LONG_TYPES = frozenset({"exceed_context_size_error", "context_length_exceeded"})
_TOO_LONG_TEXTS = ("prompt is too long", "input is too long", "exceeds the available context size")
"""The API has no type or code for this case: its message is the only mark."""


def refusal(
    status: int,
    kind: str,
    message: str,
    headers: Mapping[str, str],
    *,
    request_id: str = "",
    secrets: Iterable[str] = (),
    asked: str = "",
    now: datetime | None = None,
) -> ModelError:
    """The error for a refused call. `status` is below 400 where the refusal came within a stream.

    `asked` says whom, and with which setting, for those refusals that a setting mends.
    """
    found = _class_of(status, kind, message)
    text = redacted_text(without(message, secrets)) or "no reason given"
    told = f"{status} {kind}".strip() if status >= 400 else f"in the midst of the answer, {kind or 'error'}"
    where = f"; {asked}" if asked and issubclass(found, ModelUnusable) else ""
    return found(
        f"{_SAID[found]} ({told}): {text}{where}",
        status=status if status >= 400 else None,
        retry_after=retry_after(headers, now or datetime.now(UTC)),
        request_id=request_id or headers.get("request-id", ""),
        limits=seen_limits(headers),
    )


_SAID: Mapping[type[ModelError], str] = {
    KeyRefused: "the provider does not accept the key",
    ModelUnknown: "the provider has no such model, or no Messages API at this address",
    RequestRefused: "the provider refuses the request",
    ContextExceeded: "the request is longer than the model takes",
    RateLimited: "too much was asked in this minute",
    Overloaded: "the provider has no room or is in trouble",
    TookTooLong: "the provider gave up waiting",
    ModelError: "the provider answers with an error",
}


def _class_of(status: int, kind: str, message: str) -> type[ModelError]:
    if status < 400:
        found = _BY_TYPE.get(kind, ModelError)
    elif status >= 500:
        found = Overloaded
    else:
        found = _BY_STATUS.get(status, RequestRefused)
    if found is RequestRefused and (
        kind in _TOO_LONG_TYPES or any(text in message.lower() for text in _TOO_LONG_TEXTS)
    ):
        return ContextExceeded
    return found


def without(text: str, secrets: Iterable[str]) -> str:
    """A text without given secrets, whatever they look like."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN)
    return text


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait as `retry-after-ms` or `retry-after` say (a number or a date); None where they say nothing."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with suppress(KeyError, ValueError):
            seconds = float(headers[name]) / unit
            return seconds if 0 <= seconds < float("inf") else None
    with suppress(KeyError, ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(headers["retry-after"]) - now).total_seconds())
    return None


def seen_limits(headers: Mapping[str, str]) -> SeenLimits | None:
    """What `anthropic-ratelimit-*` headers tell; None if there are none."""

    def number(*names: str) -> int | None:
        for name in names:
            with suppress(KeyError, ValueError):
                return int(headers[f"anthropic-ratelimit-{name}"])
        return None

    seen = SeenLimits(
        requests_per_minute=number("requests-limit"),
        requests_left=number("requests-remaining"),
        tokens_per_minute=number("tokens-limit", "input-tokens-limit"),
        tokens_left=number("tokens-remaining", "input-tokens-remaining"),
    )
    return None if seen == SeenLimits() else seen
