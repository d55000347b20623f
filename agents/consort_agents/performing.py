"""Running a skill on a task, and saying what came of it.

Every outcome is a value: done, failed with a kind and a sentence, or declined. A
plain function runs in a thread of its own, so that user code that blocks never
stops the process's signs of life.
"""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import Executor
from functools import partial
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from consort_agents.context import Context
from consort_agents.errors import Decline, SkillError
from consort_agents.kit import Skill
from consort_agents.tasks import Task
from consort_bus.envelope import Store
from consort_shared.messages import Declined, Done, Failed, Outcome, Output, Write
from consort_shared.values import INLINE_LIMIT, Json, bytes_digest, canonical

_LONGEST_MESSAGE = 4000


async def perform(skill: Skill, task: Task, context: Context, store: Store, pool: Executor) -> Outcome:
    """The outcome of one attempt. Raises CancelledError when the attempt is called off, BusError when storing fails."""
    try:
        arguments = skill.arguments(task.inputs, context)
    except ValidationError as exc:
        return Failed(kind="bad-input", message=f"{skill.card.name}: {_sentences(exc)}", retry=False)
    try:
        value = await _call(skill, arguments, pool)
    except SkillError as exc:
        return Failed(kind=exc.kind[:64], message=str(exc)[:_LONGEST_MESSAGE], retry=exc.retry)
    except Decline as exc:
        return Declined(why=str(exc)[:_LONGEST_MESSAGE])
    except Exception as exc:  # user code: whatever it raises is the outcome
        context.log.warning("%s raised %s", skill.card.name, type(exc).__name__, exc_info=exc)
        return Failed(kind="exception", message=f"{type(exc).__name__}: {exc}"[:_LONGEST_MESSAGE])
    return await _done(skill, value, context, store)


async def _call(skill: Skill, arguments: dict[str, Any], pool: Executor) -> Any:
    if skill.is_async:
        return await skill.function(**arguments)
    call = partial(contextvars.copy_context().run, partial(skill.function, **arguments))
    value = await asyncio.get_running_loop().run_in_executor(pool, call)
    return await value if asyncio.iscoroutine(value) else value


async def _done(skill: Skill, value: Any, context: Context, store: Store) -> Outcome:
    try:
        result = skill.result(value)
        output = await output_of(result, store)
        writes = tuple(
            [
                Write(
                    key=note.key,
                    output=await output_of(note.value, store),
                    seen=note.seen,
                    confidence=note.confidence,
                )
                for note in context.writes
            ]
        )
    except ValidationError as exc:
        return Failed(
            kind="bad-output",
            message=f"{skill.card.name} returned something else than it declares: {_sentences(exc)}",
            retry=False,
        )
    except (PydanticSerializationError, TypeError, ValueError) as exc:
        return Failed(
            kind="bad-output", message=f"{skill.card.name} returned what is not JSON: {exc}", retry=False
        )
    return Done(output=output, writes=writes) if writes else Done(output=output)


async def output_of(value: Json, store: Store) -> Output:
    """A value as it travels: inside the message, or stored if it is large. Raises ValueError, TypeError, BusError."""
    raw = canonical(value)
    digest = bytes_digest(raw)
    if len(raw) <= INLINE_LIMIT:
        return Output(value=value, digest=digest)
    return Output(ref=await store.put(raw, media_type="application/json"), digest=digest)


def _sentences(exc: ValidationError) -> str:
    faults = exc.errors(include_url=False)
    told = [f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}" for fault in faults[:5]]
    return "; ".join(told) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
