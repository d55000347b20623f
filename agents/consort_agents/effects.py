"""Doing something with consequences outside once, however often the task is attempted.

Before the effect the ledger is asked, after it the ledger is told. The ledger is kept
by the orchestrator as entries of the run, so it outlives this process. What lies
between the two, nobody can see from outside: if the process dies there, whether the
effect happened is unknown, and the author says beforehand what then is to be done.

Within one attempt a key is asked for once; who asks again gets what the first got.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias, get_args

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from consort_agents.artefacts import wait_for
from consort_agents.errors import AttemptOver, CalledOff, EffectInDoubt, NotDone, SkillError
from consort_shared.codec import pack
from consort_shared.failpoints import failpoint
from consort_shared.values import Json, canonical

Unknown: TypeAlias = Literal["ask", "redo", "done"]
_LONGEST_KEY = 200
_any: TypeAdapter[Any] = TypeAdapter(Any)


@dataclass(frozen=True, slots=True)
class Begun:
    """The ledger's answer to a question; `value` is what the effect gave when it was done before."""

    key: str
    id: str
    verdict: Literal["do", "done", "ask", "stop"]
    value: Json = None


class Ledger(Protocol):
    """Where it is written down that effects begin and end."""

    async def begin(self, key: str, unknown: Unknown) -> Begun:
        """Whether to do an effect. Raises SkillError when nobody answers."""

    async def settle(self, begun: Begun, phase: Literal["done", "undone"], value: Json = None) -> None:
        """Put the end of an effect on record; returns when that is stored."""


class MemoryLedger:
    """Effects in memory, for trying a skill without a bus; `known` were done before, and what they gave."""

    def __init__(self, known: dict[str, Json] | None = None) -> None:
        self.known: dict[str, Json] = dict(known or {})

    async def begin(self, key: str, unknown: Unknown) -> Begun:
        if key in self.known:
            return Begun(key, "", "done", self.known[key])
        return Begun(key, "", "do")

    async def settle(self, begun: Begun, phase: Literal["done", "undone"], value: Json = None) -> None:
        if phase == "done":
            self.known[begun.key] = value


