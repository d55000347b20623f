"""One call of a model: within the limits, through the journal, at its turn, tried again when that may help.

The tries are ours and visible: each is a log line, an event of the call's span and a word
to whoever watches. What is asked and what is made of the answer is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consort_agents.journal.port import Call
from consort_agents.models.errors import ModelError, Overloaded, RateLimited, TookTooLong, Unreachable
from consort_agents.models.port import Provider, Reply, Request
from consort_agents.pacing import PacingLate, Permit
from consort_agents.thinking import spans
from consort_agents.thinking.errors import LimitReached, ModelFailed
from consort_agents.thinking.estimating import estimate
from consort_agents.thinking.limits import Allowance, Expected, reserved
from consort_agents.thinking.opening import Opened, price
from consort_agents.thinking.trickle import Trickle
from consort_shared.telemetry.redacting import redacted_text
from consort_shared.usage import Usage
from consort_shared.values import Json

if TYPE_CHECKING:
    from consort_agents.context import Context
    from consort_agents.thinking.means import Means

TRIES = 8
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between tries, where the provider does not say how long to wait."""
LONGEST_CALL = 600.0
_ENOUGH = 1.0
"""Seconds that must be left for another try to make sense."""


@dataclass(frozen=True, slots=True)
class Called:
    """What a call gave. Its usage is what it cost when it was made, also if that was by an earlier process."""

    reply: Reply
    replayed: bool
    expected: int
    """tokens of input that were expected"""

    @property
    def usage(self) -> Usage:
        """As the task's totals count it."""
        return self.reply.usage.model_copy(update={"calls": 1, "replayed": int(self.replayed)})


class Calling:
    """The model calls of one attempt."""

    def __init__(self, context: Context, means: Means) -> None:
        self._context = context
        self._means = means

    async def call(
        self,
        opened: Opened,
        request: Request,
        allowances: Sequence[Allowance],
        *,
        factor: float = 1.0,
        stream: bool = True,
    ) -> Called:
        """Ask, or give the answer that was given before. `factor` is real tokens for an estimated one.

        Raises LimitReached, ModelFailed, and what the journal raises.
        """
        expected = round(estimate(request) * factor)
        most = Usage(input_tokens=expected, output_tokens=request.max_tokens)
        now = self._means.now()
        money = any(one.limits.dollars is not None for one in allowances)
        cost = price(opened, most, most=True) if money else None
        with reserved(allowances, Expected(expected + request.max_tokens, cost), now) as call:
            called = await self._journaled(opened, request, allowances, expected, stream)
            call.settle(called.usage)
        self._context.spent(called.usage)
        return called

    async def _journaled(
        self, opened: Opened, request: Request, allowances: Sequence[Allowance], expected: int, stream: bool
    ) -> Called:
        context = self._context
        context.check()

        async def perform(call: Call) -> Json:
            with spans.model_call(opened.provider.name, request, call.n, context.run) as span:
                reply = await self._tried(opened.provider, request, allowances, expected, span, stream)
                reply = reply.model_copy(update={"usage": _priced(opened, reply)})
                span.answered(reply)
            return reply.model_dump(mode="json")

        shown = {
            "model": request.model,
            "messages": len(request.messages),
            "tokens": expected,
            "asks": spans.last_words(request.messages),
        }
        asked = request.model_dump(mode="json")
        recorded = await self._context.journal.call("model", request.model, asked, perform, shown=shown)
        reply = Reply.model_validate(recorded.value)
        if recorded.replayed:
            spans.model_replayed(request, reply, recorded.n, context.run)
        return Called(reply, recorded.replayed, expected)

    async def _tried(
        self,
        provider: Provider,
        request: Request,
        allowances: Sequence[Allowance],
        expected: int,
        span: spans.ModelSpan,
        stream: bool,
    ) -> Reply:
        context = self._context
        tries = 0
        while True:
            context.check()
            tries += 1
            try:
                with Trickle(context.voice.stream) as trickle:
                    deliver = _delivering(trickle, span) if stream else None
                    return await self._paced(provider, request, deliver, expected, self._left(allowances))
            except PacingLate as exc:
                raise ModelFailed(RateLimited(str(exc)), tries=tries, late=True) from exc
            except ModelError as exc:
                pause = _pause(tries, exc.retry_after)
                left = self._left(allowances)
                if not exc.passing or tries >= TRIES or pause + _ENOUGH > left:
                    raise ModelFailed(exc, tries=tries, late=exc.passing and pause + _ENOUGH > left) from exc
                span.retried(tries, exc.kind, pause)
                self._tell(request.model, exc, pause, tries)
                await asyncio.sleep(pause)

    async def _paced(
        self,
        provider: Provider,
        request: Request,
        deliver: Callable[[str], None] | None,
        expected: int,
        left: float,
    ) -> Reply:
        """One try, at its turn. Raises ModelError, PacingLate."""
        means, run = self._means, self._context.run
        tokens, deadline = expected + request.max_tokens, means.now() + left
        async with means.pacing.permit(provider.key, run=run, tokens=tokens, deadline=deadline) as permit:
            timeout = max(0.0, min(LONGEST_CALL, left - permit.waited))
            try:
                reply = await provider.ask(request, deliver, timeout=timeout)
            except ModelError as exc:
                _told(permit, exc, provider)
                raise
            permit.answered(reply.usage.input_tokens + reply.usage.output_tokens, provider.limits())
            return reply

    def _left(self, allowances: Sequence[Allowance]) -> float:
        """Seconds that a call may still take. Raises LimitReached when there are none."""
        now = self._means.now()
        for allowance in allowances:
            allowance.check_time(now)
        bounds = [left for one in allowances if (left := one.left(now)) is not None]
        if self._context.deadline:
            bounds.append(self._context.deadline - now)
        left = min(bounds, default=LONGEST_CALL * TRIES)
        if left <= 0:
            raise LimitReached("seconds", "the task's time is up")
        return left

    def _tell(self, model: str, exc: ModelError, pause: float, tries: int) -> None:
        context = self._context
        why = redacted_text(str(exc))
        context.log.warning("model %s, try %d: %s; asked again in %.1f s", model, tries, why, pause)
        context.progress(f"{model}: {exc.kind}, asked again in {pause:.1f} s")


def _told(permit: Permit, exc: ModelError, provider: Provider) -> None:
    match exc:
        case RateLimited():
            permit.limited(exc.retry_after, exc.limits or provider.limits())
        case Overloaded() | Unreachable() | TookTooLong():
            permit.troubled(exc.retry_after)
        case _:
            permit.answered(0, exc.limits)


def _pause(tries: int, retry_after: float | None) -> float:
    """Seconds before the next try: as the provider says, and a little more, so that not all come at once."""
    if retry_after is not None:
        return retry_after + random.uniform(0.0, 0.1 * min(retry_after, 10.0) + 0.05)  # noqa: S311 # jitter
    longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (tries - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 # jitter


def _delivering(trickle: Trickle, span: spans.ModelSpan) -> Callable[[str], None]:
    def deliver(text: str) -> None:
        span.piece()
        trickle.put(text)

    return deliver


def _priced(opened: Opened, reply: Reply) -> Usage:
    cost = price(opened, reply.usage, reply.model)
    return reply.usage.model_copy(update={"calls": 1, "cost": cost or 0, "unpriced": int(cost is None)})
