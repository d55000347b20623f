"""Running a skill on a task, and saying what came of it.

Every outcome is a value: done, failed with a kind and a sentence, or declined. A
plain function runs in a thread of its own, so that user code that blocks never
stops the process's signs of life. Only what ends the attempt without an outcome is
raised: being cancelled, and `AttemptOver`.

Knows nothing of the bus: it serves the child process of an isolated slot too.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from consort_agents.artefacts import Store
from consort_agents.context import Context, Noted
from consort_agents.errors import AttemptOver, Decline, NotDone, SkillError
from consort_agents.kit import Skill
from consort_agents.signatures import sentences
from consort_shared.messages import Declined, Done, Failed, Outcome, Output, Write
from consort_shared.telemetry.logs import without_words
from consort_shared.values import INLINE_LIMIT, Json, bytes_digest, canonical

_LONGEST_MESSAGE = 4000


@dataclass(frozen=True, slots=True)
class Returned:
    """A skill came to its end: its result as plain values, and the context writes that go with it."""

    value: Json
    writes: Sequence[Noted] = ()


Ended: TypeAlias = Returned | Failed | Declined


WHATEVER = (Exception, SystemExit, KeyboardInterrupt)
"""What user code raises is the outcome, also when it wants to end the process: a library may call `sys.exit`.
Ctrl-C has a handler of its own and is never raised here."""


async def attempt(skill: Skill, inputs: Mapping[str, Json], context: Context, pool: Executor) -> Ended:
    """What came of one attempt. Raises CancelledError and AttemptOver when it is called off."""
    try:
        arguments = skill.arguments(inputs, context)
    except ValidationError as exc:
        return bad_input(skill, exc)
    try:
        value = await _call(skill, arguments, pool)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return Failed(kind="exception", message="CancelledError: something it waited for was cancelled")
    except WHATEVER as exc:
        return failure_of(skill, exc, context)
    except BaseExceptionGroup as group:
        raise _ending(group) from group
    return result_of(skill, value, context)


def attempt_here(skill: Skill, inputs: Mapping[str, Json], context: Context) -> Ended:
    """The same for a plain function, in this thread. Raises AttemptOver."""
    try:
        arguments = skill.arguments(inputs, context)
    except ValidationError as exc:
        return bad_input(skill, exc)
    try:
        value = skill.function(**arguments)
        if asyncio.iscoroutine(value):
            value = asyncio.run(value)
    except WHATEVER as exc:
        return failure_of(skill, exc, context)
    except BaseExceptionGroup as group:
        raise _ending(group) from group
    return result_of(skill, value, context)


async def outcome_of(ended: Ended, skill: Skill, store: Store) -> Outcome:
    """What is reported. Raises BusError when a large result cannot be stored."""
    if not isinstance(ended, Returned):
        return ended
    try:
        output = await output_of(ended.value, store)
        writes = tuple([await write_of(note, store) for note in ended.writes])
    except (TypeError, ValueError, RecursionError) as exc:
        return not_json(skill, exc)
    return Done(output=output, writes=writes) if writes else Done(output=output)


async def output_of(value: Json, store: Store) -> Output:
    """A value as it travels: inside the message, or stored if it is large. Raises ValueError, TypeError, BusError."""
    raw = canonical(value)
    digest = bytes_digest(raw)
    if len(raw) <= INLINE_LIMIT:
        return Output(value=value, digest=digest)
    return Output(ref=await store.put(raw, media_type="application/json"), digest=digest)


async def write_of(note: Noted, store: Store) -> Write:
    """A context write as it travels. Raises as `output_of`."""
    output = await output_of(note.value, store)
    return Write(key=note.key, output=output, seen=note.seen, confidence=note.confidence)


def bad_input(skill: Skill, exc: ValidationError) -> Failed:
    return Failed(kind="bad-input", message=f"{skill.card.name}: {sentences(exc)}", retry=False)


def not_json(skill: Skill, exc: Exception) -> Failed:
    told = f"{skill.card.name} returned what is not JSON: {exc}"
    return Failed(kind="bad-output", message=told[:_LONGEST_MESSAGE], retry=False)


def failure_of(skill: Skill, exc: BaseException, context: Context) -> Ended:
    """What a skill raised, as the outcome it stands for."""
    match exc:
        case SkillError():
            return Failed(kind=exc.kind[:64], message=str(exc)[:_LONGEST_MESSAGE], retry=exc.retry)
        case NotDone():
            return Failed(kind="not-done", message=str(exc)[:_LONGEST_MESSAGE])
        case Decline():
            return Declined(why=str(exc)[:_LONGEST_MESSAGE])
        case _:
            context.log.warning(
                "%s raised %s at\n%s", skill.card.name, type(exc).__name__, without_words(exc)
            )
            return Failed(kind="exception", message=f"{type(exc).__name__}: {exc}"[:_LONGEST_MESSAGE])


def result_of(skill: Skill, value: Any, context: Context) -> Ended:
    """What a skill returned, as the plain values it declares. Raises AttemptOver if the skill swallowed that."""
    if context.effects.over is not None:
        raise context.effects.over
    try:
        return Returned(skill.result(value), context.writes)
    except ValidationError as exc:
        told = f"{skill.card.name} returned something else than it declares: {sentences(exc)}"
        return Failed(kind="bad-output", message=told, retry=False)
    except (PydanticSerializationError, TypeError, ValueError, RecursionError) as exc:
        return not_json(skill, exc)


async def _call(skill: Skill, arguments: dict[str, Any], pool: Executor) -> Any:
    if skill.is_async:
        return await skill.function(**arguments)
    call = partial(contextvars.copy_context().run, partial(skill.function, **arguments))
    value = await asyncio.get_running_loop().run_in_executor(pool, call)
    return await value if asyncio.iscoroutine(value) else value


def _ending(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ends the attempt, out of the group that a skill's task group made of it."""
    first: BaseException | None = group.subgroup(AttemptOver)
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return group if first is None else first