@dataclass(slots=True)
class Effects:
    """The effects of one attempt."""

    ledger: Ledger
    run: str
    step: str
    called_off: bool = False
    """whether the attempt is no longer wanted: no effect begins any more"""
    over: AttemptOver | None = None
    """why the attempt is over, should a skill swallow the exception that says so"""
    _claims: dict[str, Future[Json]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def id_of(self, key: str) -> str:
        """The same for every attempt at a step, and for no other effect: an idempotency key for the outside."""
        return hashlib.sha256(f"consort effect {self.run} {self.step} {key}".encode()).hexdigest()[:32]

    def check(self) -> None:
        """Raises CalledOff once the attempt is no longer wanted."""
        if self.called_off:
            self.over = self.over or CalledOff()
            raise self.over

    async def once(self, key: str, function: Callable[..., Any], unknown: Unknown) -> Json:
        """From an async function. A plain effect is done in a thread."""
        call = self._prepared(key, function, unknown)
        claim, mine = self._claimed(key)
        if not mine:
            return await asyncio.wrap_future(claim)
        try:
            value = await self._first(key, call, unknown)
        except BaseException as exc:
            self._given_up(key, claim, exc)
            raise
        claim.set_result(value)
        return value

    def once_sync(
        self, key: str, function: Callable[..., Any], unknown: Unknown, loop: asyncio.AbstractEventLoop | None
    ) -> Json:
        """From a plain function, in whose thread the effect is done."""
        call = self._prepared(key, function, unknown)
        if inspect.iscoroutinefunction(function):
            raise TypeError(
                "a plain function's effect is a plain function; use `await ctx.once` in an async one"
            )
        claim, mine = self._claimed(key)
        if not mine:
            return claim.result()
        try:
            value = self._first_sync(key, call, unknown, loop)
        except BaseException as exc:
            self._given_up(key, claim, exc)
            raise
        claim.set_result(value)
        return value

    async def _first(self, key: str, call: Callable[[], Any], unknown: Unknown) -> Json:
        self.check()
        begun = self._judged(await self.ledger.begin(key, unknown))
        if begun.verdict == "done":
            return begun.value
        if self.called_off:
            await self.ledger.settle(begun, "undone")
            self.check()
        failpoint("effect-allowed")
        try:
            result = await _performed(call)
        except NotDone:
            await self.ledger.settle(begun, "undone")
            raise
        failpoint("effect-performed")
        value, fault = _as_json(key, result)
        await self.ledger.settle(begun, "done", value)
        failpoint("effect-reported")
        if fault is not None:
            raise fault
        return value

    def _first_sync(
        self, key: str, call: Callable[[], Any], unknown: Unknown, loop: asyncio.AbstractEventLoop | None
    ) -> Json:
        self.check()
        begun = self._judged(wait_for(self.ledger.begin(key, unknown), loop))
        if begun.verdict == "done":
            return begun.value
        if self.called_off:
            wait_for(self.ledger.settle(begun, "undone"), loop)
            self.check()
        failpoint("effect-allowed")
        try:
            result = call()
        except NotDone:
            wait_for(self.ledger.settle(begun, "undone"), loop)
            raise
        failpoint("effect-performed")
        value, fault = _as_json(key, result)
        wait_for(self.ledger.settle(begun, "done", value), loop)
        failpoint("effect-reported")
        if fault is not None:
            raise fault
        return value

    def _prepared(self, key: str, function: Callable[..., Any], unknown: Unknown) -> Callable[[], Any]:
        """The call. What is wrong with it is told before anything is done: TypeError, ValueError."""
        if not 0 < len(key) <= _LONGEST_KEY:
            raise ValueError(f"an effect's key has 1 to {_LONGEST_KEY} characters, not {len(key)}")
        if unknown not in get_args(Unknown):
            raise ValueError(f"unknown={unknown!r}: it is one of {', '.join(get_args(Unknown))}")
        return partial(function, self.id_of(key)) if _takes_key(function) else function

    def _claimed(self, key: str) -> tuple[Future[Json], bool]:
        """The first try of a key in this attempt, and whether that is the caller's."""
        with self._lock:
            found = self._claims.get(key)
            if found is not None:
                return found, False
            claim: Future[Json] = Future()
            claim.set_running_or_notify_cancel()  # who only waits cannot cancel it
            self._claims[key] = claim
            return claim, True

    def _given_up(self, key: str, claim: Future[Json], exc: BaseException) -> None:
        """The next try in this attempt asks the ledger anew."""
        with self._lock:
            del self._claims[key]
        if isinstance(exc, asyncio.CancelledError):
            exc = SkillError(f"the first try of effect {key!r} was cancelled")
        claim.set_exception(exc)

    def _judged(self, begun: Begun) -> Begun:
        if begun.verdict == "ask":
            self.over = EffectInDoubt(begun.key)
            raise self.over
        if begun.verdict == "stop":
            self.called_off = True
            self.check()
        return begun


def _takes_key(function: Callable[..., Any]) -> bool:
    """Whether a function wants the idempotency key. A parameter with a default is the author's own business."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return False  # a builtin that does not tell
    needed = [
        parameter
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if len(needed) > 1 or any(parameter.kind is parameter.KEYWORD_ONLY for parameter in needed):
        raise TypeError("an effect takes no argument, or one: its idempotency key")
    return bool(needed)


async def _performed(call: Callable[[], Any]) -> Any:
    function = call.func if isinstance(call, partial) else call
    if inspect.iscoroutinefunction(function):
        return await call()
    result = await in_thread(call)
    return await result if inspect.isawaitable(result) else result


async def in_thread(call: Callable[[], Any]) -> Any:
    """Run a plain function in a thread that does not keep the process from ending."""
    answer: Future[Any] = Future()
    answer.set_running_or_notify_cancel()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            answer.set_result(context.run(call))
        except BaseException as exc:  # noqa: BLE001 - it is raised where the answer is awaited
            answer.set_exception(exc)

    threading.Thread(target=run, name="effect", daemon=True).start()
    return await asyncio.wrap_future(answer)


def _as_json(key: str, result: Any) -> tuple[Json, SkillError | None]:
    """What an effect gave, as JSON; an effect that gave something else has happened all the same."""
    try:
        value = _any.dump_python(result, mode="json")
        pack({"value": value})
        canonical(value)
    except (PydanticSerializationError, TypeError, ValueError, OverflowError, RecursionError) as exc:
        told = f"effect {key!r} was done, but gave what is not JSON, so it counts as done with null: {exc}"
        return None, SkillError(told, kind="bad-output", retry=False)
    return value, None
