"""A function as a tool: `@tool`.

The schema comes from the signature; arguments are checked against it before the function
is called. A parameter annotated `Caller` is told on whose behalf; its `call_id` stays the
same when the call is made again after a crash, so it serves as an idempotency key. A plain
function runs in a thread of its own. One that hangs is given up at its time limit, but a
thread cannot be killed: it stays until it ends by itself, or the process does.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import itertools
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future
from typing import Any, Generic, ParamSpec, TypeVar, overload

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from consort_agents.errors import AgentError
from consort_agents.signatures import Signature, sentences, signature_of
from consort_agents.tools.answers import LONGEST, answer, bounded, failed
from consort_agents.tools.definition import Caller, Definition, Risk, ToolAnswer
from consort_agents.tools.errors import ToolError
from consort_shared.telemetry.logs import without_words
from consort_shared.values import Json

P = ParamSpec("P")
R = TypeVar("R")
_log = logging.getLogger("consort.tools")
_given_up: set[asyncio.Task[Any]] = set()
"""Calls that did not end when they were told to: kept, or the loop would forget them half done."""


MOST_ITEMS = 10_000
"""Values that are taken from a generator; one may go on for ever."""


class _Leaving(Exception):
    """A tool raised what would end the process; a library may call `sys.exit`."""


class FunctionTool(Generic[P, R]):
    """A function that is a tool; called directly it is the plain function."""

    def __init__(
        self, function: Callable[P, R], definition: Definition, signature: Signature, limit: int = LONGEST
    ) -> None:
        self.function = function
        self.definition = definition
        self._signature = signature
        self._limit = limit
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.definition.name}>"

    @property
    def takes_key(self) -> bool:
        """Whether the function is told the idempotency key: then making a call again is the same call."""
        return self._signature.surroundings is not None

    def promising(self, changes: Mapping[str, Any]) -> FunctionTool[P, R]:
        """The same function with other promises."""
        definition = self.definition.model_copy(update=dict(changes))
        return FunctionTool(self.function, definition, self._signature, self._limit)

    async def call(self, arguments: Mapping[str, Json], caller: Caller) -> ToolAnswer:
        name = self.definition.name
        try:
            given = self._signature.arguments(arguments, caller)
        except ValidationError as exc:
            return failed(
                f"{name} was not called, its arguments do not fit: {sentences(exc)}{self._offers()}"
            )
        try:
            value = await self._ended(given)
        except TimeoutError as exc:
            return failed(str(exc))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return failed(f"{name} failed: something it waited for was cancelled")
        except _Leaving as exc:
            return failed(f"{name} failed: {exc}")
        except Exception as exc:  # noqa: BLE001  what a tool raises is its answer
            _log.warning("tool %s raised %s at\n%s", name, type(exc).__name__, without_words(exc))
            return failed(f"{name} failed: {type(exc).__name__}: {_text_of(exc)}")
        return self._answer(value)

    def _offers(self) -> str:
        known = self.definition.input_schema.get("properties", {})
        return f". The arguments are: {', '.join(known) or 'none'}"

    def _answer(self, value: Any) -> ToolAnswer:
        if isinstance(value, ToolAnswer):
            return bounded(value, self._limit)
        try:
            return answer(self._signature.result(value), limit=self._limit)
        except ValidationError as exc:
            what = f"something else than it declares: {sentences(exc)}"
        except (PydanticSerializationError, TypeError, ValueError, RecursionError) as exc:
            what = f"what is not JSON: {exc}"
        return failed(f"{self.definition.name} returned {what}")

    async def _ended(self, given: dict[str, Any]) -> Any:
        """What the function returned. Raises TimeoutError with a text for the model, and what the function raised."""
        seconds = self.definition.timeout
        running = asyncio.ensure_future(self._started(given))
        try:
            done, _ = await asyncio.wait({running}, timeout=seconds)
        except asyncio.CancelledError:
            _give_up(running)
            raise
        if done:
            return running.result()
        _give_up(running)
        told = f"{self.definition.name} did not end within {seconds:g} s and was given up"
        left = "" if self._signature.is_async else "; what it was doing may still go on"
        raise TimeoutError(told + left)

    async def _started(self, given: dict[str, Any]) -> Any:
        """What the function returned. Raises what it raised; what would end the process, as _Leaving."""
        try:
            if self._signature.is_async:
                coroutine: Any = self.function(**given)  # type: ignore[call-arg]
                return await coroutine
            value = await asyncio.wrap_future(in_thread(lambda: _drawn(self.function(**given))))  # type: ignore[call-arg]
            if isinstance(value, AsyncGenerator):
                return [item async for item in _first(value)]
            return await value if isinstance(value, Coroutine) else value
        except (asyncio.CancelledError, Exception):
            raise
        except BaseException as exc:
            # SystemExit from a task would end the event loop, and a library's panic is no Exception.
            raise _Leaving(f"{type(exc).__name__}: {_text_of(exc)}") from exc


def _text_of(exc: BaseException) -> str:
    """What an exception says; one of somebody else's may fail at saying it."""
    try:
        return str(exc)
    except Exception:  # noqa: BLE001  whatever it raises, the kind is all there is to say
        return "it cannot say what"


