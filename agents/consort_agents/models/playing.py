"""What a scripted model does with a request: the whole of it, without a wire.

`play(script, played, asked, now)` gives what has been played after it, and an effect. It
waits for nothing and sends nothing: the `scripted` provider and the fake of the Messages
API each carry out the same effects in their own way. In the order of a real server: the
key, the model, the size, the limits, then the rules.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from consort_agents.models.asked import Asked
from consort_agents.models.buckets import Bucket, full
from consort_agents.models.filling import Filling, Unfilled
from consort_agents.models.fitting import NothingFits, fitting
from consort_agents.models.saying import said
from consort_agents.models.script import Answer, Effect, Fail, Limit, Match, Otherwise, Rule, Script, When
from consort_shared.values import digest

ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_MOST_CACHED = 4096
_LEAST_CACHED = 1024
"""Tokens: providers keep no shorter beginning."""


@dataclass(frozen=True, slots=True)
class Failing:
    """An error. `within` is after so many characters of a streamed answer, None in its place."""

    status: int
    type: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    within: int | None = None


@dataclass(frozen=True, slots=True)
class Playing:
    """What is to be done: wait `latency`, then the message, or the failure, or the one broken off by the other."""

    message: Mapping[str, Any] | None = None
    failing: Failing | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    latency: float = 0.0
    stall: float = 0.0
    cut: int | None = None
    rule: str = ""
    """which rule it was, for the record"""


@dataclass(frozen=True, slots=True)
class Played:
    """What a script remembers of the requests so far."""

    fitted: Mapping[int, int] = field(default_factory=dict)
    """by rule: how many requests have fitted it"""
    buckets: Mapping[tuple[str, str], Bucket] = field(default_factory=dict)
    """by key, and what is limited"""
    cached: Mapping[str, None] = field(default_factory=dict)
    """digests of beginnings that the pretended cache holds, the oldest first"""


Next: TypeAlias = tuple[Played, Playing]


def play(script: Script, played: Played, asked: Asked, now: float) -> Next:
    """What the request gets. `now` is in seconds since 1970."""
    refused = _refused(script, asked)
    if refused is not None:
        return played, Playing(failing=refused, rule="refused")
    before = played
    chosen, number, played = _choose(script, played, asked)
    effect, call = chosen
    try:
        message, cached = _message(script, played, asked, effect, call, number)
    except (Unfilled, NothingFits) as exc:
        told = f"the script cannot answer ({number}): {exc}"
        return played, Playing(failing=Failing(400, ERROR_TYPES[400], told), rule=number)
    spent = sum(message["usage"][name] or 0 for name in _COUNTED) if message else asked.tokens
    played, headers, waits = _limited(script.limit, played, asked.key, spent, now)
    if waits is not None:
        return replace(before, buckets=played.buckets), Playing(failing=waits, headers=headers, rule="limit")
    failing = _failing(effect.fail) if effect.fail else None
    if message is None and failing is None:
        failing = _unanswered(asked)
    return replace(played, cached=cached), Playing(
        message,
        failing,
        headers,
        effect.latency or script.latency,
        effect.stall,
        effect.cut,
        number,
    )


_COUNTED = ("input_tokens", "output_tokens", "cache_creation_input_tokens")


def _refused(script: Script, asked: Asked) -> Failing | None:
    if script.keys and asked.key not in script.keys:
        return Failing(401, ERROR_TYPES[401], "invalid x-api-key")
    if script.models and asked.model not in script.models:
        return Failing(404, ERROR_TYPES[404], f"model: {asked.model}")
    if script.context_window is not None and asked.tokens > script.context_window:
        told = f"prompt is too long: {asked.tokens} tokens > {script.context_window} maximum"
        return Failing(400, ERROR_TYPES[400], told)
    return None


def _choose(script: Script, played: Played, asked: Asked) -> tuple[tuple[Effect, int], str, Played]:
    """The effect, how often its rule has been chosen, and what it is called."""
    for agent, turns in script.conversations.items():
        if fnmatchcase(asked.agent, agent) and asked.turn <= len(turns):
            return (turns[asked.turn - 1], 1), f"conversations.{agent}[{asked.turn}]", played
    for at, rule in enumerate(script.rules):
        if not _fits(rule.when, asked):
            continue
        count = played.fitted.get(at, 0) + 1
        played = replace(played, fitted={**played.fitted, at: count})
        if _its_turn(rule, count):
            return (rule, count - rule.after), rule.name or f"rules[{at}]", played
    return (script.otherwise, 1), "otherwise", played


def _its_turn(rule: Rule, count: int) -> bool:
    if rule.nth:
        return count in rule.nth
    return count > rule.after and (rule.times is None or count <= rule.after + rule.times)


def _fits(when: When, asked: Asked) -> bool:
    return (
        fnmatchcase(asked.agent, when.agent)
        and fnmatchcase(asked.model, when.model)
        and (not when.turn or asked.turn in when.turn)
        and (when.schema_asked is None or when.schema_asked == (asked.schema is not None))
        and set(when.offers) <= asked.offers
        and _matches(when.system, asked.system)
        and _matches(when.user, asked.user)
        and (when.result is None or _given(when, asked) is not None)
    )


def _matches(match: Match | None, text: str) -> bool:
    return match is None or (
        all(word in text for word in match.contains)
        and (not match.regex or re.search(match.regex, text) is not None)
    )


def _given(when: When, asked: Asked) -> str | None:
    """The first result of a tool that fits."""
    wanted = when.result
    if wanted is None:
        return None
    fitting_ones = (
        text for tool, text in asked.results if fnmatchcase(tool, wanted.of) and _matches(wanted, text)
    )
    return next(fitting_ones, None)


def _message(
    script: Script, played: Played, asked: Asked, effect: Effect, call: int, number: str
) -> tuple[dict[str, Any] | None, Mapping[str, None]]:
    answer = effect.answer
    if answer is None and isinstance(effect, Otherwise) and effect.schema_fits and asked.schema is not None:
        answer = Answer.model_validate({"json": fitting(asked.schema), "stop_reason": "end_turn"})
    if answer is None and effect.cut is not None and effect.fail is None:
        answer = Answer(text="")
    if answer is None:
        return None, played.cached
    message = said(answer, asked, _filling(effect, asked, call), script.context_window)
    read, written, cached = _cache(script, played, asked)
    usage = message["usage"]
    told = answer.usage
    usage["cache_read_input_tokens"] = told.cache_read if told.cache_read is not None else read
    usage["cache_creation_input_tokens"] = told.cache_write if told.cache_write is not None else written
    usage["input_tokens"] = told.input if told.input is not None else max(0, asked.tokens - read - written)
    message["id"] = f"msg_{digest([asked.digest, number])[:24]}"
    return message, cached


def _filling(effect: Effect, asked: Asked, call: int) -> Filling:
    match: dict[str, str] = {}
    when = effect.when if isinstance(effect, Rule) else When()
    tested = [(when.system, asked.system), (when.user, asked.user), (when.result, _given(when, asked) or "")]
    for test, text in tested:
        found = re.search(test.regex, text) if test is not None and test.regex else None
        if found is not None:
            groups = {str(at): found.group(at) or "" for at in range((found.re.groups or 0) + 1)}
            match = {**groups, **{name: text or "" for name, text in found.groupdict().items()}, **match}
    values: dict[str, str | int] = {
        "agent": asked.agent,
        "call": call,
        "model": asked.model,
        "result": asked.result,
        "system": asked.system,
        "turn": asked.turn,
        "user": asked.user,
    }
    return Filling(values, match)


def _cache(script: Script, played: Played, asked: Asked) -> tuple[int, int, Mapping[str, None]]:
    """Tokens read from the pretended cache, written to it, and what it holds then."""
    long_enough = [prefix for prefix in asked.prefixes if prefix.tokens >= _LEAST_CACHED]
    if not script.caching or not long_enough:
        return 0, 0, played.cached
    read = max((prefix.tokens for prefix in long_enough if prefix.digest in played.cached), default=0)
    held = {**played.cached, **{prefix.digest: None for prefix in long_enough}}
    while len(held) > _MOST_CACHED:
        held.pop(next(iter(held)))
    return read, long_enough[-1].tokens - read, held


def _limited(
    limit: Limit, played: Played, key: str, tokens: int, now: float
) -> tuple[Played, dict[str, str], Failing | None]:
    """What is taken from the buckets of a key, the headers that tell of them, and the refusal if they are empty."""
    wanted = [
        (name, amount, played.buckets.get((key, name)) or full(per_minute, burst or per_minute, now))
        for name, amount, per_minute, burst in (
            ("requests", 1, limit.requests_per_minute, limit.burst),
            ("tokens", tokens, limit.tokens_per_minute, None),
        )
        if per_minute is not None
    ]
    waits = {name: bucket.wait(amount, now) for name, amount, bucket in wanted}
    longest = max(waits, key=lambda name: waits[name], default="")
    enough = not longest or waits[longest] == 0
    left = {name: b.take(amount, now) if enough else b.filled(now) for name, amount, b in wanted}
    headers: dict[str, str] = {}
    for name, bucket in left.items():
        headers |= _limit_headers(name, bucket, now)
    played = replace(played, buckets={**played.buckets, **{(key, name): b for name, b in left.items()}})
    if enough:
        return played, headers, None
    wait = waits[longest]
    headers |= {"retry-after": str(math.ceil(wait)), "retry-after-ms": str(math.ceil(wait * 1000))}
    told = (
        f"This request would exceed your rate limit of {int(left[longest].per_minute)} {longest} per minute"
    )
    return played, headers, Failing(429, ERROR_TYPES[429], told)


def _limit_headers(name: str, bucket: Bucket, now: float) -> dict[str, str]:
    reset = datetime.fromtimestamp(now + bucket.wait(bucket.capacity, now), UTC)
    return {
        f"anthropic-ratelimit-{name}-limit": str(int(bucket.per_minute)),
        f"anthropic-ratelimit-{name}-remaining": str(int(bucket.level)),
        f"anthropic-ratelimit-{name}-reset": reset.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _failing(fail: Fail) -> Failing:
    kind = fail.type or ERROR_TYPES.get(fail.status) or ERROR_TYPES[500 if fail.status >= 500 else 400]
    return Failing(fail.status, kind, fail.message, fail.headers, fail.within)


def _unanswered(asked: Asked) -> Failing:
    told = (
        f"no rule of the script fits: agent {asked.agent or 'unknown'!r}, turn {asked.turn}, "
        f"{'a schema is asked for, ' if asked.schema else ''}tools {', '.join(sorted(asked.offers)) or 'none'}, "
        f"last text of the user {asked.user[:120]!r}"
    )
    return Failing(400, ERROR_TYPES[400], told)
