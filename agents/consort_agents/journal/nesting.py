"""In which call of a task something is asked.

A tool may ask a model itself. What is asked while a call is made belongs to that call: once
the call has its answer on record it is not made again, and nothing in it is asked again.
Follows the context of the code, also into threads and tasks that it starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_around: ContextVar[int] = ContextVar("consort_call", default=0)


def around() -> int:
    """The number of the call that is being made here, 0 in none."""
    return _around.get()


@contextmanager
def within_call(n: int) -> Iterator[None]:
    """What the block asks belongs to call `n`."""
    token = _around.set(n)
    try:
        yield
    finally:
        _around.reset(token)