def _drawn(value: Any) -> Any:
    """What a function returned; a generator's values, made where the function ran. Raises ValueError for too many."""
    if not isinstance(value, Generator):
        return value
    items = list(itertools.islice(value, MOST_ITEMS + 1))
    if len(items) > MOST_ITEMS:
        raise _too_many()
    return items


async def _first(value: AsyncGenerator[Any, None]) -> AsyncIterator[Any]:
    count = 0
    async for item in value:
        if (count := count + 1) > MOST_ITEMS:
            raise _too_many()
        yield item


def _too_many() -> ValueError:
    return ValueError(f"it gives more than {MOST_ITEMS:,} values; return a list of those that matter")


def in_thread(function: Callable[[], R]) -> Future[R]:
    """Run a function in a thread of its own, which does not keep the process from ending.

    A pool would do for functions that end; one that hangs would keep its place for ever.
    """
    promise: Future[R] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        if not promise.set_running_or_notify_cancel():
            return
        try:
            value = context.run(function)
        except BaseException as exc:  # noqa: BLE001  whatever it is belongs to who waits
            # A future refuses StopIteration, and whoever waits would wait for ever.
            promise.set_exception(RuntimeError(repr(exc)) if isinstance(exc, StopIteration) else exc)
        else:
            promise.set_result(value)

    threading.Thread(target=run, name="tool", daemon=True).start()
    return promise


def _give_up(running: asyncio.Future[Any]) -> None:
    running.cancel()
    if isinstance(running, asyncio.Task):
        _given_up.add(running)
        running.add_done_callback(_forget)


def _forget(running: asyncio.Task[Any]) -> None:
    _given_up.discard(running)
    if not running.cancelled():
        running.exception()  # seen, so that nobody complains that nobody saw it


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...


@overload
def tool(
    *,
    name: str = "",
    description: str = "",
    risk: Risk = "read",
    idempotent: bool | None = None,
    cost: int = 0,
    owner: str = "",
    data_class: str = "public",
    timeout: float = 60.0,
    cache: bool | None = None,
    limit: int = LONGEST,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str = "",
    description: str = "",
    risk: Risk = "read",
    idempotent: bool | None = None,
    cost: int = 0,
    owner: str = "",
    data_class: str = "public",
    timeout: float = 60.0,
    cache: bool | None = None,
    limit: int = LONGEST,
) -> FunctionTool[P, R] | Callable[[Callable[P, R]], FunctionTool[P, R]]:
    """Make a function a tool; a function that changes something outside says so by `risk`.

    `cost` is nano-dollars a call, `timeout` seconds, `limit` characters of an answer. Unless said otherwise
    only a tool that reads is taken for idempotent, and only its answers are used again within a run.
    Raises ToolError for a signature that cannot be a tool's.
    """

    def declare(declared: Callable[P, R]) -> FunctionTool[P, R]:
        called = name or getattr(declared, "__name__", "")
        try:
            signature = signature_of("tool", called, declared, Caller)
            definition = Definition(
                name=called,
                description=description or signature.description,
                input_schema=signature.input_schema,
                output_schema=None if _answers_itself(declared) else signature.output_schema,
                risk=risk,
                idempotent=risk == "read" if idempotent is None else idempotent,
                cost=cost,
                owner=owner,
                data_class=data_class,
                timeout=timeout,
                cache=risk == "read" if cache is None else cache,
            )
        except ValidationError as exc:
            raise ToolError(f"tool {called!r}: {sentences(exc)}") from exc
        except AgentError as exc:
            raise ToolError(str(exc)) from exc
        return FunctionTool(declared, definition, signature, limit)

    return declare if function is None else declare(function)


def _answers_itself(function: Callable[..., Any]) -> bool:
    return getattr(function, "__annotations__", {}).get("return") in (ToolAnswer, "ToolAnswer")
