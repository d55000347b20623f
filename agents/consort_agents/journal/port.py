"""The journal as those who ask see it: a call is made once, however often the task is delivered.

A call is identified by what is asked, not by when. When a task comes again because its
process died, the calls that were answered get the same answers without being made, in any
order that fits, and the first that was not answered is made. What was asked then and is
not asked now, or the other way round, is divergence: it is named, never papered over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from consort_shared.journal import CallKind
from consort_shared.values import Json

__all__ = ["Call", "CallKind", "Divergence", "Journal", "Recorded"]

Divergence: TypeAlias = Literal["fail", "restart"]
"""What to do when the code asks something else than before: fail the task, or start it over, paying again."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is to be made now."""

    n: int
    """which of the task's calls it is, from 1"""
    id: str
    """32 hex digits; the same whenever this call is made again: an idempotency key"""
    again: bool
    """whether an earlier process began this very call and nothing is known of its end"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a call gave."""

    n: int
    id: str
    value: Json
    replayed: bool
    """whether it is an earlier process's answer"""


class Journal(Protocol):
    """The calls of one task."""

    async def call(
        self,
        kind: CallKind,
        name: str,
        request: Json,
        perform: Callable[[Call], Awaitable[Json]],
        *,
        wait: bool = False,
        shown: Mapping[str, Any] | None = None,
    ) -> Recorded:
        """Make a call once. `name` is the model's or the tool's; `request` is all that identifies the call.

        That it begins is written before `perform` is called; with `wait` that is known to be stored first,
        which is for calls that change something outside, otherwise it is stored while the call goes on. The
        answer is stored before it is returned. What `perform` raises is raised, and the call counts as not
        answered. `shown` is what people who look at the journal see of the request, without secrets.

        Raises JournalDiverged, JournalLost (another process has the task), BusError.
        """

    @property
    def replaying(self) -> bool:
        """Whether answers of an earlier process are left."""
